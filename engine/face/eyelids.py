"""Shut eyes, by the gap between the lids.

The linear fit sees how far lids travel, which depends on how far this person's are apart, and it
shares a closing lid between blink and a downward look. The gap itself is unmistakable: measured
on people and on renders alike, it falls to a fifth of the open eye's when the lids meet.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.types import ARKIT_NAMES, F64

UPPER = np.array([[385, 386, 387], [160, 159, 158]])
LOWER = np.array([[380, 374, 373], [144, 145, 153]])
"""Landmarks of the person's left eye, then the right one; each upper above its lower."""
BLINKS = np.array([ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")])
CLOSING = 0.58
"""Below this share of the open eye's gap the lids are closing,"""
SHUT = 0.15
"""and at this one they have met."""
LEAST_GAP_M = 2e-3
WINK = 0.5
"""Eyes that differ by so much wink; those that differ less were meant to close together."""


def lid_gaps(landmarks_m: F64) -> F64:
    """(2,) metres between upper and lower lid, left and right, of landmarks (478, 3)."""
    heights: NDArray[np.float64] = landmarks_m[UPPER, 1] - landmarks_m[LOWER, 1]
    return np.asarray(heights.mean(axis=1))


def close_lids(expression: F64, neutral_m: F64, displaced_m: F64) -> F64:
    """The expression with blinks at least as strong as the gap between the lids says.

    Args:
        expression: (52,) as fitted.
        neutral_m: (478, 3) the person's neutral landmarks, head axes.
        displaced_m: (478, 3) how far the landmarks are from there.
    """
    open_gaps = np.maximum(lid_gaps(neutral_m), LEAST_GAP_M)
    share = lid_gaps(neutral_m + displaced_m) / open_gaps
    closed = np.clip((CLOSING - share) / (CLOSING - SHUT), 0.0, 1.0)
    together = max(0.0, 1.0 - abs(float(closed[0] - closed[1])) / WINK)
    closed += together * (closed.mean() - closed)
    result = expression.copy()
    result[BLINKS] = np.maximum(result[BLINKS], closed)
    return result
