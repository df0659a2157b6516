"""Depth from pictures: derivatives, a known error undone, silence where they say nothing."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from engine import quaternions
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.paint import Look, paint_texture
from engine.body.blend_skinning import Poser
from engine.face.head_pose import HeadPose, procrustes
from engine.face.identity_fit import IdentityFitter
from engine.face.identity_readout import Posterior
from engine.face.identity_views import View
from engine.face.landmark_embedding import default_embedding
from engine.face.landmark_features import view_angles, view_direction
from engine.face.photo_consistency import alignment
from engine.face.photo_consistency.alignment import Pose, Seen, linearise, normal_equations
from engine.face.photo_consistency.pictures import FACE_PX, FacePicture, PictureBook
from engine.face.photo_consistency.refiner import FEWEST, PhotoRefiner, stepped
from engine.face.photo_consistency.skin_texels import SkinTexels
from engine.face.response import LandmarkResponse
from engine.fusion.copy_paste import fuse
from engine.fusion.fusion_map_file import load_fusion_map
from engine.fusion.normals import vertex_normals
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import ARKIT_NAMES, Camera, FaceLandmarks, FaceShape, Identity, Phenotypes
from exporters.face_calibration.samples import FACE_CENTRE_M, placed

SIDE = 288
CAMERA = Camera(560.0, (SIDE - 1) / 2, (SIDE - 1) / 2, SIDE, SIDE)
LENS = np.array([CAMERA.focal_px, CAMERA.cx, CAMERA.cy])
STILL = np.zeros(len(ARKIT_NAMES), np.float32)
YAWS = np.radians([-32.0, -21.0, -11.0, 0.0, 11.0, 21.0, 32.0])


@pytest.fixture(scope="module")
def model(model_cache):
    return BodyModel.load(model_cache.path(FILE_NAME))


@pytest.fixture(scope="module")
def texels(model):
    return SkinTexels.of(model, 64)


def waves(seed, blur=4.0):
    """A smooth random picture."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    return smooth / smooth.std()


def pose_at(yaw, pitch=0.05):
    rotation = quaternions.to_matrix(quaternions.from_rotation_vector(np.array([pitch, yaw, 0.02])))
    return Pose(np.asarray(rotation, np.float64), np.array([0.01, -0.02, -0.6]))


def some_points(count=200):
    return np.random.default_rng(1).uniform(-0.06, 0.06, (count, 3))


def seen(picture, count, weight=1.0):
    flat = np.full(count, weight, np.float32)
    return Seen(picture, LENS, flat, np.zeros(count, np.float32))


def test_slopes_are_finite_differences():
    """Of what a point shows, with its place and with the head's pose; along random directions."""
    points, pose, picture = some_points(), pose_at(0.3), waves(0, blur=8.0)
    one = seen(picture, len(points))
    linear = linearise(one, points, pose)
    rng, h = np.random.default_rng(2), 1e-3
    direction = rng.normal(size=points.shape)
    ahead, behind = (linearise(one, points + s * h * direction, pose).values for s in (1, -1))
    expected = (linear.by_point * direction).sum(axis=1)
    assert np.corrcoef((ahead - behind) / (2 * h), expected)[0, 1] > 0.995
    step = rng.normal(size=6) * np.array([8.0, 8.0, 8.0, 1.0, 1.0, 1.0])
    ahead, behind = (linearise(one, points, stepped(pose, s * h * step)).values for s in (1, -1))
    assert np.corrcoef((ahead - behind) / (2 * h), linear.by_pose @ step)[0, 1] > 0.995
    np.testing.assert_allclose(
        np.std((ahead - behind) / (2 * h)), np.std(linear.by_pose @ step), rtol=0.05
    )


def test_the_eliminated_texture_is_the_least_squares_one(monkeypatch):
    """Against the full problem with a texture value for every point as unknowns."""
    monkeypatch.setattr(alignment, "HUBER", 1e9)
    points, count = some_points(60), 3
    basis = np.random.default_rng(3).normal(0, 1e-3, (3, len(points), count)).astype(np.float32)
    looks = [seen(waves(0), len(points), weight) for weight in (1.0, 0.5, 0.8)]
    poses = [pose_at(yaw) for yaw in (-0.1, 0.0, 0.1)]
    found = normal_equations(looks, points, basis, poses)
    rows, values = [], []
    for k, (one, pose) in enumerate(zip(looks, poses, strict=True)):
        linear = linearise(one, points, pose)
        row = np.zeros((len(points), count + 18 + len(points)))
        row[:, :count] = np.einsum("na,ank->nk", linear.by_point, basis)
        row[:, count + 6 * k : count + 6 * k + 6] = linear.by_pose
        row[:, count + 18 :] = -np.eye(len(points))
        rows.append(row)
        values.append(linear.values)
    jacobian, stacked = np.concatenate(rows), np.stack(values)
    weights = np.stack([one.weights for one in looks])
    residuals = stacked - (weights * stacked).sum(axis=0) / weights.sum(axis=0)
    full = jacobian.T @ (weights.ravel()[:, None] * jacobian)
    free, texture = slice(None, -len(points)), slice(-len(points), None)
    schur = np.linalg.solve(full[texture, texture], full[texture, free])
    expected = (full[free, free] - full[free, texture] @ schur) / found.deviation**2
    size = np.sqrt(np.diag(expected))
    assert np.abs((found.hessian - expected) / np.outer(size, size)).max() < 1e-4
    gradient = jacobian[:, free].T @ (weights * residuals).ravel() / found.deviation**2
    np.testing.assert_allclose(found.gradient / size, gradient / size, atol=1e-2)


def landmarks_of(model, face, pose):
    """(478, 3) pixels: as the network would misread this face from there, without noise."""
    embedding = default_embedding()
    rest = model.shape(Phenotypes(), face)
    head = rest.joints_m[model.joint_names.index("head")]
    yaw, pitch = view_angles(view_direction(pose.rotation, pose.translation))
    drift = 1e-3 * LandmarkResponse(embedding).neutral_features(yaw, pitch).reshape(-1, 3)
    shape = embedding.neutral_m(rest.vertices_m, head) + drift
    x, y, z = (shape @ pose.rotation.T + pose.translation).T
    scale = CAMERA.focal_px / -z
    depth = -CAMERA.focal_px / np.linalg.norm(pose.translation) * z
    return np.column_stack([CAMERA.cx + x * scale, CAMERA.cy - y * scale, depth])


@pytest.fixture(scope="module")
def person(model):
    return np.random.default_rng(8).normal(0, 0.8, model.identity_count).astype(np.float32)


@pytest.fixture(scope="module")
def film(model, model_cache, person):
    """A painted person from seven sides: pictures and views."""
    avatar = fuse(
        model,
        load_fusion_map(model_cache.path(FILE_NAME), model),
        Identity(face=FaceShape(person)),
    )
    poser, shown = Poser(avatar), []
    with OffscreenRenderer(SIDE, SIDE, samples=1) as renderer:
        renderer.set_texture(paint_texture(avatar, Look.varied(3), 1024))
        renderer.set_light(Light())
        for yaw in YAWS:
            turn, centre = np.array([0.05, yaw, 0.0]), np.array([0.0, 0.0, -0.6])
            state, _, _ = placed(poser, turn, centre, STILL.astype(float), CAMERA)
            picture = renderer.render(poser.pose(state), CAMERA)
            rotation = quaternions.to_matrix(quaternions.from_rotation_vector(turn))
            pose = Pose(np.asarray(rotation), centre - rotation @ FACE_CENTRE_M)
            points = landmarks_of(model, person, pose)
            shown.append((picture.copy(), View(points, LENS, float(yaw), 1.0, 0.05)))
    return shown


def refiner_of(model):
    embedding = default_embedding()
    return PhotoRefiner(model, embedding, LandmarkResponse(embedding))


def error_mm(model, texels, coefficients, truth):
    """Mean distance of two faces' fronts along the normal, laid over one another."""
    faces = (model.shape(Phenotypes(), face.astype(np.float32)) for face in (coefficients, truth))
    found, true = (face.vertices_m for face in faces)
    normals = np.empty_like(true)
    vertex_normals(true, texels.faces, normals)
    front = texels.at(normals)[:, 2] > 0.5
    points, aims = (texels.at(vertices)[front].astype(float) for vertices in (found, true))
    fit = procrustes(points, aims, np.ones(len(points)))
    left = fit.scale * points @ fit.rotation.T + fit.translation - aims
    return 1e3 * float(np.abs((left * texels.at(normals)[front]).sum(axis=1)).mean())


def test_a_wrong_shape_is_put_right_by_pictures(model, texels, film, person):
    """Landmarks say 0.6 deviations wrong in every coefficient; pictures undo most of that."""
    refiner = refiner_of(model)
    for picture, view in film:
        refiner.observe(picture, view, STILL)
    astray = np.random.default_rng(4).normal(0, 0.6, len(person))
    known = Posterior(person + astray, 3.0 * np.eye(len(person)))
    found = refiner.refine(known, Phenotypes())
    before = error_mm(model, texels, known.coefficients, person)
    after = error_mm(model, texels, found.coefficients, person)
    assert after < 0.5 * before
    variances = np.diag(np.linalg.inv(found.information))
    assert (variances < 1.0 / 3.0 + 1e-9).all()
    assert refiner.refine(known, Phenotypes()) is found
    refiner.reset()
    assert refiner.refine(known, Phenotypes()) is known


def test_pictures_without_texture_change_nothing(model, film, person):
    refiner = refiner_of(model)
    for picture, view in film:
        refiner.observe(np.full_like(picture, 128), view, STILL)
    known = Posterior(person.astype(float), 3.0 * np.eye(len(person)))
    found = refiner.refine(known, Phenotypes())
    np.testing.assert_allclose(found.coefficients, known.coefficients, atol=1e-6)
    np.testing.assert_allclose(found.information, known.information, rtol=1e-6, atol=1e-6)


def test_noise_does_not_make_a_face(model, texels, film, person):
    """Pictures that have nothing in common: the landmarks' face, but for a fraction."""
    refiner, rng = refiner_of(model), np.random.default_rng(6)
    for picture, view in film:
        refiner.observe(rng.integers(0, 255, picture.shape, np.uint8), view, STILL)
    known = Posterior(person.astype(float), 3.0 * np.eye(len(person)))
    found = refiner.refine(known, Phenotypes())
    assert error_mm(model, texels, found.coefficients, person) < 1.0


def test_few_pictures_or_one_side_leave_the_landmarks_alone(model, film, person):
    known = Posterior(person.astype(float), np.eye(len(person)))
    few, frontal = refiner_of(model), refiner_of(model)
    for picture, view in film[:: len(film) // (FEWEST - 1)][: FEWEST - 1]:
        few.observe(picture, view, STILL)
    for k in range(8):
        picture, view = film[3]
        frontal.observe(picture, replace(view, yaw=0.01 * k, pitch=0.1 * k), STILL)
    assert few.refine(known, Phenotypes()) is known
    assert frontal.refine(known, Phenotypes()) is known


def test_a_cut_out_face_is_where_its_lens_says(film):
    """A landmark's ray meets the same pixel in the frame and in the scaled cut-out."""
    spot = (150, 170)
    image = np.zeros((2 * SIDE, 2 * SIDE, 3), np.uint8)
    cv2.circle(image, spot, 6, (255, 255, 255), -1)
    _, view = film[3]
    points = view.points_px.copy()
    points[:, :2] = (points[:, :2] - points[:, :2].mean(axis=0)) * 2.0 + 220.0
    assert np.ptp(points[:, :2], axis=0).max() > FACE_PX
    cut = FacePicture.cut(image, replace(view, points_px=points), STILL)
    ray = (np.array(spot) - view.lens[1:]) / view.lens[0]
    rows, columns = np.nonzero(cut.grey > 128)
    found = np.array([columns.mean(), rows.mean()])
    np.testing.assert_allclose(found, cut.lens[0] * ray + cut.lens[1:], atol=0.3)


def test_a_face_beyond_the_picture_is_not_kept(film):
    picture, view = film[3]
    points = view.points_px + np.array([2000.0, 0.0, 0.0])
    book = PictureBook()
    assert not book.offer(picture, replace(view, points_px=points), STILL)
    assert not book.offer(picture, replace(view, yaw=1.2), STILL)
    assert book.pictures() == []


def test_the_best_picture_of_a_direction_is_kept_until_it_is_old(film):
    picture, view = film[3]
    book = PictureBook()
    assert book.offer(picture, view, STILL)
    assert not book.offer(picture, replace(view, weight=0.9), STILL)
    assert len(book.pictures()) == 1
    assert any(book.offer(picture, replace(view, weight=0.9), STILL) for _ in range(100))


@pytest.mark.parametrize("shown", [True, False])
def test_the_fitter_is_the_same_without_pictures(model, film, shown):
    """Pictures change the coefficients, not the confidence; none, nothing."""
    plain, fitter = IdentityFitter(model), IdentityFitter(model)
    for picture, view in film:
        face = FaceLandmarks(view.points_px.astype(np.float32), 1.0)
        rotation = quaternions.from_rotation_vector(np.array([0.05, view.yaw, 0.0]))
        head = HeadPose(rotation.astype(np.float32), np.array([0, 0, -0.6], np.float32), 1.0)
        assert plain.observe(face, head, STILL, CAMERA)
        assert fitter.observe(face, head, STILL, CAMERA, image=picture if shown else None)
    one, other = plain.estimate(Phenotypes()), fitter.estimate(Phenotypes())
    assert (np.abs(one.coefficients - other.coefficients).max() > 0.05) == shown
    assert one.confidence == other.confidence
    fitter.reset()
    assert not fitter.estimate(Phenotypes()).coefficients.any()
