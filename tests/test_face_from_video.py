"""What the slow loop's face estimator makes of frames in which the face is seen badly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.face_from_video import is_covered, stillness
from engine.slow_views import View
from engine.types import FaceLandmarks, HandLandmarks, Observation

RNG = np.random.default_rng(0)
FACE = FaceLandmarks(RNG.uniform((200, 100, 0), (300, 240, 1), (478, 3)).astype(np.float32), 1.0)
SEEN = Observation(0, 0, 640, 480, face=FACE)


def hand_at(x: float, y: float) -> HandLandmarks:
    points = np.tile(np.array([x, y, 0.0], np.float32), (21, 1))
    return HandLandmarks(points, np.zeros((21, 3), np.float32), 1.0)


def moved(px: float, seconds: float) -> View:
    shifted = replace(FACE, points_px=FACE.points_px + np.float32([px, 0, 0]))
    seen = replace(SEEN, face=shifted, captured_at_ns=int(seconds * 1e9))
    return View(seen, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("x", "y", "covered"), [(250, 200, True), (100, 200, False)])
def test_a_hand_before_the_face_tells_nothing_of_it(x: float, y: float, covered: bool) -> None:
    assert is_covered(replace(SEEN, left_hand=hand_at(x, y))) is covered
    assert is_covered(replace(SEEN, right_hand=hand_at(x, y))) is covered


def test_without_a_face_or_a_hand_nothing_is_covered() -> None:
    assert not is_covered(SEEN)
    assert not is_covered(replace(SEEN, face=None, left_hand=hand_at(250, 200)))


def test_a_face_that_rushes_through_the_picture_is_smeared() -> None:
    still, slow, fast = (stillness(moved(0, 0), moved(px, 1 / 30)) for px in (0, 2, 20))
    assert still == 1.0 > slow > 0.8
    assert fast < 0.2


def test_what_cannot_be_compared_counts_in_full() -> None:
    assert stillness(None, moved(5, 1)) == 1.0
    assert stillness(moved(0, 1), moved(5, 1)) == 1.0
