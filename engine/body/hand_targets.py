"""Turn the landmarks of one hand into measurements in the frame of its palm."""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.body.residuals import directions
from engine.small_matrices import multiply, nearest_rotation, transform
from engine.types import F64, I32

PALM = (0, 5, 9, 13, 17)
"""Landmarks that do not move with the fingers; the thumb's root is left out, it drifts."""


@njit(cache=True, nogil=True)
def palm_rotation(world_m: F64, rest_m: F64, palm: F64) -> F64:
    """(3, 3) rotation from a hand's own landmarks to where its palm holds them.

    Args:
        world_m: (21, 3) seen.
        rest_m: (21, 3) of the palm at rest.
        palm: (3, 3) the palm's global rotation.
    """
    seen, rest = np.zeros(3), np.zeros(3)
    for row in PALM:
        for i in range(3):
            seen[i] += world_m[row, i] / len(PALM)
            rest[i] += rest_m[row, i] / len(PALM)
    covariance, turn, out = np.zeros((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for row in PALM:
        for i in range(3):
            for k in range(3):
                covariance[i, k] += (world_m[row, i] - seen[i]) * (rest_m[row, k] - rest[k])
    nearest_rotation(covariance, turn)
    multiply(palm, turn, out)
    return out


@njit(cache=True, nogil=True)
def palm_shift(px: F64, rest_m: F64, palm: F64, place_m: F64, camera: F64) -> tuple[float, float]:
    """Pixels by which a palm lies from where it is seen, on average.

    Args:
        px: (21, 3) seen.
        rest_m: (21, 3) of the palm at rest.
        palm: (3, 3) its global rotation.
        place_m: (3,) of the wrist.
        camera: (3,) focal length, cx, cy.
    """
    point, right, down = np.empty(3), 0.0, 0.0
    for row in PALM:
        transform(palm, rest_m[row], point)
        scale = camera[0] / -min(point[2] + place_m[2], -0.05)
        right += camera[1] + scale * (point[0] + place_m[0]) - px[row, 0]
        down += camera[2] - scale * (point[1] + place_m[1]) - px[row, 1]
    return right / len(PALM), down / len(PALM)


@njit(cache=True, nogil=True)
def turned_directions(points_m: F64, segments: I32, rotation: F64, out: F64) -> None:
    """Fill (S, 3) unit directions of segments between points (P, 3), turned."""
    seen = directions(points_m, segments)
    for s in range(len(segments)):
        transform(rotation, seen[s], out[s])
