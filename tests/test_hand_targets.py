"""The kernels that bring a hand into its palm's frame, against their slow twins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.body.hand_targets import PALM, palm_rotation, palm_shift, turned_directions

ROWS = list(PALM)
CAMERA = np.array([550.0, 320.0, 240.0])


@pytest.fixture
def rest() -> np.ndarray:
    """(21, 3) a hand's size of points."""
    return np.random.default_rng(0).normal(0.0, 0.05, (21, 3))


@pytest.fixture
def palm() -> np.ndarray:
    return Rotation.from_rotvec([0.3, -1.1, 0.4]).as_matrix()


def test_a_turned_hand_is_turned_back(rest: np.ndarray, palm: np.ndarray) -> None:
    turn = Rotation.from_rotvec([1.0, 0.2, -2.0]).as_matrix()
    found = palm_rotation(rest @ turn.T + [0.1, 0.2, 0.3], rest, palm)
    np.testing.assert_allclose(found, palm @ turn.T, atol=1e-9)


def test_a_palm_is_shifted_onto_its_pixels(rest: np.ndarray, palm: np.ndarray) -> None:
    place = np.array([0.1, -0.2, -0.7])
    posed = rest @ palm.T + place
    scale = CAMERA[0] / -posed[:, 2]
    drawn = np.column_stack([CAMERA[1] + scale * posed[:, 0], CAMERA[2] - scale * posed[:, 1]])
    seen = np.column_stack([drawn, np.zeros(21)])
    seen[ROWS, :2] += np.random.default_rng(1).normal(0.0, 5.0, (5, 2))
    expected = (drawn - seen[:, :2])[ROWS].mean(axis=0)
    found = palm_shift(seen, rest, palm, place, CAMERA)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_directions_are_unit_and_turned(rest: np.ndarray, palm: np.ndarray) -> None:
    segments, out = np.array([[0, 1], [5, 8], [3, 3]], np.int32), np.empty((3, 3))
    turned_directions(rest, segments, palm, out)
    for (a, b), found in zip(segments[:2], out, strict=False):
        vector = rest[b] - rest[a]
        np.testing.assert_allclose(found, palm @ vector / np.linalg.norm(vector), atol=1e-12)
    np.testing.assert_array_equal(out[2], 0.0)
