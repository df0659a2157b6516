"""The figures of ``sars eval performer``: exact where there is an answer, none where not."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.joint_errors import lag_frames
from benchmarks.performer import _explained, _jitter_mm, _mean, errors_mm
from benchmarks.report import write_json
from benchmarks.similarity import aligned

FRAMES, JOINTS = 120, 5
SEEN = np.ones((FRAMES, JOINTS), bool)


@pytest.fixture
def walk() -> np.ndarray:
    """(FRAMES, JOINTS, 3) smooth paths in metres."""
    rng = np.random.default_rng(0)
    speed = rng.uniform(1.0, 3.0, (JOINTS, 3))
    phase = rng.uniform(0, 2 * np.pi, (JOINTS, 3))
    return 0.2 * np.sin(speed * np.arange(FRAMES)[:, None, None] / 30.0 + phase)


def test_a_person_found_beside_themselves_has_no_pose_error(walk: np.ndarray) -> None:
    np.testing.assert_allclose(errors_mm(walk + 0.4, walk, SEEN), 0.0, atol=1e-9)


def test_hips_outside_of_the_picture_decide_nothing(walk: np.ndarray) -> None:
    """A webcam does not show the root: where the fit puts it must not move what is shown."""
    wrong, seen = walk.copy(), SEEN.copy()
    wrong[:, 0] += 0.3
    seen[:, 0] = False
    errors = errors_mm(wrong, walk, seen)
    assert len(errors) == FRAMES * (JOINTS - 1)
    np.testing.assert_allclose(errors, 0.0, atol=1e-9)


def test_every_shown_joint_may_be_wrong(walk: np.ndarray) -> None:
    wrong = walk.copy()
    wrong[:, 1, 0] += 0.1
    errors = errors_mm(wrong, walk, SEEN)
    assert errors.mean() == pytest.approx((80.0 + 4 * 20.0) / JOINTS)


@pytest.mark.parametrize("frames", [-2, 0, 3])
def test_lag_is_found(walk: np.ndarray, frames: int) -> None:
    assert lag_frames(np.roll(walk, frames, axis=0), walk, SEEN) == pytest.approx(frames, abs=0.1)


def test_one_jump_does_not_decide_the_lag(walk: np.ndarray) -> None:
    late = np.roll(walk, 1, axis=0)
    late[70:, 0] += np.sign(walk[75, 0] - walk[74, 0]) * 2.0
    assert lag_frames(late, walk, SEEN) == pytest.approx(1.0, abs=0.3)


def test_who_does_not_move_has_no_lag(walk: np.ndarray) -> None:
    still = np.tile(walk[:1], (FRAMES, 1, 1))
    assert lag_frames(still, still, SEEN) is None
    assert lag_frames(walk, walk, np.zeros_like(SEEN)) is None


def test_slow_motion_is_no_jitter(walk: np.ndarray) -> None:
    slow = 0.02 * walk
    assert _jitter_mm(slow + 0.1, slow, SEEN) == pytest.approx(0.0, abs=1e-6)
    noise = np.random.default_rng(1).normal(0.0, 1e-3, slow.shape)
    assert _jitter_mm(slow + noise, slow, SEEN) == pytest.approx(np.sqrt(6.0), rel=0.1)


def test_no_figure_is_better_than_one_that_is_none(walk: np.ndarray, tmp_path: Path) -> None:
    nobody = np.zeros_like(SEEN)
    assert _mean(errors_mm(walk, walk, nobody), 2) is None
    assert _jitter_mm(walk, walk, nobody) is None
    assert _explained(np.ones((3, 52)), np.zeros((3, 52))) is None
    assert _mean([1.0, float("nan"), 3.0], 2) == 2.0
    path = tmp_path / "numbers.json"
    write_json(path, {"a": float("nan"), "b": {"c": [1.0, float("inf")]}})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {
        "a": None,
        "b": {"c": [1.0, None]},
    }


def test_alignment_undoes_a_similarity(walk: np.ndarray) -> None:
    points = walk[0]
    turned = 1.3 * points @ np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) + 0.2
    np.testing.assert_allclose(aligned(points, turned, scaled=True), turned, atol=1e-9)
