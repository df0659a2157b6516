"""Filters for head pose and actions: still at rest, without lag in motion (One-Euro).

Blinks have their own, wide open filter: a lid is shut for three frames, and a damped blink is a
squint.
"""

from __future__ import annotations

import numpy as np

from engine.face.head_pose import HeadPose
from engine.perception.one_euro import LandmarkFilter, OneEuro
from engine.types import ARKIT_NAMES, F32, F64

ACTION = OneEuro(min_cutoff=1.0, beta=3.0, derivative_cutoff=4.0)
BLINK = OneEuro(min_cutoff=6.0, beta=20.0, derivative_cutoff=15.0)
ROTATION = OneEuro(min_cutoff=1.5, beta=12.0, derivative_cutoff=4.0)
"""On quaternion components: half of rad."""
TRANSLATION = OneEuro(min_cutoff=1.0, beta=20.0, derivative_cutoff=4.0)
_BLINKS = np.array([name.startswith("eyeBlink") for name in ARKIT_NAMES])


class ExpressionFilter:
    """Smooths the 52 actions of successive frames."""

    def __init__(self) -> None:
        self._actions, self._blinks = LandmarkFilter(ACTION), LandmarkFilter(BLINK)

    def __call__(self, expression: F64, seconds: float) -> F32:
        """(52,) smoothed, for a frame ``seconds`` after the last."""
        column = expression.astype(np.float32)[:, None]
        rate = 1.0 / seconds
        slow, fast = (smooth(column, 1.0, rate) for smooth in (self._actions, self._blinks))
        return np.asarray(np.where(_BLINKS, fast[:, 0], slow[:, 0]), np.float32)

    def reset(self) -> None:
        """Let the next frame pass unchanged."""
        self._actions.reset()
        self._blinks.reset()


class HeadFilter:
    """Smooths the head pose of successive frames."""

    def __init__(self) -> None:
        self._rotation, self._translation = LandmarkFilter(ROTATION), LandmarkFilter(TRANSLATION)
        self._last: F32 | None = None

    def __call__(self, head: HeadPose, seconds: float) -> HeadPose:
        """The smoothed pose, for a frame ``seconds`` after the last."""
        rotation = head.rotation_xyzw
        if self._last is not None and float(rotation @ self._last) < 0.0:
            rotation = -rotation
        rate = 1.0 / seconds
        smooth = self._rotation(rotation[:, None], 1.0, rate)[:, 0]
        smooth /= np.linalg.norm(smooth)
        self._last = smooth
        translation = self._translation(head.translation_m[:, None], 1.0, rate)[:, 0]
        return HeadPose(smooth, translation, head.residual_px)

    def reset(self) -> None:
        """Let the next frame pass unchanged."""
        self._rotation.reset()
        self._translation.reset()
        self._last = None
