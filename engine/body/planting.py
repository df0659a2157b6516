"""Put a foot back where it stands: the two-bone inverse kinematics of one leg.

Filtering moves hip and leg apart, and a foot that the fit held would slide. Here the hip stays
where it is, the knee bends or stretches, and the leg turns, until the ankle is back; the foot keeps
its own rotation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.small_matrices import transform, turn_by
from engine.types import F64, I32

LONGEST = 0.9995
"""Of thigh and shank together: a leg is never quite straight, or a knee could not tell its side."""
_BACKWARDS = 0.05
"""How much a knee that is almost straight is told which way knees bend."""


@dataclass(frozen=True, slots=True)
class Leg:
    """Which joints are one leg."""

    thigh: I32
    """Turn with the hip, the hip first."""
    shank: I32
    """Turn with the knee, the knee first."""
    foot: int

    @classmethod
    def of(cls, names: Sequence[str], side: str) -> Leg:
        """Of Anny's skeleton.

        Args:
            names: of all joints.
            side: ".L" or ".R".
        """
        thigh, shank = (
            np.array([names.index(f"{bone}0{k}{side}") for k in (1, 2)], np.int32)
            for bone in ("upperleg", "lowerleg")
        )
        return cls(thigh, shank, names.index(f"foot{side}"))

    def move_ankle(self, rotations: F64, positions_m: F64, shift_m: F64) -> None:
        """Turn the leg so that its ankle moves by ``shift_m``, as far as it reaches.

        Args:
            rotations: (J, 3, 3) global, changed in place.
            positions_m: (J, 3) global, not changed.
            shift_m: (3,).
        """
        _move(rotations, positions_m, self.thigh, self.shank, self.foot, shift_m)


@njit(cache=True, nogil=True)
def _turn(phi: F64, vector: F64) -> F64:
    """(3,) a vector turned by a rotation vector."""
    rotation, out = np.eye(3), np.empty(3)
    turn_by(phi, rotation)
    transform(rotation, vector, out)
    return out


@njit(cache=True, nogil=True)
def _cross(a: F64, b: F64) -> F64:
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


@njit(cache=True, nogil=True)
def _length(a: F64) -> float:
    return float(np.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2]))


@njit(cache=True, nogil=True)
def _between(a: F64, b: F64) -> float:
    """The angle between two vectors."""
    dot = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return float(np.arctan2(_length(_cross(a, b)), dot))


@njit(cache=True, nogil=True)
def _move(rotations: F64, positions: F64, thigh: I32, shank: I32, foot: int, shift: F64) -> None:
    hip, knee, ankle = positions[thigh[0]], positions[shank[0]], positions[foot]
    up, down = hip - knee, ankle - knee
    a, b = _length(up), _length(down)
    wanted = ankle + shift - hip
    reach = min(max(_length(wanted), abs(a - b) + 0.01), LONGEST * (a + b))
    cosine = (a * a + b * b - reach * reach) / (2.0 * a * b)
    opening = np.arccos(min(max(cosine, -1.0), 1.0))
    hinge = _cross(up, down) / (a * b) - _BACKWARDS * rotations[thigh[0]][:, 0]
    bend = hinge / max(_length(hinge), 1e-9) * (opening - _between(up, down))
    found = knee + _turn(bend, down) - hip
    axis = _cross(found, wanted)
    sine = _length(axis)
    swing = axis / sine * _between(found, wanted) if sine > 1e-12 else np.zeros(3)
    for joint in shank:
        turn_by(bend, rotations[joint])
        turn_by(swing, rotations[joint])
    for joint in thigh:
        turn_by(swing, rotations[joint])
