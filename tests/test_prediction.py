"""Prediction: who moves is shown where they will be, who rests is not shaken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rigs import angle_between
from states import rest_state

from engine import quaternions
from engine.prediction import FARTHEST_RAD, LONGEST_S, Predictor
from engine.types import JOINT_COUNT, AvatarState

ELBOW = 50


def at(seconds: float, angle: float, x: float = 0.0) -> AvatarState:
    state = rest_state(round(seconds * 30))
    rotations = state.rotations_xyzw.copy()
    rotations[ELBOW] = quaternions.from_rotation_vector(np.array([0.0, angle, 0.0]))
    place = np.array([x, 0.0, -2.0], np.float32)
    time_ns = 10**12 + round(seconds * 1e9)
    return replace(state, captured_at_ns=time_ns, rotations_xyzw=rotations, translation_m=place)


def angle_of(state: AvatarState) -> float:
    return float(angle_between(state.rotations_xyzw[ELBOW].astype(float), np.eye(4)[3]))


@pytest.mark.parametrize("fps", [15, 30, 60, 240])
def test_steady_motion_is_met(fps: int) -> None:
    predictor = Predictor(JOINT_COUNT)
    for n in range(fps):
        shown = predictor(at(n / fps, 2.0 * n / fps, 0.5 * n / fps), 0.07)
    now = (fps - 1) / fps
    assert angle_of(shown) == pytest.approx(2.0 * (now + 0.07), abs=0.01)
    assert shown.translation_m[0] == pytest.approx(0.5 * (now + 0.07), abs=3e-3)
    np.testing.assert_allclose(np.linalg.norm(shown.rotations_xyzw, axis=1), 1.0, atol=1e-6)


def test_noise_is_not_taken_for_motion() -> None:
    predictor, rng = Predictor(JOINT_COUNT), np.random.default_rng(0)
    angles = 0.5 + rng.normal(0, 0.01, 300)
    shown = [angle_of(predictor(at(n / 30, a), 0.07)) for n, a in enumerate(angles)]
    # Going on by 0.07 s at the last frame's speed would be 5 times as much.
    assert np.diff(shown).std() < 1.6 * np.diff(angles).std()


def test_no_time_ahead_changes_nothing() -> None:
    predictor = Predictor(JOINT_COUNT)
    for n in range(10):
        state = at(n / 30, 0.1 * n)
        assert predictor(state, 0.0) is state


def test_a_gap_and_a_clock_that_stands_still_forget_the_motion() -> None:
    predictor = Predictor(JOINT_COUNT)
    for n in range(10):
        predictor(at(n / 30, 0.1 * n), 0.07)
    later = at(10.0, 0.0)
    assert predictor(later, 0.07) is later
    assert predictor(later, 0.07) is later


def test_the_far_future_is_not_guessed() -> None:
    predictor = Predictor(JOINT_COUNT)
    for n in range(30):
        shown = predictor(at(n / 30, 20.0 * n / 30), 5.0)
    assert angle_between(
        shown.rotations_xyzw[ELBOW].astype(float), at(29 / 30, 20 * 29 / 30).rotations_xyzw[ELBOW]
    ) == pytest.approx(FARTHEST_RAD, abs=1e-3)
    predictor.reset()
    for n in range(30):
        shown = predictor(at(n / 30, n / 30), 5.0)
    assert angle_of(shown) < 29 / 30 + LONGEST_S + 0.01
