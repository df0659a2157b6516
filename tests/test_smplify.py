"""The body fit: exact Jacobians, known poses found again, and grace when landmarks misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from puppet import FRAME_NS, HEIGHT, WIDTH, Noise, Puppet, without
from rigs import angle_between

from engine import quaternions
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.body.body_targets import HeadPose
from engine.body.gauss_newton import Chain, allocate, linearize, solve
from engine.body.joint_angles import COUPLINGS, Angle, AngleModel, Term, build
from engine.body.landmark_embedding import PointSet
from engine.body.residuals import directions, empty_targets, lay_out
from engine.errors import ModelFileError
from engine.inference.store import ModelStore
from engine.types import Observation

LEGS = (25, 26, 27, 28, 29, 30, 31, 32)


@pytest.fixture(scope="module")
def puppet(model_cache: ModelStore) -> Puppet:
    return Puppet(BodyModel.load(model_cache.path(FILE_NAME)))


@pytest.fixture
def arm() -> AngleModel:
    """Three joints: a free root, a two-axis joint whose turn is shared, a hinge."""
    rng = np.random.default_rng(5)
    names = ("root", "upper", "lower")
    joints = np.array([[0.0, 0.0, 0.0], [0.3, 0.1, 0.0], [0.6, 0.0, 0.1]])
    free = [Angle(n, -np.inf, np.inf, 0.0, np.inf, 1.0) for n in ("x", "y", "z", "a", "b", "c")]
    bends = [Angle(n, -1.0, 1.0, 0.1, 0.5, 0.2) for n in ("swing", "lift", "twist", "hinge")]
    terms = [Term("root", 0, n, axis) for n, axis in zip("abc", np.eye(3), strict=True)]
    terms += [
        Term("upper", 0, "swing", rng.normal(size=3)),
        Term("upper", 0, "lift", rng.normal(size=3)),
        Term("upper", 1, "twist", np.array([1.0, 0.0, 0.0]), 0.4),
        Term("lower", 0, "twist", np.array([1.0, 0.0, 0.0]), 0.6),
        Term("lower", 1, "hinge", np.array([0.0, 0.0, 1.0])),
    ]
    return build(names, joints, np.array([-1, 0, 1], np.int32), [*free, *bends], terms, True)


def test_gradient_equals_finite_differences(arm: AngleModel) -> None:
    rng = np.random.default_rng(1)
    points = PointSet(np.array([0, 1, 2, 2], np.int32), rng.normal(size=(4, 3)) * 0.2)
    aims = [(1, np.array([0.0, 1.0, 0.0])), (2, np.array([0.0, 0.0, 1.0]))]
    couplings = (("lift", 0.7, "hinge", 8.0), ("hinge", 0.3, "swing", 5.0))
    layout = lay_out(arm, points, [(0, 1), (1, 3), (2, 3)], aims, couplings)
    targets, work = empty_targets(arm, layout), allocate(arm.chain, layout)
    targets.points_px[:] = rng.normal(size=(4, 2)) * 100 + 200
    targets.point_weights[:] = 0.05
    targets.places_m[:] = rng.normal(size=(4, 3)) - np.array([0.0, 0.0, 2.0])
    targets.place_weights[:] = [[3.0, 0.0], [0.0, 4.0], [0.0, 0.0], [2.0, 5.0]]
    targets.up[:] = 0.0, 0.8, 0.6
    targets.segment_directions[:] = directions(rng.normal(size=(6, 3)), _PAIRS)
    targets.segment_weights[:] = 3.0
    targets.aim_directions[:] = directions(rng.normal(size=(6, 3)), _PAIRS)[:2]
    targets.aim_weights[:] = 4.0
    targets.angle_weights[6:] = 2.0
    targets.camera[:] = 500.0, 200.0, 200.0
    work.base[:] = quaternions.to_matrix(np.array([0.1, 0.7, 0.1, 0.7]) / 1.0)
    # Beyond the limits of some angles, so that limits take part.
    angles = rng.normal(size=10) * 0.8
    angles[:3] = 0.1, 0.0, -2.0
    gradient, unused = np.zeros(10), np.zeros((10, 10))

    def cost(at: np.ndarray) -> float:
        return float(linearize(arm.chain, layout, targets, work, at, unused, np.zeros(10)))

    linearize(arm.chain, layout, targets, work, angles, unused, gradient)
    steps = np.eye(10) * 1e-6
    numeric = [(cost(angles + step) - cost(angles - step)) / 2e-6 for step in steps]
    np.testing.assert_allclose(gradient, numeric, rtol=1e-5, atol=1e-5)


_PAIRS = np.array([[0, 1], [2, 3], [4, 5]], np.int32)


def test_hessian_equals_jacobian_squared(arm: AngleModel) -> None:
    """With direction residuals only, H is J^T J of the stacked residuals at zero residual."""
    points = PointSet(np.array([0, 2], np.int32), np.array([[0.1, 0.2, 0.0], [0.2, 0.0, 0.1]]))
    layout = lay_out(arm, points, [(0, 1)], [], ())
    targets, work = empty_targets(arm, layout), allocate(arm.chain, layout)
    angles = np.array([0.0, 0, -2, 0.1, 0.2, 0.3, 0.2, -0.3, 0.4, 0.5])
    hessian, gradient = np.zeros((10, 10)), np.zeros(10)

    def direction(at: np.ndarray) -> np.ndarray:
        linearize(arm.chain, layout, targets, work, at, hessian, gradient)
        return directions(work.points_m, layout.segments)[0]

    jacobian = np.stack(
        [(direction(angles + s) - direction(angles - s)) / 2e-6 for s in np.eye(10) * 1e-6], axis=1
    )
    targets.segment_directions[:] = direction(angles)
    targets.segment_weights[:] = 2.0
    linearize(arm.chain, layout, targets, work, angles, hessian, gradient)
    full = hessian + np.tril(hessian, -1).T
    np.testing.assert_allclose(full, 4.0 * jacobian.T @ jacobian, atol=1e-6)


def test_limits_hold_against_a_target_beyond_them(arm: AngleModel) -> None:
    points = PointSet(np.array([1, 2], np.int32), np.array([[0.3, 0, 0], [0.3, 0.0, 0.0]]))
    layout = lay_out(arm, points, [(0, 1)], [(2, np.array([1.0, 0.0, 0.0]))], ())
    targets, work = empty_targets(arm, layout), allocate(arm.chain, layout)
    targets.angle_weights[:] = 1e4
    targets.angle_weights[-1] = 0.0
    targets.aim_weights[:] = 10.0
    targets.aim_directions[:] = np.array([-0.6, 0.8, 0.0])
    solve(arm.chain, layout, targets, work, 30, 1e-9)
    assert work.angles[-1] > 0.9, "the target is beyond the limit, so the limit is reached"
    assert work.angles[-1] < 1.0 + np.radians(10)


def _errors_mm(puppet: Puppet, noise: Noise, poses: int) -> np.ndarray:
    """(poses,) mean joint error of cold starts."""
    rng, fitter = np.random.default_rng(11), puppet.fitter()
    names = puppet.body.joint_names
    body = [j for j, n in enumerate(names) if not n.startswith(("finger", "meta", "toe", "eye"))]
    errors = []
    for index in range(poses):
        puppet.natural(rng)
        fitter.reset()
        fit = fitter.fit(puppet.see(index, noise, rng))
        assert fit.cold
        apart = puppet.fitted_joints_m(fit)[body] - puppet.joints_m[body]
        errors.append(np.linalg.norm(apart, axis=1).mean() * 1e3)
    return np.array(errors)


def test_cold_start_finds_random_poses(puppet: Puppet) -> None:
    errors = _errors_mm(puppet, Noise(), 40)
    assert np.median(errors) < 12.0
    assert errors.max() < 40.0


def test_cold_start_survives_noise(puppet: Puppet) -> None:
    errors = _errors_mm(puppet, Noise(px=1.0, world_m=0.02), 40)
    assert np.median(errors) < 22.0
    assert errors.max() < 90.0


def _sway(puppet: Puppet, start: np.ndarray, index: int) -> Observation:
    """A calm movement of arms, head and one leg."""
    phase = np.sin(2.0 * np.pi * index / 45.0)
    puppet.problem.angles[:] = start
    for name, degrees in (("arm_raise.L", 25), ("elbow.L", 30), ("head_turn", 15), ("knee.R", 20)):
        puppet.problem.angles[puppet.index[name]] += np.radians(degrees) * phase
    return puppet.see(index)


def _stand(puppet: Puppet, start: np.ndarray, index: int) -> Observation:
    """No movement, but time passes."""
    puppet.problem.angles[:] = start
    return puppet.see(index)


@pytest.fixture
def standing(puppet: Puppet) -> np.ndarray:
    puppet.natural(np.random.default_rng(4), 0.3)
    return puppet.problem.angles.copy()


def test_tracks_a_movement_with_few_iterations(puppet: Puppet, standing: np.ndarray) -> None:
    fitter = puppet.fitter()
    parts = puppet.joints("wrist.L", "wrist.R", "foot.L", "foot.R", "head", "root")
    for index in range(60):
        fit = fitter.fit(_sway(puppet, standing, index))
        assert fit.cold == (index == 0)
        if index > 5:
            assert fit.iterations <= 3
            apart = puppet.fitted_joints_m(fit)[parts] - puppet.joints_m[parts]
            assert np.linalg.norm(apart, axis=1).max() < 0.06
    assert fit.body_confidence > 0.9


def test_fingers_follow(puppet: Puppet, standing: np.ndarray) -> None:
    fitter, hand = puppet.fitter(), puppet.hands[0]
    tips = puppet.joints("finger2-3.L", "finger3-3.L", "finger4-3.L", "finger5-3.L")
    wrist = puppet.joints("wrist.L")
    for curl in (0.0, 0.3, 0.6, 0.9):
        for name, n in hand.model.index.items():
            if name.endswith("_bend") and not name.startswith("finger1"):
                hand.angles[n] = hand.model.angles[n].habit + curl
        fit = fitter.fit(_sway(puppet, standing, round(curl * 10)))
        fit = fitter.fit(_sway(puppet, standing, round(curl * 10) + 1))
        fitted, true = puppet.fitted_joints_m(fit), puppet.joints_m
        apart = (fitted[tips] - fitted[wrist]) - (true[tips] - true[wrist])
        assert np.linalg.norm(apart, axis=1).max() < 0.015, f"curl {curl}"


def test_missing_legs_hang_still(puppet: Puppet, standing: np.ndarray) -> None:
    fitter = puppet.fitter()
    feet, upper = puppet.joints("foot.L", "foot.R"), puppet.joints("wrist.L", "head", "wrist.R")
    positions = []
    for index in range(30):
        seen = without(_sway(puppet, standing, index), *LEGS)
        joints = puppet.fitted_joints_m(fitter.fit(seen))
        positions.append(joints[feet] - joints[0])
        assert np.linalg.norm(joints[upper] - puppet.joints_m[upper], axis=1).max() < 0.08
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=2)
    assert steps.max() < 0.03, "unseen feet must not fly about"
    assert np.array(positions)[:, :, 1].max() < -0.6, "they hang below the hips"


def test_one_frame_jump_does_no_lasting_harm(puppet: Puppet, standing: np.ndarray) -> None:
    fitter, parts = puppet.fitter(), puppet.joints("wrist.L", "wrist.R", "head", "foot.L")
    for index in range(20):
        seen = _sway(puppet, standing, index)
        if index == 12:
            assert seen.pose is not None
            thrown = seen.pose.points_px + np.float32([250, -150, 0])
            seen = replace(seen, pose=replace(seen.pose, points_px=thrown))
        fit = fitter.fit(seen)
        if index > 13:
            apart = puppet.fitted_joints_m(fit)[parts] - puppet.joints_m[parts]
            assert np.linalg.norm(apart, axis=1).max() < 0.08


def test_another_pose_is_found_in_a_tenth_of_a_second(puppet: Puppet) -> None:
    """After a cut to somebody in quite another pose hardly a limb may stay in a wrong minimum."""
    rng, fitter = np.random.default_rng(8), puppet.fitter()
    wrists = puppet.joints("wrist.L", "wrist.R", "lowerarm01.L", "lowerarm01.R")
    apart = []
    for index in range(40):
        puppet.natural(rng, 0.7)
        for repeat in range(4):
            fit = fitter.fit(puppet.see(4 * index + repeat))
        moved = puppet.fitted_joints_m(fit)[wrists] - puppet.joints_m[wrists]
        apart.append(np.linalg.norm(moved, axis=1).max())
    assert np.percentile(apart, 90) < 0.13
    assert np.median(apart) < 0.06


def test_a_limb_misplaced_for_a_frame_is_not_believed(puppet: Puppet, standing: np.ndarray) -> None:
    """Networks throw a leg aside and take it back: that is no reason for a slow, new start."""
    fitter = puppet.fitter()
    for index in range(16):
        seen = _sway(puppet, standing, index)
        assert seen.pose is not None
        if index in (10, 11):
            world, px = seen.pose.world_m.copy(), seen.pose.points_px.copy()
            shank, foot_rows = world[27] - world[25], [27, 29, 31]
            aside = world[25] + np.float32([0.85 * abs(shank[1]), 0.5 * shank[1], 0.0]) - world[27]
            world[foot_rows] += aside
            px[foot_rows, :2] += 250.0 * aside[:2] * np.float32([1.0, -1.0])
            seen = replace(seen, pose=replace(seen.pose, world_m=world, points_px=px))
        fit = fitter.fit(seen)
        assert index == 0 or (fit.iterations <= 3 and not fit.cold)


@pytest.mark.parametrize("turn_degrees", [90.0, 180.0, -120.0])
def test_turned_away_keeps_left_and_right(
    puppet: Puppet, standing: np.ndarray, turn_degrees: float
) -> None:
    fitter = puppet.fitter()
    puppet.problem.angles[:] = standing
    puppet.problem.angles[3:6] = 0.0, np.radians(turn_degrees), 0.0
    fit = fitter.fit(puppet.see(0))
    apart = puppet.fitted_joints_m(fit) - puppet.joints_m
    assert np.linalg.norm(apart, axis=1).max() < 0.06


def _unseen(index: int) -> Observation:
    return Observation(index, 10**9 + index * FRAME_NS, WIDTH, HEIGHT)


def test_short_loss_holds_then_fades(puppet: Puppet, standing: np.ndarray) -> None:
    fitter, wrist = puppet.fitter(), puppet.joints("wrist.L")
    for index in range(10):
        last = fitter.fit(_sway(puppet, standing, index))
    place = puppet.fitted_joints_m(last)[wrist]
    confidence = last.body_confidence
    for index in range(10, 25):
        fit = fitter.fit(_unseen(index))
        assert np.linalg.norm(puppet.fitted_joints_m(fit)[wrist] - place) < 0.1
        assert fit.body_confidence < confidence
        confidence = fit.body_confidence
    back = fitter.fit(_sway(puppet, standing, 25))
    assert not back.cold, "a short loss is no new start"
    for index in range(26, 100):
        fitter.fit(_unseen(index))
    assert fitter.fit(_sway(puppet, standing, 100)).cold


def test_unseen_hand_relaxes_smoothly(puppet: Puppet, standing: np.ndarray) -> None:
    fitter = puppet.fitter()
    tips = puppet.joints("finger2-3.L", "finger3-3.L", "wrist.L")
    left, habit = puppet.hands[0], puppet.hands[0].model.column("habit")
    left.angles[:] = left.model.column("upper") * 0.9
    for index in range(6):
        fit = fitter.fit(_stand(puppet, standing, index))
    closed = before = puppet.fitted_joints_m(fit)[tips]
    for index in range(6, 96):
        fit = fitter.fit(replace(_stand(puppet, standing, index), left_hand=None))
        now = puppet.fitted_joints_m(fit)[tips]
        assert np.linalg.norm((now - now[2]) - (before - before[2]), axis=1).max() < 0.03
        before = now
    assert fit.left_hand_confidence < 0.01 < fit.right_hand_confidence
    left.angles[:] = habit
    _stand(puppet, standing, 0)
    habitual = puppet.joints_m[tips]
    opened = np.linalg.norm((now - now[2]) - (closed - closed[2]), axis=1)
    missing = np.linalg.norm((now - now[2]) - (habitual - habitual[2]), axis=1)
    assert opened[:2].min() > 0.03
    assert missing[:2].max() < 0.01


@pytest.mark.parametrize("frame_ns", [FRAME_NS, FRAME_NS // 3])
def test_hands_fade_by_the_clock_not_by_the_frame(
    puppet: Puppet, standing: np.ndarray, frame_ns: int
) -> None:
    fitter, seen = puppet.fitter(), _stand(puppet, standing, 0)
    for index in range(30):
        fitter.fit(replace(seen, captured_at_ns=index * frame_ns))
    for index in range(30, 30 + round(1e8 / frame_ns)):
        fit = fitter.fit(replace(seen, captured_at_ns=index * frame_ns, left_hand=None))
    assert fit.left_hand_confidence == pytest.approx(0.33, abs=0.02)


def test_fingers_are_there_at_once_after_a_cut(puppet: Puppet, standing: np.ndarray) -> None:
    """Another person's fist must not open slowly into this one's spread hand."""
    fitter, hand = puppet.fitter(), puppet.hands[0]
    tips, wrist = puppet.joints("finger2-3.L", "finger3-3.L"), puppet.joints("wrist.L")
    for index in range(12):
        hand.angles[:] = hand.model.column("upper" if index < 11 else "habit") * 0.9
        puppet.problem.angles[:] = standing
        puppet.problem.angles[0] += 0.5 * (index == 11)
        fit = fitter.fit(puppet.see(index))
    assert fit.cold
    fitted, true = puppet.fitted_joints_m(fit), puppet.joints_m
    apart = (fitted[tips] - fitted[wrist]) - (true[tips] - true[wrist])
    assert np.linalg.norm(apart, axis=1).max() < 0.002


def test_a_pose_that_nobody_can_see_is_not_believed(puppet: Puppet, standing: np.ndarray) -> None:
    fitter = puppet.fitter()
    for index in range(10):
        last = fitter.fit(_sway(puppet, standing, index))
    assert last.body_confidence > 0.9
    for index in range(10, 40):
        fit = fitter.fit(without(_sway(puppet, standing, index), *range(33)))
        assert np.isnan(fit.residual_m)
    assert fit.body_confidence < 0.1
    few = puppet.fitter().fit(without(_sway(puppet, standing, 40), *range(1, 33)))
    assert 0.0 < few.body_confidence < 0.4


def test_a_fit_that_leads_nowhere_is_no_start(puppet: Puppet, standing: np.ndarray) -> None:
    fitter = puppet.fitter()
    for index in range(5):
        fitter.fit(_sway(puppet, standing, index))
    fitter.shape.problem.angles[7] = np.nan
    lost = fitter.fit(_sway(puppet, standing, 5))
    assert np.isnan(lost.residual_m)
    assert np.isfinite(lost.rotations_xyzw).all()
    for index in range(6, 12):
        fit = fitter.fit(_sway(puppet, standing, index))
    apart = puppet.fitted_joints_m(fit) - puppet.joints_m
    assert np.linalg.norm(apart, axis=1).max() < 0.1


def test_head_target_turns_the_head(puppet: Puppet, standing: np.ndarray) -> None:
    fitter, head = puppet.fitter(), puppet.body.joint_names.index("head")
    for index in range(8):
        seen = _sway(puppet, standing, index)
        truth = quaternions.from_matrix(puppet.problem.rotations[head])
        wanted = quaternions.multiply(
            quaternions.from_rotation_vector(np.array([0.0, 0.25, 0.0])), truth
        )
        fitter.fit(seen, HeadPose(np.asarray(wanted, np.float64)))
    got = quaternions.from_matrix(fitter._body.rotations[head])
    assert angle_between(got, wanted) < 0.12


def test_a_head_that_nobody_believes_in_changes_nothing(
    puppet: Puppet, standing: np.ndarray
) -> None:
    """A face about to be lost must not take the pose network's own head away."""
    alone, told = puppet.fitter(), puppet.fitter()
    elsewhere = HeadPose(np.array([0.0, 0.6, 0.0, 0.8]), 0.0, np.array([0.5, 0.0, -2.0]))
    for index in range(8):
        seen = _sway(puppet, standing, index)
        without_head, with_head = alone.fit(seen), told.fit(seen, elsewhere)
    np.testing.assert_array_equal(with_head.rotations_xyzw, without_head.rotations_xyzw)


def test_same_input_same_output(puppet: Puppet, standing: np.ndarray) -> None:
    def run() -> Iterator[bytes]:
        fitter = puppet.fitter()
        for index in range(10):
            yield fitter.fit(_sway(puppet, standing, index)).rotations_xyzw.tobytes()

    assert list(run()) == list(run())


def test_another_shape_keeps_the_pose(puppet: Puppet, standing: np.ndarray) -> None:
    fitter = puppet.fitter()
    for index in range(30):
        before = fitter.fit(_stand(puppet, standing, index))
    joints, vertices = puppet.shape.joints_m, puppet.shape.vertices_m
    fitter.set_identity(fitter.shape_of(joints * np.float32(1.05), vertices * np.float32(1.05)))
    # Nobody is seen, so what the next frame has is what was kept.
    after = fitter.fit(_unseen(30))
    turned = angle_between(before.rotations_xyzw, after.rotations_xyzw)
    assert np.degrees(turned).max() < 3.0
    assert not fitter.fit(_stand(puppet, standing, 31)).cold


def test_other_skeletons_are_refused(puppet: Puppet) -> None:
    from engine.body.landmark_embedding import embed

    with pytest.raises(ModelFileError, match="landmark embedding"):
        embed(("root",), np.zeros((1, 3)), np.zeros((4, 3)))


def test_every_coupling_names_known_angles(puppet: Puppet) -> None:
    for first, _, second, _ in COUPLINGS:
        assert first in puppet.index
        assert second in puppet.index


def test_chain_lists_every_term_once(puppet: Puppet) -> None:
    chain: Chain = puppet.problem.model.chain
    assert chain.term_starts[-1] == len(chain.term_angles)
    assert chain.factor_starts[-1] == len(chain.term_starts) - 1
    assert set(chain.term_angles.tolist()) == set(range(3, len(puppet.problem.model.angles)))


def test_local_rotations_agree_with_the_matrix_way() -> None:
    from engine.body.local_rotations import local_rotations

    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(400, 3))
    # Half turns about each axis are where a careless formula divides by zero.
    vectors[:3] = np.eye(3) * np.pi
    rotations = np.asarray(quaternions.to_matrix(quaternions.from_rotation_vector(vectors)))
    parents = np.arange(-1, 399).astype(np.int32)
    local = rotations.copy()
    local[1:] = np.swapaxes(rotations[:-1], 1, 2) @ rotations[1:]
    found = local_rotations(parents, rotations)
    np.testing.assert_allclose(quaternions.to_matrix(found), local, atol=1e-12)
    assert (found[:, 3] >= 0).all()


def test_jitter_and_lag(puppet: Puppet, standing: np.ndarray) -> None:
    """Both at once, since a filter trades one for the other."""
    fitter, rng = puppet.fitter(), np.random.default_rng(3)
    wrists = puppet.joints("wrist.L", "wrist.R", "head")
    puppet.problem.angles[:] = standing
    still = []
    for index in range(70):
        fit = fitter.fit(puppet.see(index, Noise(px=1.0, world_m=0.02), rng))
        still.append(puppet.fitted_joints_m(fit)[wrists])
    steps = np.diff(still[10:], axis=0)[..., :2]
    assert np.sqrt((steps**2).sum(-1).mean()) < 0.0045, "1 px is 5.4 mm here"
    fitter.reset()
    fitted, true = [], []
    for index in range(90):
        fit = fitter.fit(_sway(puppet, standing, index))
        fitted.append(puppet.fitted_joints_m(fit)[wrists[0]])
        true.append(puppet.joints_m[wrists[0]])
    frames = np.arange(20.0, 80.0)

    def apart(lag: float) -> float:
        late = [np.interp(frames - lag, np.arange(90), np.array(true)[:, k]) for k in range(3)]
        return float(np.std(np.stack(late, axis=1) - np.array(fitted)[20:80], axis=0).sum())

    lags = np.arange(0.0, 3.0, 0.05)
    assert lags[int(np.argmin([apart(lag) for lag in lags]))] <= 0.8, "frames of lag"
