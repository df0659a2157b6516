from __future__ import annotations

import numpy as np
import pytest

from engine import quaternions
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.errors import ModelFileError
from engine.face.head_pose import HeadPose
from engine.face.identity_evidence import MEASURED, gather, network_shape
from engine.face.identity_fit import IdentityFitter
from engine.face.identity_readout import FILE, default_readout, load_readout
from engine.face.identity_views import VIEWS_PER_BIN, View, ViewBook, judge
from engine.face.landmark_embedding import default_embedding
from engine.face.legibility import legibility
from engine.face.response import LandmarkResponse
from engine.types import ARKIT_NAMES, Camera, FaceLandmarks, Phenotypes

CAMERA = Camera.from_size(640, 480)
LENS = np.array([CAMERA.focal_px, CAMERA.cx, CAMERA.cy])
STILL = np.zeros(len(ARKIT_NAMES), np.float32)
DISTANCE_M = 0.55


@pytest.fixture(scope="module")
def model(model_cache):
    return BodyModel.load(model_cache.path(FILE_NAME))


@pytest.fixture(scope="module")
def response():
    return LandmarkResponse(default_embedding())


def neutral_of(model, face=None):
    plain = model.shape(Phenotypes())
    head = plain.joints_m[model.joint_names.index("head")]
    vertices = plain.vertices_m if face is None else model.shape(Phenotypes(), face).vertices_m
    return default_embedding().neutral_m(vertices, head).astype(np.float64)


def head_pose(yaw, pitch=0.0, residual_px=1.0):
    rotation = quaternions.from_rotation_vector(np.array([pitch, yaw, 0.0]))
    translation = np.array([0.0, 0.0, -DISTANCE_M], np.float32)
    return HeadPose(rotation.astype(np.float32), translation, residual_px)


def photograph(shape_m, yaw, pitch=0.0, depth=1.0):
    """Landmarks (478, 3) of a head as an ideal network would find them."""
    rotation = quaternions.to_matrix(quaternions.from_rotation_vector(np.array([pitch, yaw, 0.0])))
    x, y, z = (shape_m @ rotation.T + [0.0, 0.0, -DISTANCE_M]).T
    scale = CAMERA.focal_px / -z
    near = CAMERA.focal_px / DISTANCE_M
    points = np.column_stack([CAMERA.cx + x * scale, CAMERA.cy - y * scale, -near * depth * z])
    return points.astype(np.float32)


def views_of(shape_m, yaws, depth=1.0):
    return [
        View(photograph(shape_m, yaw, 0.1, depth).astype(float), LENS, yaw, 1.0) for yaw in yaws
    ]


def nothing_drifts(response, monkeypatch):
    """An ideal network misreads no direction."""
    monkeypatch.setattr(
        LandmarkResponse, "neutral_features", lambda *_: np.zeros(3 * 478, np.float32)
    )


def test_turned_views_measure_depth_that_the_network_gets_wrong(model, response, monkeypatch):
    """Landmarks come out where they are although every depth is told 30 % too flat."""
    nothing_drifts(response, monkeypatch)
    weights = default_embedding().pose_weights.astype(np.float64)
    neutral = neutral_of(model)
    rng = np.random.default_rng(0)
    face = rng.standard_normal(model.identity_count).astype(np.float32)
    truth = neutral_of(model, face)
    views = views_of(truth, np.linspace(-0.6, 0.6, 7), depth=0.7)
    mean, bundle = gather(views, neutral, response, weights).features.reshape(2, MEASURED, 3)
    expected = gather(
        views_of(truth, np.linspace(-0.6, 0.6, 7)), neutral, response, weights
    ).features.reshape(2, MEASURED, 3)[1]
    assert np.sqrt(np.mean((bundle - expected) ** 2)) < 0.5
    assert np.sqrt(np.mean((mean - expected) ** 2)) > 1.0


def test_an_average_face_measures_as_none(model, response, monkeypatch):
    nothing_drifts(response, monkeypatch)
    weights = default_embedding().pose_weights.astype(np.float64)
    neutral = neutral_of(model)
    evidence = gather(views_of(neutral, [-0.4, 0.0, 0.4]), neutral, response, weights)
    mean, bundle = evidence.features.reshape(2, -1)
    assert np.sqrt(np.mean(bundle**2)) < 0.6
    # The network's shapes are those of a far camera: a near one makes them a little deeper.
    assert np.sqrt(np.mean(mean**2)) < 3.0
    assert 2.0 < evidence.views <= 3.0
    assert evidence.yaw_spread == pytest.approx(0.34, abs=0.05)


def test_one_wrong_view_among_many_hardly_counts(model, response, monkeypatch):
    nothing_drifts(response, monkeypatch)
    weights = default_embedding().pose_weights.astype(np.float64)
    neutral = neutral_of(model)
    views = views_of(neutral, np.linspace(-0.5, 0.5, 9))
    rng = np.random.default_rng(1)
    odd = views[4].points_px + rng.normal(0, 12.0, (478, 3))
    spoilt = [*views[:4], View(odd, LENS, 0.0, 1.0), *views[5:]]
    bundle = gather(spoilt, neutral, response, weights).features.reshape(2, -1)[1]
    alone = gather([spoilt[4]], neutral, response, weights).features.reshape(2, -1)[1]
    assert np.sqrt(np.mean(bundle**2)) < 0.1 * np.sqrt(np.mean(alone**2))


def test_the_network_shape_is_the_head_it_photographed(model):
    neutral = neutral_of(model)
    weights = np.ones(478)
    shape = network_shape(photograph(neutral, 0.0).astype(float), LENS, weights)
    spread = np.linalg.norm(shape - shape.mean(axis=0), axis=1)
    expected = np.linalg.norm(neutral - neutral.mean(axis=0), axis=1)
    np.testing.assert_allclose(spread / spread.mean(), expected / expected.mean(), atol=0.2)


def test_the_posterior_is_the_bayesian_one():
    """Against the textbook's formula, with the covariance as a full matrix."""
    readout = default_readout()
    rng = np.random.default_rng(2)
    truth = rng.standard_normal(len(readout.response))
    features = readout.mean + truth @ readout.response
    found = readout.posterior(features.astype(np.float64))
    covariance = np.linalg.inv(np.eye(len(truth)) + readout.information)
    np.testing.assert_allclose(
        found.coefficients, covariance @ readout.information @ truth, atol=1e-2
    )
    np.testing.assert_allclose(np.linalg.inv(found.information), covariance, atol=1e-6)
    decided = 1 - readout.visible @ np.diag(covariance)
    assert readout.decidable == pytest.approx(decided, abs=1e-3)
    assert readout.confidence(found) == pytest.approx(1.0, abs=1e-3)
    halved = np.linalg.inv(np.eye(len(truth)) + readout.information / 2.0)
    doubted = readout.confidence(readout.posterior(features.astype(np.float64), 2.0))
    assert doubted == pytest.approx((1 - readout.visible @ np.diag(halved)) / decided, abs=1e-3)
    assert readout.misfit(features, truth) < 1e-3


def test_more_doubt_is_less_confidence_and_a_face_nearer_to_the_average():
    readout = default_readout()
    features = readout.mean + readout.response[:5].sum(axis=0)
    sure, unsure = readout.posterior(features), readout.posterior(features, doubt=10.0)
    assert readout.confidence(unsure) < readout.confidence(sure)
    assert np.linalg.norm(unsure.coefficients) < np.linalg.norm(sure.coefficients)


def test_a_stranger_of_whom_nothing_is_seen_has_the_phenotypes_face(model):
    shape = IdentityFitter(model).estimate(Phenotypes())
    assert not shape.coefficients.any()
    assert shape.confidence == 0.0


def observe_all(fitter, shape_m, yaws):
    for yaw in yaws:
        face = FaceLandmarks(photograph(shape_m, yaw), 1.0)
        assert fitter.observe(face, head_pose(yaw), STILL, CAMERA)


def test_confidence_grows_with_sides_and_reset_forgets(model):
    fitter, neutral = IdentityFitter(model), neutral_of(model)
    observe_all(fitter, neutral, [0.0])
    one = fitter.estimate(Phenotypes()).confidence
    observe_all(fitter, neutral, [-0.5, -0.25, 0.25, 0.5])
    many = fitter.estimate(Phenotypes()).confidence
    assert 0.0 < one < many < 1.0
    fitter.reset()
    assert fitter.estimate(Phenotypes()).confidence == 0.0


def test_a_face_is_moved_towards_the_one_that_is_seen(model):
    """A random person's landmarks and those of the estimate lie on the same side of the average.

    Ideal landmarks are not the network's, on which the readout was calibrated."""
    rng = np.random.default_rng(5)
    face = rng.standard_normal(model.identity_count).astype(np.float32)
    fitter, average = IdentityFitter(model), neutral_of(model)
    found = []
    for shape in (average, neutral_of(model, face)):
        fitter.reset()
        observe_all(fitter, shape, np.linspace(-0.5, 0.5, 5))
        found.append(fitter.estimate(Phenotypes()).coefficients)
    wanted = neutral_of(model, face) - average
    moved = neutral_of(model, found[1]) - neutral_of(model, found[0])
    assert np.corrcoef(wanted.ravel(), moved.ravel())[0, 1] > 0.4


@pytest.mark.parametrize(
    "bad",
    [
        {"presence": 0.3},
        {"residual_px": 40.0},
        {"yaw": 1.3},
        {"pitch": 0.9},
        {"weight": 0.0},
        {"shrink": 0.1},
        {"residual_px": np.nan},
        {"spoil": np.nan},
    ],
)
def test_what_is_no_face_well_seen_leaves_an_identity_as_it_was(model, bad):
    """A hand before the face, a profile, no light: the estimate does not move."""
    fitter, neutral = IdentityFitter(model), neutral_of(model)
    observe_all(fitter, neutral, [-0.3, 0.0, 0.3])
    before = fitter.estimate(Phenotypes())
    points = photograph(neutral, 0.0) * np.float32(bad.get("shrink", 1.0))
    points[0] += np.float32(bad.get("spoil", 0.0))
    head = head_pose(bad.get("yaw", 0.0), bad.get("pitch", 0.0), bad.get("residual_px", 1.0))
    face = FaceLandmarks(points, bad.get("presence", 1.0))
    assert not fitter.observe(face, head, STILL, CAMERA, bad.get("weight", 1.0))
    after = fitter.estimate(Phenotypes())
    np.testing.assert_array_equal(before.coefficients, after.coefficients)
    assert before.confidence == after.confidence


def test_what_is_hardly_a_face_is_believed_less(model):
    """A mask moves many landmarks together; confidence falls instead of a strange face coming."""
    neutral, fitter = neutral_of(model), IdentityFitter(model)
    observe_all(fitter, neutral, np.linspace(-0.5, 0.5, 5))
    plain = fitter.estimate(Phenotypes())
    rng = np.random.default_rng(3)
    masked = neutral.copy()
    masked[:468] += rng.normal(0, 6e-3, (468, 3))
    fitter.reset()
    observe_all(fitter, masked, np.linspace(-0.5, 0.5, 5))
    strange = fitter.estimate(Phenotypes())
    assert strange.confidence < 0.7 * plain.confidence
    assert np.abs(strange.coefficients).max() < 4.0


def test_acting_views_count_less_than_quiet_ones(model):
    points = FaceLandmarks(photograph(neutral_of(model), 0.0), 1.0)
    loud = STILL.copy()
    loud[ARKIT_NAMES.index("jawOpen")] = 1.0
    quiet_view, _ = judge(points, head_pose(0.0), STILL, CAMERA, 1.0)
    loud_view, _ = judge(points, head_pose(0.0), loud, CAMERA, 1.0)
    assert loud_view.weight < 0.3 * quiet_view.weight


def test_the_book_keeps_the_best_views_and_never_more_than_fit():
    book = ViewBook()
    for k in range(50):
        book.offer(View(np.zeros((478, 3)), LENS, 0.0, 0.02 * (k + 1)), 4)
    assert len(book.views()) == VIEWS_PER_BIN
    assert min(view.weight for view in book.views()) > 0.9


def test_old_views_give_way_in_time():
    book = ViewBook()
    for _ in range(VIEWS_PER_BIN):
        book.offer(View(np.zeros((478, 3)), LENS, 0.0, 1.0), 0)
    for _ in range(200):
        book.offer(View(np.ones((478, 3)), LENS, 0.0, 0.5), 0)
    assert any(view.points_px[0, 0] == 1.0 for view in book.views())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("format_version", np.array(99)),
        ("mean", np.zeros(7, np.float32)),
        ("response", np.zeros((3, 2808), np.float16)),
        ("noise_deviation", np.full(100, np.nan, np.float32)),
    ],
)
def test_a_damaged_readout_is_named(tmp_path, name, value):
    with np.load(FILE) as archive:
        arrays = {key: archive[key] for key in archive.files}
    np.savez(tmp_path / "readout.npz", **(arrays | {name: value}))
    with pytest.raises(ModelFileError, match="readout"):
        load_readout(tmp_path / "readout.npz")


def test_the_shipped_readout_states_its_licence():
    with np.load(FILE) as archive:
        assert str(archive["licence"]).startswith("Apache-2.0")


@pytest.mark.parametrize(("spread", "expected"), [(0.0, 0.0), (3.0, 0.0), (10.0, 0.5), (40.0, 1.0)])
def test_a_face_without_contrast_cannot_be_read(model, spread, expected):
    rng = np.random.default_rng(4)
    noise = rng.normal(100.0, spread, (480, 640, 1))
    picture = np.clip(np.repeat(noise, 3, axis=2), 0, 255).astype(np.uint8)
    face = FaceLandmarks(photograph(neutral_of(model), 0.0), 1.0)
    assert legibility(picture, face) == pytest.approx(expected, abs=0.06)


def test_a_face_outside_the_picture_cannot_be_read(model):
    face = FaceLandmarks(photograph(neutral_of(model), 0.0) + np.float32(5000.0), 1.0)
    assert legibility(np.full((480, 640, 3), 200, np.uint8), face) == 0.0
