"""The filter of poses: still where a person is still, and hardly late where one moves."""

from __future__ import annotations

import numpy as np
import pytest

from engine import quaternions
from engine.body.pose_filter import PoseFilter

COUNT = 12


def filtered(poses: np.ndarray, fps: float) -> np.ndarray:
    """(N, COUNT) angles through a fresh filter; the root's rotation stays as it is."""
    pose_filter = PoseFilter(COUNT)
    return np.array([pose_filter(pose, np.eye(3), 1.0 / fps)[0] for pose in poses])


def ramp(axis: int, speed: float, fps: float, seconds: float = 2.0) -> np.ndarray:
    poses = np.zeros((int(fps * seconds), COUNT))
    poses[:, axis] = speed * np.arange(len(poses)) / fps
    return poses


@pytest.mark.parametrize("fps", [15.0, 30.0, 60.0, 240.0])
@pytest.mark.parametrize(("axis", "limit_ms"), [(0, 12.0), (1, 12.0), (2, 40.0), (8, 20.0)])
def test_who_moves_is_followed_within_a_frame_whatever_the_rate(
    fps: float, axis: int, limit_ms: float
) -> None:
    """A walk of 1 m/s, sideways, up, or towards the camera; a joint of 1 rad/s."""
    poses = ramp(axis, 1.0, fps)
    late_ms = 1e3 * (poses[-1, axis] - filtered(poses, fps)[-1, axis])
    assert 0.0 <= late_ms < limit_ms


@pytest.mark.parametrize(
    ("axis", "noise", "kept"), [(2, 0.02, 0.35), (0, 0.002, 0.35), (8, 0.01, 0.5)]
)
def test_who_stands_still_does_not_tremble(axis: int, noise: float, kept: float) -> None:
    rng, poses = np.random.default_rng(0), np.zeros((300, COUNT))
    poses[:, axis] = rng.normal(0, noise, 300)
    steps, own = np.diff(filtered(poses, 30.0)[:, axis]), np.diff(poses[:, axis])
    assert steps[30:].std() < kept * own.std()


def test_a_new_place_is_reached_and_a_reset_passes_unchanged() -> None:
    pose_filter = PoseFilter(COUNT)
    pose_filter(np.zeros(COUNT), np.eye(3), 1 / 30)
    there = np.full(COUNT, 0.4)
    for _ in range(120):
        found, _ = pose_filter(there, np.eye(3), 1 / 30)
    expected = there.copy()
    expected[3:6] = 0.0  # the root's rotation is a matrix of its own
    np.testing.assert_allclose(found, expected, atol=2e-3)
    pose_filter.reset()
    jumped, _ = pose_filter(3 * there, np.eye(3), 1 / 30)
    np.testing.assert_allclose(jumped, 3 * expected)


def test_the_root_turns_on_the_sphere() -> None:
    """Whole turns, through angles where any three numbers jump, without a stumble."""
    pose_filter, late = PoseFilter(COUNT), []
    for n in range(120):
        turn = quaternions.from_rotation_vector(np.array([0.0, 2.0 * n / 30.0, 0.0]))
        wanted = np.asarray(quaternions.to_matrix(turn), np.float64)
        _, root = pose_filter(np.zeros(COUNT), wanted, 1 / 30)
        np.testing.assert_allclose(root @ root.T, np.eye(3), atol=1e-9)
        late.append(np.arccos(np.clip((np.trace(wanted @ root.T) - 1) / 2, -1, 1)))
    assert max(late) < 2.0 * 0.033
