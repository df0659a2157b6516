"""What covers a face must not become part of it: renders, the real network, things drawn over."""

from __future__ import annotations

import numpy as np
import pytest

from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.paint import Look, paint_texture
from engine.body.blend_skinning import Poser
from engine.face.face_fit import FaceFitter
from engine.face.identity_fit import IdentityFitter
from engine.face.landmark_embedding import default_embedding
from engine.face.legibility import legibility
from engine.fusion.copy_paste import fuse
from engine.fusion.fusion_map_file import load_fusion_map
from engine.perception.face import FaceTracker
from engine.perception.networks import Networks
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import ARKIT_NAMES, Camera, FaceShape, Identity, Phenotypes
from exporters.face_calibration.samples import placed

pytestmark = pytest.mark.slow
SIDE = 288
CAMERA = Camera(600.0, (SIDE - 1) / 2, (SIDE - 1) / 2, SIDE, SIDE)
YAWS = np.radians([-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0])
GREY = np.array([150, 160, 170], np.uint8)


def masked(picture, points):
    """A surgical mask: from below the eyes to the chin."""
    return covered(picture, points, 0.45, 1.05, 0.0, 1.0)


def halved(picture, points):
    """Something stands before one side of the face."""
    return covered(picture, points, -0.3, 1.2, 0.5, 1.3)


def behind_a_hand(picture, points):
    return covered(picture, points, 0.2, 0.8, 0.1, 0.6)


def in_the_dark(picture, _points):
    return (picture * 0.03).astype(np.uint8)


def covered(picture, points, top, bottom, left, right):
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    rows = np.clip(low[1] + np.array([top, bottom]) * (high - low)[1], 0, SIDE).astype(int)
    columns = np.clip(low[0] + np.array([left, right]) * (high - low)[0], 0, SIDE).astype(int)
    result = picture.copy()
    result[rows[0] : rows[1], columns[0] : columns[1]] = GREY
    return result


@pytest.fixture(scope="module")
def model(model_cache):
    return BodyModel.load(model_cache.path(FILE_NAME))


@pytest.fixture(scope="module")
def person(model):
    rng = np.random.default_rng(8)
    return rng.standard_normal(model.identity_count).astype(np.float32)


@pytest.fixture(scope="module")
def film(model, model_cache, person):
    """Pictures of a person with a face of their own, and the tracker that reads them."""
    fusion_map = load_fusion_map(model_cache.path(FILE_NAME), model)
    avatar = fuse(model, fusion_map, Identity(face=FaceShape(person)))
    poser, centre = Poser(avatar), np.array([0.0, 0.0, -0.6])
    pictures = []
    with OffscreenRenderer(SIDE, SIDE, samples=1) as renderer:
        renderer.set_texture(paint_texture(avatar, Look.varied(3), 1024))
        renderer.set_light(Light())
        for yaw in YAWS:
            turn = np.array([0.05, yaw, 0.0])
            state, _, _ = placed(poser, turn, centre, np.zeros(len(ARKIT_NAMES)), CAMERA)
            pictures.append(renderer.render(poser.pose(state), CAMERA).copy())
    return pictures, FaceTracker(Networks(model_cache))


def watch(model, film, fitter, change=None, pictures_too=False):
    """Show all pictures twice, as they are or changed; how many the fitter took."""
    pictures, tracker = film
    rest = model.shape(Phenotypes())
    live = FaceFitter(rest.vertices_m, rest.joints_m[model.joint_names.index("head")])
    taken = 0
    for picture in pictures * 2:
        tracker.reset()
        clear = tracker.track(picture, None)
        assert clear is not None
        shown = picture if change is None else change(picture, clear.points_px.copy())
        face = tracker.track(shown, None)
        fit = None if face is None else live.fit(face, CAMERA)
        if face is not None and fit is not None:
            weight = legibility(shown, face)
            taken += fitter.observe(
                face, fit.head, fit.expression, CAMERA, weight, shown if pictures_too else None
            )
    return taken


def landmarks_mm(model, face):
    return 1e3 * default_embedding().landmarks_m(model.shape(Phenotypes(), face).vertices_m)


def distance_mm(model, one, other):
    apart = landmarks_mm(model, one) - landmarks_mm(model, other)
    return float(np.sqrt((apart**2).sum(axis=1).mean()))


def test_a_persons_face_is_found_from_pictures(model, film, person):
    fitter = IdentityFitter(model)
    assert watch(model, film, fitter) > 8
    found = fitter.estimate(Phenotypes())
    nobody = np.zeros_like(person)
    error = distance_mm(model, found.coefficients, person)
    assert error < 0.85 * distance_mm(model, nobody, person)
    assert 0.6 < found.confidence <= 1.0


@pytest.mark.parametrize("change", [masked, halved, behind_a_hand, in_the_dark])
def test_what_covers_a_known_face_does_not_become_part_of_it(model, film, change):
    fitter = IdentityFitter(model)
    watch(model, film, fitter)
    known = fitter.estimate(Phenotypes())
    watch(model, film, fitter, change)
    after = fitter.estimate(Phenotypes())
    assert distance_mm(model, after.coefficients, known.coefficients) < 1.2
    assert after.confidence < known.confidence + 0.02


@pytest.mark.parametrize("change", [masked, behind_a_hand])
def test_pictures_help_a_known_face_though_some_show_it_covered(model, film, person, change):
    """Nearer to the truth than landmarks of the same frames, before and after."""
    by_landmarks, by_pictures = IdentityFitter(model), IdentityFitter(model)
    for cover in (None, change):
        watch(model, film, by_landmarks, cover)
        watch(model, film, by_pictures, cover, pictures_too=True)
        plain, better = (f.estimate(Phenotypes()) for f in (by_landmarks, by_pictures))
        error = distance_mm(model, better.coefficients, person)
        assert error < 0.95 * distance_mm(model, plain.coefficients, person)


@pytest.mark.parametrize("change", [masked, halved, behind_a_hand, in_the_dark])
def test_a_stranger_who_is_covered_is_not_known_better(model, film, change):
    clear, hidden = IdentityFitter(model), IdentityFitter(model)
    watch(model, film, clear)
    watch(model, film, hidden, change)
    assert (
        hidden.estimate(Phenotypes()).confidence <= clear.estimate(Phenotypes()).confidence + 0.02
    )
