"""The unit of a head, read off the head: makers of face models seldom write it down."""

from __future__ import annotations

import math

OUTER_EYE_CORNERS_M = 0.09
"""Between the outer corners of an adult's eyes; people differ by a tenth."""


def metres_per_unit(outer_eye_corners: float) -> float:
    """The power of ten (metre, centimetre, millimetre ...) that makes a head as large as a head.

    Args:
        outer_eye_corners: distance between the outer eye corners in the file's unit.

    Raises:
        ValueError: there is no distance to measure.
    """
    if not (math.isfinite(outer_eye_corners) and outer_eye_corners > 0):
        raise ValueError("the eye corners of the head lie in one place")
    return float(10.0 ** round(math.log10(OUTER_EYE_CORNERS_M / outer_eye_corners)))
