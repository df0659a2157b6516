"""A One-Euro filter on poses that tells motion from trembling: calm at rest, no lag in motion.

Casiez, Roussel and Vogel's filter (2012) takes any fast change for motion, so the noise of a
landmark network opens it. Here the cutoff grows only with speed that goes one way. Written in the
tangent space, so that it serves angles and rotations alike: with e the difference between the new
pose and the filtered one and u the velocity of the new poses,

    speed += a(f_s) (e / dt - speed)      c = mean(u)^2 / mean(u^2)      in [0, 1], over 1 / f_c
    filtered += a(f_min + beta c |speed|) e             a(f) = 1 / (1 + 1 / (2 pi f dt))

Noise has c near 0, motion near 1. Over the recorded motions and resting people of `sars eval
performer --grid`, at the same lag of 10 ms and before :mod:`engine.body.stillness`, those at rest
trembled by 0.84 mm a frame instead of 0.99, their median joint by 0.2 instead of 0.34.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.small_matrices import logarithm, multiply, turn_by
from engine.types import F64

ANGLE_HZ, ANGLE_SLOPE = 0.3, 24.0
"""At rest, and per radian per second."""
PLACE_HZ, PLACE_SLOPE, DEPTH_SLOPE = 0.2, 32.0, 6.0
"""At rest, and per metre per second, the last for what one camera tells worst."""
FINGER_HZ, FINGER_SLOPE = 1.5, 6.0
SPEED_HZ, STEADY_HZ = 4.0, 4.0
"""Over which speed, and its steadiness, are told."""
ROOT = slice(3, 6)


class TangentFilter:
    """How far a filtered pose follows a new one."""

    def __init__(self, rest_hz: F64, slope: F64, *, steady: bool = True) -> None:
        """At rest.

        Args:
            rest_hz: (N,) cutoff at rest.
            slope: (N,) its growth with speed, in Hz per unit per second.
            steady: whether only speed that goes one way counts.
        """
        self._rest_hz, self._slope, self._steady = rest_hz, slope, steady
        self._speed, self._behind, self._velocity, self._power = np.zeros((4, len(rest_hz)))

    def reset(self) -> None:
        """At rest."""
        for state in (self._speed, self._behind, self._velocity, self._power):
            state[:] = 0.0

    def correction(self, error: F64, seconds: float) -> F64:
        """(N,) step towards the new pose.

        Args:
            error: (N,) new minus filtered.
            seconds: since the last pose.
        """
        memory = self._speed, self._behind, self._velocity, self._power
        kind = self._rest_hz, self._slope, self._steady
        return np.asarray(_correction(*memory, error, *kind, seconds))


@njit(cache=True, nogil=True)
def gain(cutoff_hz: float, seconds: float) -> float:
    """Share by which a first-order low-pass follows within one step."""
    turn = 2.0 * np.pi * cutoff_hz * seconds
    return turn / (1.0 + turn)


@njit(cache=True, nogil=True)
def _correction(
    speed: F64,
    behind: F64,
    velocity: F64,
    power: F64,
    error: F64,
    rest_hz: F64,
    slope: F64,
    steady: bool,
    seconds: float,
) -> F64:
    step = np.empty_like(error)
    for n in range(len(error)):
        speed[n] += gain(SPEED_HZ, seconds) * (error[n] / seconds - speed[n])
        own = (error[n] - behind[n]) / seconds
        velocity[n] += gain(STEADY_HZ, seconds) * (own - velocity[n])
        power[n] += gain(STEADY_HZ, seconds) * (own * own - power[n])
        counts = min(velocity[n] * velocity[n] / max(power[n], 1e-12), 1.0) if steady else 1.0
        step[n] = gain(rest_hz[n] + slope[n] * counts * abs(speed[n]), seconds) * error[n]
        behind[n] = error[n] - step[n]
    return step


@njit(cache=True, nogil=True)
def _apart(root: F64, last: F64, out: F64) -> None:
    """Rotation vector (3,) from one rotation (3, 3) to another."""
    turn = np.empty((3, 3))
    multiply(root, last.T, turn)
    logarithm(turn, out)


class PoseFilter:
    """Filters a root's place and rotation and all joint angles."""

    def __init__(self, count: int) -> None:
        """For ``count`` unknowns, of which the first six are the root's."""
        rest, slope = np.full(count, ANGLE_HZ), np.full(count, ANGLE_SLOPE)
        rest[:3], slope[:3], slope[2] = PLACE_HZ, PLACE_SLOPE, DEPTH_SLOPE
        self._filter = TangentFilter(rest, slope)
        self._angles: F64 | None = None
        self._root = np.eye(3)

    def reset(self) -> None:
        """The next pose passes unchanged."""
        self._angles = None
        self._filter.reset()

    def __call__(self, angles: F64, root: F64, seconds: float) -> tuple[F64, F64]:
        """Filter one pose.

        Args:
            angles: (N,); the root's three rotation angles are ignored.
            root: (3, 3) the root's whole rotation.
            seconds: since the last pose.

        Returns:
            The filtered angles (the root's rotation angles 0) and root rotation.
        """
        if self._angles is None:
            self._angles, self._root = angles.copy(), root.copy()
            self._angles[ROOT] = 0.0
            return self._angles.copy(), self._root.copy()
        error = angles - self._angles
        _apart(root, self._root, error[ROOT])
        step = self._filter.correction(error, seconds)
        turn_by(step[ROOT], self._root)
        step[ROOT] = 0.0
        self._angles += step
        return self._angles.copy(), self._root.copy()
