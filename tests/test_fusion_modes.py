from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks.fusion import flicker_mm, gap_mm, mode_errors, seam_of
from benchmarks.fusion_study import Misjudgement, fusion_study, posing_ms
from benchmarks.similarity import aligned
from engine import quaternions
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.topology import Region
from engine.body.blend_skinning import Poser
from engine.errors import AvatarError
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.copy_paste import fuse
from engine.fusion.estimates import BodyEstimate, FaceEstimate, FaceView, estimates_of
from engine.fusion.fusion_map_file import load_fusion_map
from engine.fusion.modes import MODES, fusion_of, trust_of
from engine.fusion.neck_normals import neck_corrections
from engine.fusion.paste_region import PasteRegion
from engine.fusion.shared_parameters import HeadSolver
from engine.types import AvatarState, Camera, FaceShape, Identity, Phenotypes

SOMEBODY = Phenotypes(gender=0.2, age=0.72, muscle=0.6, weight=0.4, height=0.6, proportions=0.55)


@pytest.fixture(scope="module")
def body(model_cache):
    return BodyModel.load(model_cache.path(FILE_NAME))


@pytest.fixture(scope="module")
def fusion_map(body, model_cache):
    return load_fusion_map(model_cache.path(FILE_NAME), body)


@pytest.fixture(scope="module")
def fusions(body, fusion_map):
    return {mode: fusion_of(mode, body, fusion_map) for mode in MODES}


@pytest.fixture(scope="module")
def own(body):
    return np.random.default_rng(3).standard_normal(body.identity_count).astype(np.float32)


def seen_elsewhere(face, scale=1.1):
    """The same face as a camera may place it: turned, moved, in another size."""
    turn = quaternions.to_matrix(quaternions.from_rotation_vector(np.array([0.3, -0.5, 0.2])))
    move = np.array([0.3, -1.0, 0.5])
    vertices, eyes = (
        (scale * p @ turn.T + move).astype(np.float32) for p in (face.vertices_m, face.eyes_m)
    )
    return FaceEstimate(vertices, eyes, face.confidence)


def state_of(avatar, **turns):
    rotations = quaternions.identity(len(avatar.parents))
    for name, vector in turns.items():
        rotations[avatar.joint_names.index(name)] = quaternions.from_rotation_vector(
            np.array(vector)
        )
    camera = Camera.from_size(64, 64)
    return AvatarState(
        0, 0, 0, rotations, np.zeros(3, np.float32), np.zeros(52, np.float32), camera
    )


def test_changing_the_mode_changes_no_structure(body, fusions, own):
    face = seen_elsewhere(FaceEstimate.of(body, SOMEBODY, FaceShape(own, 1.0)))
    avatars = [fusion.fuse(BodyEstimate(SOMEBODY), face) for fusion in fusions.values()]
    for avatar in avatars:
        assert avatar.topology is avatars[0].topology
        assert avatar.rest_vertices_m.shape == avatars[0].rest_vertices_m.shape
        assert avatar.skin_weights is avatars[0].skin_weights
    poser = Poser(avatars[0]).with_identity(avatars[1])
    assert poser.pose(state_of(avatars[1])).vertices_m.shape == avatars[1].rest_vertices_m.shape


@pytest.mark.parametrize("mode", MODES)
def test_a_face_of_the_bodys_own_comes_back_from_wherever_it_was(body, fusions, fusion_map, mode):
    """Scale, orientation and place of the face's module say nothing about the person."""
    average = FaceShape(np.zeros(body.identity_count, np.float32), 1.0)
    face = seen_elsewhere(FaceEstimate.of(body, SOMEBODY, average))
    avatar = fusions[mode].fuse(BodyEstimate(SOMEBODY), face)
    expected = fuse(body, fusion_map, Identity(phenotypes=SOMEBODY))
    np.testing.assert_allclose(avatar.rest_vertices_m, expected.rest_vertices_m, atol=5e-4)
    np.testing.assert_allclose(avatar.joints_m, expected.joints_m, atol=5e-4)


def test_copy_paste_leaves_the_body_alone_and_shows_the_face(body, fusions, fusion_map, own):
    face = seen_elsewhere(FaceEstimate.of(body, SOMEBODY, FaceShape(own, 1.0)))
    avatar = fusions["copy-paste"].fuse(BodyEstimate(SOMEBODY), face)
    plain = fuse(body, fusion_map, Identity(phenotypes=SOMEBODY))
    others = np.flatnonzero(PasteRegion.of(body).weights == 0)
    np.testing.assert_array_equal(avatar.rest_vertices_m[others], plain.rest_vertices_m[others])
    moved = np.linalg.norm(avatar.rest_vertices_m - plain.rest_vertices_m, axis=1)
    assert moved[avatar.topology.regions == Region.FACE].mean() > 1e-3


def test_the_derivatives_are_those_of_the_head(body, own):
    """Gauss-Newton's slopes against finite differences."""
    solver = HeadSolver(body, PasteRegion.of(body))
    people = np.array([0.3, 0.6, 0.4, 0.7, 0.45, 0.6])
    slopes = solver._slopes(people)
    for index in range(6):
        step = np.zeros(6)
        step[index] = 1e-3
        ahead, behind = (solver._head(people + s * step, own) for s in (1, -1))
        numeric = ((ahead - behind) / 2e-3).reshape(-1)
        assert np.linalg.norm(slopes[index] - numeric) < 0.02 * np.linalg.norm(numeric) + 1e-6


def test_optimisation_finds_who_the_face_and_body_belong_to(body, fusions, own):
    """The body's module was wrong; the face is right but for scale and place."""
    truth = FaceShape(own, 1.0)
    face = seen_elsewhere(FaceEstimate.of(body, SOMEBODY, truth))
    wrong = Phenotypes(0.3, 0.66, 0.5, 0.5, 0.55, 0.5)
    shared = fusions["optimisation"].parameters(BodyEstimate(wrong), face)
    skin = PasteRegion.of(body).skin
    true = body.shape(SOMEBODY, own).vertices_m[skin].astype(float)
    found = body.shape(shared.phenotypes, shared.face.coefficients).vertices_m[skin].astype(float)
    before = body.shape(wrong).vertices_m[skin].astype(float)
    error, earlier = (
        np.linalg.norm(aligned(points, true, scaled=True) - true, axis=1).mean()
        for points in (found, before)
    )
    assert error < 0.35 * earlier
    assert shared.seam_m < 1e-3


def test_where_the_view_shows_nothing_the_body_decides(body, fusions, own):
    """A face half of which was turned away and is wrong there."""
    skin = PasteRegion.of(body).skin
    right = FaceEstimate.of(body, SOMEBODY, FaceShape(np.zeros_like(own), 1.0))
    side = np.clip(right.vertices_m[:, 0] / 0.05, 0, 1)
    wrong = right.vertices_m + np.array([0.006, 0, 0.004]) * side[:, None]
    turned = quaternions.from_rotation_vector(np.array([0.0, 0.8, 0.0])).astype(np.float32)
    view = FaceView(turned, 80.0)
    assert trust_of(body, view)[skin][side[skin] > 0.8].mean() < 0.4
    face = FaceEstimate(wrong.astype(np.float32), right.eyes_m, 1.0)
    errors = []
    for mode in ("optimisation", "attention"):
        avatar = fusions[mode].fuse(BodyEstimate(SOMEBODY, view=view), face)
        errors.append(np.linalg.norm(avatar.rest_vertices_m[skin] - right.vertices_m[skin], axis=1))
    assert errors[1].mean() < 0.8 * errors[0].mean()


def test_the_table_is_won_as_in_the_paper(body, fusion_map):
    table = fusion_study(body, fusion_map, people=6, seed=1)
    paste, optimised = table["copy_paste"], table["optimisation"]
    for name in ("face_v2v_mm", "face_pa_v2v_mm", "pa_v2v_mm"):
        assert optimised[name] < paste[name]
    assert table["attention"]["face_v2v_mm"] < paste["face_v2v_mm"]
    exact = fusion_study(body, fusion_map, people=1, off=Misjudgement(0.0, 0.0, 0.0, 0.0, 1.0))
    assert exact["optimisation"]["face_pa_v2v_mm"] < 1.0


@pytest.mark.parametrize("mode", MODES)
def test_nobody_finds_the_seam(body, fusions, own, mode):
    face = seen_elsewhere(FaceEstimate.of(body, SOMEBODY, FaceShape(own, 1.0)))
    avatar = fusions[mode].fuse(BodyEstimate(Phenotypes()), face)
    mesh = Poser(avatar).pose(state_of(avatar, head=[0.2, 0.3, 0.0], neck01=[0.1, 0.0, 0.2]))
    seam = seam_of(mesh.vertices_m, mesh.normals, avatar.topology)
    assert seam.boundary_edges == 0
    assert seam.normal_deg < seam.normal_p95_deg


def test_the_gap_is_what_the_face_misses_the_body_by(body, fusions, own):
    paste = fusions["copy-paste"]
    same = estimates_of(body, Identity(phenotypes=SOMEBODY))
    assert gap_mm(paste, *same) < 0.01
    another = estimates_of(body, Identity(phenotypes=SOMEBODY, face=FaceShape(own, 1.0)))
    assert gap_mm(paste, *another) > 0.5


def test_flicker_counts_the_seams_own_motion_only(body, fusion_map):
    avatar = fuse(body, fusion_map, Identity())
    still = [avatar.rest_vertices_m + np.float32(0.01 * k) for k in range(4)]
    assert flicker_mm(still, avatar) < 1e-3
    shaken = [m.copy() for m in still]
    shaken[1][np.unique(avatar.topology.seam_edges)] += np.float32(1e-3)
    assert flicker_mm(shaken, avatar) > 0.5
    acting = [still[0], still[1], None, shaken[1], None, still[2], still[3]]
    assert flicker_mm(acting, avatar) < 1e-3


def test_errors_per_mode_are_zero_for_the_truth(body, fusion_map):
    avatar = fuse(body, fusion_map, Identity())
    grown = fuse(body, fusion_map, Identity(phenotypes=SOMEBODY))
    state = state_of(avatar, head=[0.1, 0.2, 0.0])
    truth = Poser(avatar).pose(state).vertices_m
    errors = mode_errors({"copy-paste": avatar, "optimisation": grown}, [(state, truth)])
    assert max(errors["copy_paste"].values()) < 1e-2
    assert min(errors["optimisation"].values()) > 0.1


def test_neck_normals_are_the_bodys_and_turn_with_the_skin(body, fusions, own):
    face = FaceEstimate.of(body, SOMEBODY, FaceShape(own, 1.0))
    avatar = fusions["copy-paste"].fuse(BodyEstimate(SOMEBODY), face)
    rest = body.shape(SOMEBODY)
    corrections = neck_corrections(avatar, body, rest)
    assert 20 < len(corrections.vertices) < 2000
    states = state_of(avatar), state_of(avatar, root=[0.0, 1.2, 0.0])
    still, turned = (Poser(avatar, None, corrections).pose(s).normals.copy() for s in states)
    plain = Poser(avatar).pose(states[0])
    rotation = quaternions.to_matrix(quaternions.from_rotation_vector(np.array([0.0, 1.2, 0.0])))
    np.testing.assert_allclose(turned, still @ rotation.T, atol=5e-3)
    np.testing.assert_allclose(np.linalg.norm(still, axis=1), 1, atol=1e-4)
    untouched = np.setdiff1d(np.arange(len(still)), corrections.vertices)
    np.testing.assert_array_equal(still[untouched], plain.normals[untouched])
    bodys = Poser(fusions["copy-paste"].fuse(BodyEstimate(SOMEBODY), _average(body)))
    wanted = bodys.pose(states[0]).normals
    neck = corrections.vertices[avatar.topology.regions[corrections.vertices] != Region.FACE]
    after, before = (
        np.linalg.norm(n[neck] - wanted[neck], axis=1).mean() for n in (still, plain.normals)
    )
    assert after < 0.8 * before


def _average(body):
    return FaceEstimate.of(body, SOMEBODY, FaceShape(np.zeros(body.identity_count, np.float32)))


def test_an_unknown_mode_is_named(body, fusion_map):
    with pytest.raises(AvatarError, match="copy-paste"):
        fusion_of("glue", body, fusion_map)


@pytest.mark.parametrize("mode", MODES)
def test_an_identity_is_fused_in_the_mode_that_was_asked_for(body, model_cache, own, mode):
    base = BaseAvatar.load(model_cache, mode)
    relief = np.zeros(len(base.average.rest_vertices_m), np.float32)
    identity = Identity(4, SOMEBODY, face=FaceShape(own, 1.0), detail_m=relief)
    avatar = base.avatar_of(identity)
    assert avatar.identity_version == 4
    assert avatar.texture is base.average.texture
    assert avatar.topology is base.average.topology
    skin = np.flatnonzero(PasteRegion.of(body).weights == 1)
    true = body.shape(SOMEBODY, own).vertices_m[skin].astype(float)
    found = aligned(avatar.rest_vertices_m[skin].astype(float), true, scaled=False)
    assert np.linalg.norm(found - true, axis=1).max() < 2e-4
    raised = dataclasses.replace(identity, detail_m=relief + np.float32(1e-3))
    moved = base.avatar_of(raised).rest_vertices_m - avatar.rest_vertices_m
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1e-3, atol=1e-5)


def test_a_base_in_an_unknown_mode_is_refused(model_cache):
    with pytest.raises(AvatarError, match="attention"):
        BaseAvatar.load(model_cache, "glue")


def test_a_frame_is_posed_within_its_budget(body, fusion_map):
    """The goal is half a millisecond; tests share their cores, so a loose bound must do."""
    least, median = posing_ms(fuse(body, fusion_map, Identity()), poses=200)
    assert 0.0 < least <= median
    assert least < 1.5


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("raised", [False, True])
def test_what_is_shown_and_what_is_fitted_come_as_one_by_one(body, model_cache, own, mode, raised):
    base = BaseAvatar.load(model_cache, mode)
    relief = np.full(len(base.average.rest_vertices_m), 5e-4, np.float32) if raised else None
    identity = Identity(4, SOMEBODY, face=FaceShape(own, 0.8), detail_m=relief)
    view = FaceView(quaternions.from_rotation_vector(np.array([0.0, 0.6, 0.0])).astype("f4"), 40.0)
    shown, fitted = base.avatars_of(identity, view)
    for found, expected in (
        (shown, base.avatar_of(identity, view)),
        (fitted, base.fitted_of(identity)),
    ):
        np.testing.assert_array_equal(found.rest_vertices_m, expected.rest_vertices_m)
        np.testing.assert_array_equal(found.joints_m, expected.joints_m)
        assert found.texture is expected.texture and found.identity_version == 4
