"""Where the person will be when the picture of them is seen: the known delay, made up for.

    q(t + d) = exp(c(v) v d) q(t)        c = mean(v)^2 / mean(v^2)

with v the velocity of every joint's rotation, and of the root's place, as it was lately. Noise has
no direction: its c is near 0, so who stands still does not tremble more for being predicted.
Expressions are not predicted: a blink is over before its speed is known.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from engine import quaternions
from engine.body.pose_filter import gain
from engine.types import F32, F64, AvatarState

VELOCITY_HZ = 6.0
"""Over which velocities and their steadiness are told."""
LONGEST_S = 0.15
"""Further ahead nothing is known of a person."""
FARTHEST_RAD, FARTHEST_M = 0.4, 0.3
LONGEST_GAP_S = 0.25
"""After which the last velocities say nothing any more."""


class Predictor:
    """Follows one person's states. Not for two threads at once."""

    def __init__(self, joints: int) -> None:
        """For states of so many joints; loads the kernels, so that no frame pays for it."""
        self._velocity, self._power = np.zeros((2, joints + 1, 3))
        self._last: AvatarState | None = None
        still, nowhere = quaternions.identity(joints), np.zeros(3, np.float32)
        _follow(still, still, nowhere, nowhere, 1.0, self._velocity, self._power)
        self._ahead(still, nowhere, 1.0)

    def reset(self) -> None:
        """Nothing moves yet."""
        self._last = None
        self._velocity[:] = 0.0
        self._power[:] = 0.0

    def __call__(self, state: AvatarState, ahead_s: float) -> AvatarState:
        """The state ``ahead_s`` later; at most LONGEST_S.

        Args:
            state: the newest, after all those given before.
            ahead_s: 0 or less gives the state itself.
        """
        last, self._last = self._last, state
        if last is None:
            return state
        seconds = (state.captured_at_ns - last.captured_at_ns) * 1e-9
        if not 0.0 < seconds < LONGEST_GAP_S:
            self.reset()
            self._last = state
            return state
        _follow(
            last.rotations_xyzw,
            state.rotations_xyzw,
            last.translation_m,
            state.translation_m,
            seconds,
            self._velocity,
            self._power,
        )
        if ahead_s <= 0.0:
            return state
        rotations, place = self._ahead(
            state.rotations_xyzw, state.translation_m, min(ahead_s, LONGEST_S)
        )
        return replace(state, rotations_xyzw=rotations, translation_m=place)

    def _ahead(self, rotations: F32, place: F32, ahead_s: float) -> tuple[F32, F32]:
        turned, there = np.empty_like(rotations), np.empty(3, np.float32)
        _go_on(rotations, place, self._velocity, self._power, ahead_s, turned, there)
        return turned, there


@njit(cache=True, nogil=True)
def _follow(
    before: F32,
    now: F32,
    place_before: F32,
    place: F32,
    seconds: float,
    velocity: F64,
    power: F64,
) -> None:
    """Low-pass velocities (J + 1, 3), the root's place last, and their squares."""
    share, own = gain(VELOCITY_HZ, seconds), np.empty(3)
    for j in range(len(now) + 1):
        if j < len(now):
            _turn_between(before[j], now[j], own)
        else:
            own[:] = place - place_before
        for k in range(3):
            speed = own[k] / seconds
            velocity[j, k] += share * (speed - velocity[j, k])
            power[j, k] += share * (speed * speed - power[j, k])


@njit(cache=True, nogil=True)
def _go_on(
    now: F32, place: F32, velocity: F64, power: F64, ahead_s: float, out: F32, out_place: F32
) -> None:
    count, step = len(now), np.empty(3)
    for j in range(count + 1):
        squared = 0.0
        for k in range(3):
            v = velocity[j, k]
            step[k] = v * min(v * v / max(power[j, k], 1e-12), 1.0) * ahead_s
            squared += step[k] * step[k]
        farthest = FARTHEST_RAD if j < count else FARTHEST_M
        step *= min(1.0, farthest / max(np.sqrt(squared), 1e-12))
        if j < count:
            _turn(step, now[j], out[j])
        else:
            for k in range(3):
                out_place[k] = place[k] + step[k]


@njit(cache=True, nogil=True)
def _turn_between(a: F32, b: F32, out: F64) -> None:
    """Rotation vector of ``b conj(a)``, xyzw, the short way."""
    w = a[3] * b[3] + a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    x = a[3] * b[0] - b[3] * a[0] - (b[1] * a[2] - b[2] * a[1])
    y = a[3] * b[1] - b[3] * a[1] - (b[2] * a[0] - b[0] * a[2])
    z = a[3] * b[2] - b[3] * a[2] - (b[0] * a[1] - b[1] * a[0])
    if w < 0.0:
        w, x, y, z = -w, -x, -y, -z
    sine = np.sqrt(x * x + y * y + z * z)
    scale = 2.0 * np.arctan2(sine, w) / sine if sine > 1e-9 else 2.0
    out[0], out[1], out[2] = x * scale, y * scale, z * scale


@njit(cache=True, nogil=True)
def _turn(phi: F64, q: F32, out: F32) -> None:
    """``exp(phi) q``."""
    angle = np.sqrt(phi[0] * phi[0] + phi[1] * phi[1] + phi[2] * phi[2])
    scale = np.sin(0.5 * angle) / angle if angle > 1e-9 else 0.5
    x, y, z, w = phi[0] * scale, phi[1] * scale, phi[2] * scale, np.cos(0.5 * angle)
    out[0] = w * q[0] + x * q[3] + y * q[2] - z * q[1]
    out[1] = w * q[1] - x * q[2] + y * q[3] + z * q[0]
    out[2] = w * q[2] + x * q[1] - y * q[0] + z * q[3]
    out[3] = w * q[3] - x * q[0] - y * q[1] - z * q[2]
