"""The One-Euro filter over whole landmark arrays (Casiez, Roussel, Vogel 2012).

``x^ = a x + (1 - a) x^prev`` with ``a = 1 / (1 + rate / (2 pi f))`` and a cut-off
``f = min_cutoff + beta |dx^|`` that opens with speed: still points are smoothed, moving ones are
not held back. Speed is measured in object sizes per second, as MediaPipe does, so near and far
people are filtered alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.types import F32


@dataclass(frozen=True, slots=True)
class OneEuro:
    """The three parameters of the filter."""

    min_cutoff: float
    """Hertz: smoothing at rest; lower is smoother."""
    beta: float
    """Hertz per (object size / second): how fast the filter opens."""
    derivative_cutoff: float = 1.0
    """Hertz: smoothing of the speed itself."""


BODY = OneEuro(min_cutoff=0.05, beta=80.0)
"""MediaPipe's own choice for pose landmarks in the picture."""
FACE = OneEuro(min_cutoff=0.05, beta=80.0)
HAND = OneEuro(min_cutoff=0.05, beta=80.0)
WORLD = OneEuro(min_cutoff=0.1, beta=40.0)
"""MediaPipe's choice for metric landmarks, whose speed is in metres per second (scale 1)."""


@njit(cache=True, nogil=True)
def _step(
    points: F32, value: F32, speed: F32, rate: float, scale: float, params: tuple[float, ...]
) -> None:
    """Advance ``value`` (the filtered points) and ``speed`` by one sample, in place."""
    min_cutoff, beta, derivative_cutoff = params
    smooth_speed = 1.0 / (1.0 + rate / (2.0 * np.pi * derivative_cutoff))
    for i in range(points.shape[0]):
        for k in range(points.shape[1]):
            raw = (points[i, k] - value[i, k]) / scale * rate
            speed[i, k] += smooth_speed * (raw - speed[i, k])
            cutoff = min_cutoff + beta * abs(speed[i, k])
            value[i, k] += (points[i, k] - value[i, k]) / (1.0 + rate / (2.0 * np.pi * cutoff))


class LandmarkFilter:
    """Filters one set of landmarks; a new set of points starts afresh after :meth:`reset`."""

    def __init__(self, params: OneEuro) -> None:
        self._params = (params.min_cutoff, params.beta, params.derivative_cutoff)
        self._value: F32 | None = None
        self._speed: F32 | None = None

    def __call__(self, points: F32, scale: float, rate: float = 30.0) -> F32:
        """Filter one frame.

        Args:
            points: (N, D) in any unit.
            scale: the object's size in that unit.
            rate: frames per second since the frame before.

        Returns:
            (N, D) filtered; the caller's to keep.
        """
        if self._value is None or self._speed is None:
            self._value, self._speed = points.copy(), np.zeros_like(points)
        else:
            _step(points, self._value, self._speed, rate, max(scale, 1e-6), self._params)
        return self._value.copy()

    def reset(self) -> None:
        """Forget: the next points pass unchanged."""
        self._value = self._speed = None
