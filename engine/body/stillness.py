"""How still a person is, by their landmarks in the picture: who rests may change less.

One camera tells the depth of an arm so weakly that noise swings it to and fro while its landmarks
hardly move. As long as none of them moves, the pose that was found is worth more than another one
that explains the noise a little better.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.types import F32, F64

SPEED_S = 0.05
"""Time constant of speeds."""
MOVING_MPS = 0.15
"""As fast as this, at the body's depth, the fastest landmark gives a pose its whole freedom."""
LEAST = 0.25
"""What is left of it at rest."""
SEEN = 0.3
"""Trust from which on a landmark counts."""


class Stillness:
    """Follows 33 landmarks. Not for two threads at once."""

    def __init__(self) -> None:
        self._slow, self._slower = np.zeros((2, 33, 2))
        self.reset()

    def reset(self) -> None:
        """Nothing is known: a pose has its whole freedom."""
        self._slow[:] = np.nan

    def freedom(self, points_px: F32, trust: F64, metre_per_px: float, seconds: float) -> float:
        """From LEAST, for who rests, to 1: the share of the usual pace that a pose may change by.

        Args:
            points_px: (33, 2 or 3) in this frame.
            trust: (33,) in them.
            metre_per_px: at the body's depth.
            seconds: since the last frame.
        """
        fastest = _fastest(points_px, trust, seconds, self._slow, self._slower) * metre_per_px
        return float(np.clip(fastest / MOVING_MPS, LEAST, 1.0))


@njit(cache=True, nogil=True)
def _fastest(points: F32, trust: F64, seconds: float, slow: F64, slower: F64) -> float:
    """Pixels per second of the fastest trusted landmark, infinite for one seen the first time."""
    gain, fastest = seconds / (seconds + SPEED_S), 0.0
    for k in range(len(trust)):
        fresh, squared = np.isnan(slow[k, 0]), 0.0
        for i in range(2):
            if fresh:
                slow[k, i] = slower[k, i] = points[k, i]
            slow[k, i] += gain * (points[k, i] - slow[k, i])
            slower[k, i] += gain * (slow[k, i] - slower[k, i])
            # Between two low-passes, for the distance to the landmark itself is mostly noise.
            squared += (slow[k, i] - slower[k, i]) ** 2
        if trust[k] > SEEN:
            fastest = np.inf if fresh else max(fastest, np.sqrt(squared) / SPEED_S)
    return fastest
