"""A run's motion as arrays: what every writer takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine import quaternions
from engine.avatar.topology import FusedAvatar
from engine.errors import AvatarError
from engine.types import ARKIT_NAMES, F32, F64, JOINT_COUNT, AvatarState

Rows = NDArray[np.intp]
FIRST_ROOM = 1024
USUAL_FPS = 30.0
EVEN = 0.02
"""Share of the usual step by which the steps of an evenly timed clip may differ."""


@dataclass(frozen=True, slots=True)
class MotionClip:
    """N moments of one avatar, in the order of their times."""

    avatar: FusedAvatar
    """The last one: who the person turned out to be."""
    times_s: F64
    """(N,) from 0, strictly increasing."""
    rotations_xyzw: F32
    """(N, 104, 4) as ``AvatarState``'s."""
    translation_m: F32
    """(N, 3)."""
    expression: F32
    """(N, 52)."""

    @property
    def fps(self) -> float:
        """Of the usual step."""
        steps = np.diff(self.times_s)
        return 1.0 / float(np.median(steps)) if len(steps) else USUAL_FPS

    def evenly_timed(self) -> MotionClip:
        """The same motion at its usual rate, for formats that know no times of their own.

        Between two moments poses are interpolated on the sphere, the rest linearly. A clip that is
        timed evenly already stays as it is.
        """
        steps, usual = np.diff(self.times_s), 1.0 / self.fps
        if not len(steps) or np.abs(steps - usual).max() <= EVEN * usual:
            return self
        times = np.arange(0.0, self.times_s[-1] + 0.5 * usual, usual)
        times = np.minimum(times, self.times_s[-1])
        after = np.clip(np.searchsorted(self.times_s, times, "right"), 1, len(self.times_s) - 1)
        before = after - 1
        share = (times - self.times_s[before]) / (self.times_s[after] - self.times_s[before])
        turned = quaternions.slerp(
            self.rotations_xyzw[before], self.rotations_xyzw[after], share[:, None, None]
        )
        return MotionClip(
            self.avatar,
            np.asarray(usual * np.arange(len(times)), np.float64),
            np.asarray(turned, np.float32),
            _between(self.translation_m, before, after, share),
            _between(self.expression, before, after, share),
        )


def _between(values: F32, before: Rows, after: Rows, share: F64) -> F32:
    part = share[:, None].astype(np.float32)
    return np.asarray((1 - part) * values[before] + part * values[after], np.float32)


class MotionRecorder:
    """Keeps a run's states: 2 kB a frame, half an hour in 100 MB."""

    def __init__(self) -> None:
        self._count = 0
        self._times_ns = np.zeros(FIRST_ROOM, np.int64)
        self._rotations = np.zeros((FIRST_ROOM, JOINT_COUNT, 4), np.float32)
        self._translation = np.zeros((FIRST_ROOM, 3), np.float32)
        self._expression = np.zeros((FIRST_ROOM, len(ARKIT_NAMES)), np.float32)

    def add(self, state: AvatarState) -> None:
        """Keep a state; one that is not later than the last replaces it."""
        n = self._count
        if n and state.captured_at_ns <= self._times_ns[n - 1]:
            n -= 1
        elif n == len(self._times_ns):
            self._double()
        self._times_ns[n] = max(state.captured_at_ns, self._times_ns[n])
        self._rotations[n] = state.rotations_xyzw
        self._translation[n] = state.translation_m
        self._expression[n] = state.expression
        self._count = n + 1

    def _double(self) -> None:
        for name in ("_times_ns", "_rotations", "_translation", "_expression"):
            array = getattr(self, name)
            setattr(self, name, np.concatenate([array, np.zeros_like(array)]))

    def clip(self, avatar: FusedAvatar) -> MotionClip:
        """What was kept, on this avatar.

        Raises:
            AvatarError: nothing was.
        """
        n = self._count
        if not n:
            raise AvatarError("the run had no frames, so there is no motion to export")
        return MotionClip(
            avatar,
            (self._times_ns[:n] - self._times_ns[0]) * 1e-9,
            self._rotations[:n],
            self._translation[:n],
            self._expression[:n],
        )
