"""The face fit: pose, bounded least squares, and expressions back from synthetic landmarks."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import lsq_linear
from scipy.spatial.transform import Rotation

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.errors import ModelFileError
from engine.face import eyelids
from engine.face.bounded_least_squares import solve_bounded
from engine.face.eyelids import close_lids
from engine.face.face_fit import FaceFitter
from engine.face.head_pose import (
    initial_pose,
    procrustes,
    refine_pose,
)
from engine.face.landmark_embedding import default_embedding, load_embedding
from engine.face.landmark_features import view_angles, view_direction
from engine.face.response import LandmarkResponse
from engine.inference.store import BODY_FILE, ModelStore
from engine.types import ARKIT_NAMES, Camera, FaceLandmarks, Phenotypes

CAMERA = Camera.from_size(640, 480)
HEAD = np.array([0.03, 0.02, -0.6])
OPEN = ARKIT_NAMES.index("jawOpen")


@cache
def response() -> LandmarkResponse:
    return LandmarkResponse(default_embedding())


def action(**strengths: float) -> np.ndarray:
    expression = np.zeros(52)
    for name, strength in strengths.items():
        expression[ARKIT_NAMES.index(name)] = strength
    return expression


@pytest.fixture(scope="module")
def body(model_cache: ModelStore) -> BodyModel:
    return BodyModel.load(model_cache.folder / BODY_FILE)


@pytest.fixture(scope="module")
def rest_vertices(body: BodyModel) -> np.ndarray:
    """The average Anny at rest, its head joint at the origin."""
    return head_at_rest(body, Phenotypes())


def head_at_rest(body: BodyModel, phenotypes: Phenotypes) -> np.ndarray:
    shape = body.shape(phenotypes)
    return shape.vertices_m - shape.joints_m[body.joint_names.index("head")]


def neutral_of(body: BodyModel, phenotypes: Phenotypes) -> np.ndarray:
    return default_embedding().landmarks_m(head_at_rest(body, phenotypes))


def smooth_shape(rest: np.ndarray, size_m: float) -> np.ndarray:
    """(478, 3) bumps a few centimetres wide, of ``size_m`` root mean square."""
    places = default_embedding().landmarks_m(rest)
    rng = np.random.default_rng(0)
    waves, phases = rng.normal(0, 40.0, (12, 3)), rng.uniform(0, 2 * np.pi, 12)
    bumps = np.sin(places @ waves.T + phases) @ rng.normal(size=(12, 3))
    return size_m * bumps / np.sqrt((bumps**2).mean())


def project(points_m: np.ndarray) -> np.ndarray:
    """(N, 3) pixels, z in pixels relative to the head."""
    x, y, z = points_m.T
    return np.column_stack(
        [
            CAMERA.cx + CAMERA.focal_px * x / -z,
            CAMERA.cy - CAMERA.focal_px * y / -z,
            -(z - HEAD[2]) * CAMERA.focal_px / -HEAD[2],
        ]
    )


def look(
    rest: np.ndarray,
    expression: np.ndarray,
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    shape_m: float | np.ndarray = 0.0,
    noise_px: float = 0.0,
    seed: int = 0,
) -> FaceLandmarks:
    """Landmarks by the calibrated model itself, under a true perspective camera."""
    embedding = default_embedding()
    rotation = Rotation.from_euler("yxz", turn_deg, degrees=True).as_matrix()
    direction = view_direction(rotation, HEAD)
    yaw, pitch = view_angles(direction)
    moved = response().features(expression, yaw) + response().neutral_features(yaw, pitch)
    moved = moved.reshape(-1, 3)
    face = embedding.neutral_m(rest, np.zeros(3, np.float32)) + shape_m + 1e-3 * moved
    pixels = project(face @ rotation.T + HEAD)
    pixels[:, :2] += np.random.default_rng(seed).normal(0, 1, (478, 2)) * noise_px
    return FaceLandmarks(pixels.astype(np.float32), 1.0)


def warmed(rest: np.ndarray, shape_m: float | np.ndarray = 0.0) -> FaceFitter:
    fitter = FaceFitter(rest, np.zeros(3, np.float32), smooth=False)
    for frame in range(40):
        fitter.fit(look(rest, np.zeros(52), shape_m=shape_m, noise_px=0.2, seed=frame), CAMERA)
    return fitter


def test_procrustes_recovers_a_similarity() -> None:
    rng = np.random.default_rng(1)
    source, weights = rng.normal(size=(30, 3)), rng.uniform(0.1, 1.0, 30)
    rotation = Rotation.random(random_state=2).as_matrix()
    target = 2.5 * source @ rotation.T + [1.0, -2.0, 3.0]
    found = procrustes(source, target, weights)
    assert found.scale == pytest.approx(2.5)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-12)
    np.testing.assert_allclose(found.translation, [1.0, -2.0, 3.0], atol=1e-12)


def test_procrustes_agrees_with_scipy_on_noisy_points() -> None:
    rng = np.random.default_rng(3)
    source, weights = rng.normal(size=(40, 3)), rng.uniform(0.1, 1.0, 40)
    target = source @ Rotation.random(random_state=4).as_matrix().T + rng.normal(0, 0.1, (40, 3))
    share = weights / weights.sum()
    reference, _ = Rotation.align_vectors(target - share @ target, source - share @ source, weights)
    found = procrustes(source, target, weights)
    np.testing.assert_allclose(found.rotation, reference.as_matrix(), atol=1e-9)


def test_procrustes_never_mirrors() -> None:
    source = np.random.default_rng(5).normal(size=(10, 3))
    found = procrustes(source, source * [-1.0, 1.0, 1.0], np.ones(10))
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)


@pytest.mark.parametrize("yaw", [-40.0, 0.0, 40.0])
def test_pose_under_perspective(rest_vertices: np.ndarray, yaw: float) -> None:
    embedding = default_embedding()
    model = embedding.neutral_m(rest_vertices, np.zeros(3, np.float32)).astype(np.float64)
    weights = embedding.pose_weights.astype(np.float64)
    truth = Rotation.from_euler("yxz", (yaw, 8.0, -6.0), degrees=True).as_matrix()
    points = project(model @ truth.T + HEAD)
    lens = np.array([CAMERA.focal_px, CAMERA.cx, CAMERA.cy])
    start = initial_pose(model, points, weights, CAMERA)
    rotation, translation, residual = refine_pose(model, points, weights, *start, lens)
    np.testing.assert_allclose(rotation, truth, atol=1e-6)
    np.testing.assert_allclose(translation, HEAD, atol=1e-6)
    assert residual < 1e-3


@pytest.mark.parametrize("seed", range(5))
def test_bounded_least_squares_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix, target = rng.normal(size=(120, 52)), rng.normal(size=120)
    lower, upper = np.zeros(52), rng.uniform(0.05, 1.0, 52)
    expected = lsq_linear(matrix, target, (lower, upper), tol=1e-12).x
    hessian, gradient, free = matrix.T @ matrix, matrix.T @ target, np.zeros(52)
    found = solve_bounded(hessian, gradient, lower, upper, np.full(52, 0.5), free, free, 1e-9)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    "somebody",
    [
        Phenotypes(gender=0.0, age=0.95, weight=0.8),
        Phenotypes(gender=1.0, age=0.6, weight=0.2),
        Phenotypes(gender=0.2, age=0.4),
    ],
)
def test_neutral_reads_neutral_whoever_it_is(
    rest_vertices: np.ndarray, body: BodyModel, somebody: Phenotypes
) -> None:
    """The fitter expects the average Anny and sees somebody else with a crooked face."""
    crooked = smooth_shape(rest_vertices, 0.0015)
    shape = neutral_of(body, somebody) - neutral_of(body, Phenotypes()) + crooked
    fitter = warmed(rest_vertices, shape)
    for yaw in (-25.0, 0.0, 25.0):
        seen = look(rest_vertices, np.zeros(52), (yaw, 0, 0), shape, 0.2)
        expression = fitter.fit(seen, CAMERA, 1e-3).expression
        assert expression.mean() <= 0.03


@pytest.mark.parametrize("yaw", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize(
    "name", ["eyeBlinkLeft", "eyeBlinkRight", "jawOpen", "mouthSmileLeft", "mouthSmileRight"]
)
def test_an_action_reads_as_such_on_its_side(
    rest_vertices: np.ndarray, name: str, yaw: float
) -> None:
    fitter = warmed(rest_vertices)
    seen = look(rest_vertices, action(**{name: 0.8}), (yaw, 0, 0), noise_px=0.2)
    expression = fitter.fit(seen, CAMERA).expression
    assert ARKIT_NAMES[int(expression.argmax())] == name
    assert expression[ARKIT_NAMES.index(name)] > 0.5
    if name != "jawOpen":
        other = name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
        assert expression[ARKIT_NAMES.index(other)] < 0.3


def test_gaze_turns_the_eyeballs_together(rest_vertices: np.ndarray, body: BodyModel) -> None:
    """Irises that look to the person's left turn both of the avatar's pupils there."""
    to_their_left = action(eyeLookOutLeft=0.7, eyeLookInRight=0.7)
    fit = warmed(rest_vertices).fit(look(rest_vertices, to_their_left), CAMERA)
    vertex = np.repeat(np.arange(len(body.template_m)), np.diff(body.morph_starts))
    moved = np.zeros_like(body.template_m)
    np.add.at(moved, vertex, fit.expression[body.morph_actions, None] * body.morph_offsets_m)
    for part in ("eye_front.L", "eye_front.R"):
        ball = np.unique(body.faces[body.face_parts == PART_NAMES.index(part)])
        pupil = ball[np.argmax(body.template_m[ball, 2])]
        assert moved[pupil, 0] > 1e-3


def test_a_held_smile_stays_a_smile(rest_vertices: np.ndarray) -> None:
    fitter = warmed(rest_vertices)
    smile = look(rest_vertices, action(mouthSmileLeft=0.8, mouthSmileRight=0.8))
    held = [fitter.fit(smile, CAMERA).expression[43] for _ in range(600)]
    assert held[-1] > 0.9 * held[5]


def test_who_starts_smiling_is_understood_once_it_ends(rest_vertices: np.ndarray) -> None:
    fitter = FaceFitter(rest_vertices, np.zeros(3, np.float32), smooth=False)
    smile = look(rest_vertices, action(mouthSmileLeft=0.8, mouthSmileRight=0.8))
    for _ in range(60):
        fitter.fit(smile, CAMERA)
    for _ in range(90):
        rested = fitter.fit(look(rest_vertices, np.zeros(52)), CAMERA)
    assert rested.expression.mean() <= 0.03
    assert fitter.fit(smile, CAMERA).expression[43] > 0.5


def test_a_first_smile_that_ends_is_no_frown(rest_vertices: np.ndarray) -> None:
    """Some of it went into the neutral face, and comes out again before anything else is read."""
    fitter = FaceFitter(rest_vertices, np.zeros(3, np.float32), smooth=False)
    smile = look(rest_vertices, action(mouthSmileLeft=1.0, mouthSmileRight=1.0))
    for _ in range(40):
        fitter.fit(smile, CAMERA)
    for _ in range(6):
        rested = fitter.fit(look(rest_vertices, np.zeros(52)), CAMERA)
    assert rested.expression.max() < 0.15


def test_an_open_mouth_is_believed_at_once(rest_vertices: np.ndarray) -> None:
    """Lips that part are nobody's shape; a stranger who starts by talking is seen to talk."""
    fitter = FaceFitter(rest_vertices, np.zeros(3, np.float32), smooth=False)
    fit = fitter.fit(look(rest_vertices, action(jawOpen=0.8)), CAMERA)
    assert fit.expression[OPEN] > 0.5


def test_same_landmarks_same_answer(rest_vertices: np.ndarray) -> None:
    def run() -> np.ndarray:
        fitter = FaceFitter(rest_vertices, np.zeros(3, np.float32))
        frames = (
            look(rest_vertices, action(jawOpen=i / 10), noise_px=0.5, seed=i) for i in range(9)
        )
        return np.stack([fitter.fit(frame, CAMERA).expression for frame in frames])

    np.testing.assert_array_equal(run(), run())


def test_a_blink_is_not_damped(rest_vertices: np.ndarray) -> None:
    fitter = FaceFitter(rest_vertices, np.zeros(3, np.float32))
    for _ in range(40):
        fitter.fit(look(rest_vertices, np.zeros(52)), CAMERA)
    shut = look(rest_vertices, action(eyeBlinkLeft=0.9, eyeBlinkRight=0.9))
    read = [fitter.fit(shut, CAMERA).expression for _ in range(2)]
    assert min(read[1][8], read[1][9]) > 0.6


def lids(gap_left_m: float, gap_right_m: float) -> np.ndarray:
    landmarks = np.zeros((478, 3))
    for eye, gap in enumerate((gap_left_m, gap_right_m)):
        landmarks[eyelids.UPPER[eye], 1] = gap
    return landmarks


@pytest.mark.parametrize("open_gap", [0.005, 0.011])
def test_shut_lids_are_a_blink_however_wide_the_eye(open_gap: float) -> None:
    neutral = lids(open_gap, open_gap)
    shut = close_lids(np.zeros(52), neutral, lids(0.1 * open_gap, 0.1 * open_gap) - neutral)
    np.testing.assert_allclose(shut[eyelids.BLINKS], 1.0)
    drowsy = close_lids(np.zeros(52), neutral, lids(0.6 * open_gap, 0.6 * open_gap) - neutral)
    np.testing.assert_allclose(drowsy, 0.0)


def test_a_wink_stays_on_its_side_and_a_blink_is_even() -> None:
    neutral = lids(0.01, 0.01)
    wink = close_lids(np.zeros(52), neutral, lids(0.001, 0.01) - neutral)
    np.testing.assert_allclose(wink[eyelids.BLINKS], [1.0, 0.0])
    blink = close_lids(np.zeros(52), neutral, lids(0.0030, 0.0035) - neutral)
    left, right = blink[eyelids.BLINKS]
    assert abs(left - right) < 0.05 < left


def test_a_lost_face_relaxes(rest_vertices: np.ndarray) -> None:
    fitter = FaceFitter(rest_vertices, np.zeros(3, np.float32))
    assert fitter.lost() is None
    seen = look(rest_vertices, action(jawOpen=1.0))
    for _ in range(40):
        fitter.fit(look(rest_vertices, np.zeros(52)), CAMERA)
    for _ in range(10):
        open_mouth = fitter.fit(seen, CAMERA).expression[OPEN]
    opened = [open_mouth]
    for _ in range(60):
        fit = fitter.lost()
        assert fit is not None
        opened.append(float(fit.expression[OPEN]))
    assert all(b < a for a, b in pairwise(opened))
    assert opened[1] > 0.8 * opened[0]
    assert opened[-1] < 0.01
    assert fit.confidence < 0.05


@pytest.mark.parametrize("interval_s", [-3600.0, 3600.0])
def test_a_clock_that_jumps_breaks_no_lost_face(
    rest_vertices: np.ndarray, interval_s: float
) -> None:
    fitter = warmed(rest_vertices)
    seen = fitter.fit(look(rest_vertices, action(jawOpen=1.0)), CAMERA)
    fit = fitter.lost(interval_s)
    assert (fit.expression <= seen.expression).all()
    assert fit.confidence <= seen.confidence


def away(fitter: FaceFitter, seconds: float) -> None:
    for _ in range(round(30 * seconds)):
        fitter.lost()


@pytest.fixture(scope="module")
def somebody_else(rest_vertices: np.ndarray, body: BodyModel) -> np.ndarray:
    """(478, 3) another woman, with a crooked face."""
    other = Phenotypes(gender=1.0, age=0.9, weight=0.8)
    crooked = smooth_shape(rest_vertices, 0.0015)
    return neutral_of(body, other) - neutral_of(body, Phenotypes()) + crooked


@pytest.mark.parametrize("absence_s", [0.0, 10.0])
def test_the_next_person_is_not_read_through_the_last_ones_face(
    rest_vertices: np.ndarray, somebody_else: np.ndarray, absence_s: float
) -> None:
    """After an absence at once; without one after seconds in which nothing fits."""
    fitter = warmed(rest_vertices)
    for frame in range(90):
        fitter.fit(look(rest_vertices, np.zeros(52), noise_px=0.2, seed=frame), CAMERA)
    away(fitter, absence_s)
    for frame in range(90 if absence_s else 300):
        seen = look(rest_vertices, np.zeros(52), (0, 0, 0), somebody_else, 0.2, frame)
        last = fitter.fit(seen, CAMERA)
    assert last.expression.mean() < 0.01
    assert last.expression.max() < 0.15
    assert fitter.strangers == (0 if absence_s else 1)


def test_a_short_loss_forgets_nobody(rest_vertices: np.ndarray, somebody_else: np.ndarray) -> None:
    fitter = warmed(rest_vertices, somebody_else)
    smile = look(
        rest_vertices, action(mouthSmileLeft=0.8, mouthSmileRight=0.8), shape_m=somebody_else
    )
    before = fitter.fit(smile, CAMERA).expression
    away(fitter, 1.0)
    np.testing.assert_allclose(fitter.fit(smile, CAMERA).expression, before, atol=0.05)


def test_a_grimace_held_for_long_is_nobody_else(rest_vertices: np.ndarray) -> None:
    fitter = warmed(rest_vertices)
    grimace = action(jawOpen=0.6, mouthSmileLeft=0.9, browDownLeft=0.8, browDownRight=0.8)
    for frame in range(300):
        fit = fitter.fit(look(rest_vertices, grimace, (15, 0, 0), 0.0, 0.2, frame), CAMERA)
    assert fit.expression[OPEN] > 0.4
    assert fitter.strangers == 0


def test_a_face_hardly_believed_teaches_little(
    rest_vertices: np.ndarray, somebody_else: np.ndarray
) -> None:
    """A poster that the detector half takes for a face must not become the person's own."""
    doubtful, sure = (FaceFitter(rest_vertices, np.zeros(3, np.float32)) for _ in range(2))
    for frame in range(5):
        seen = look(rest_vertices, np.zeros(52), shape_m=somebody_else, noise_px=0.2, seed=frame)
        sure.fit(seen, CAMERA)
        doubtful.fit(replace(seen, presence=0.05), CAMERA)
    strangers, own = (f._neutral.landmarks_m - f._model_m for f in (doubtful, sure))
    assert np.abs(strangers).mean() < 0.5 * np.abs(own).mean()


@pytest.mark.parametrize("factor", [1e4, 1e30])
def test_landmarks_that_lead_nowhere_are_a_lost_face(
    rest_vertices: np.ndarray, factor: float
) -> None:
    fitter = warmed(rest_vertices)
    first = fitter.fit(look(rest_vertices, np.zeros(52)), CAMERA)
    far = look(rest_vertices, np.zeros(52))
    far.points_px[:240, :2] *= np.float32(factor)
    lost = fitter.fit(far, CAMERA)
    np.testing.assert_array_equal(lost.head.translation_m, first.head.translation_m)
    assert lost.confidence < first.confidence
    again = fitter.fit(look(rest_vertices, np.zeros(52)), CAMERA)
    assert again.expression.mean() < 0.03
    assert again.confidence > 0.9


def test_a_damaged_embedding_is_named(tmp_path) -> None:
    broken = tmp_path / "embedding.npz"
    broken.write_bytes(b"PK nothing")
    with pytest.raises(ModelFileError, match=r"embedding\.npz"):
        load_embedding(broken)
    np.savez(broken, format_version=1)
    with pytest.raises(ModelFileError, match="triangles"):
        load_embedding(broken)
