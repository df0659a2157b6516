"""The displacement map: heights that the evidence holds up, nothing elsewhere.

Two halves of the pictures are solved for separately. Misread light differs from half to half,
skin does not: only heights on which the halves agree, and which are larger than what errors of
light and alignment were seen to make, are let through. On a smooth face that is nothing at all.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from engine.face.relief.evidence import SlopeEvidence
from engine.face.relief.height import solve_height
from engine.types import F32

SCREEN = 2.0
"""Per square millimetre: shapes broader than a finger are the morphable model's."""
STIFFNESS = 10.0
"""Per square millimetre: forbids what is finer than a camera's pixels on a face."""
NEAR = 5.0
"""Texels over which agreement is judged."""
UNRELIABLE_MM = 0.16
"""Root mean square of heights that pictures of faces without relief were read to have, at most."""
SHRINK_MM = 0.03
"""Taken off every height: what is left of errors under the gate."""
HIGHEST_MM = 2.0
PINNED = 1e6
GAIN = 2.0
"""Least squares with a prior, bounded detail and lens blur all read heights too low. On rendered
truth what passes the gate is short by a factor of 1.6 to 3."""


class Halves(NamedTuple):
    """All pictures' evidence, and that of every other picture."""

    whole: SlopeEvidence
    even: SlopeEvidence
    odd: SlopeEvidence


class HeightMap(NamedTuple):
    """Over H x W texels."""

    heights_mm: F32
    confidence: F32
    """In [0, 1]: the share of the height read that was let through."""


def read_heights(evidence: SlopeEvidence, bare: F32) -> F32:
    """(H, W) mm: heights as the evidence has them, ungated.

    Args:
        evidence: on the slopes.
        bare: (H, W) in [0, 1]: where skin may move, 0 at features and seam.
    """
    screen = np.where(bare > 0, SCREEN / np.maximum(bare, 0.05) ** 2, PINNED).astype(np.float32)
    return solve_height(evidence, screen, STIFFNESS) * np.minimum(bare, 1.0)


def displacement(halves: Halves, bare: F32) -> HeightMap:
    """Heights that both halves of the pictures agree on.

    Args:
        halves: the evidence.
        bare: (H, W) in [0, 1].
    """
    heights, even, odd = (read_heights(evidence, bare) for evidence in halves)
    confidence = agreement(even, odd, bare)
    kept = confidence * heights
    kept = np.sign(kept) * np.maximum(np.abs(kept) - SHRINK_MM, 0.0)
    bounded = np.clip(GAIN * kept, -HIGHEST_MM, HIGHEST_MM)
    return HeightMap(np.asarray(bounded, np.float32), confidence)


def agreement(even: F32, odd: F32, bare: F32) -> F32:
    """(H, W) in [0, 1]: covariance of the halves over their variance, less what errors have.

    With ``even = h + e1``, ``odd = h + e2`` and independent errors this is Wiener's gain
    ``h^2 / (h^2 + e^2)``; errors that the halves share are put at UNRELIABLE_MM.
    """
    area = np.maximum(cv2.GaussianBlur((bare > 0).astype(np.float32), (0, 0), NEAR), 0.3)
    common = cv2.GaussianBlur(even * odd, (0, 0), NEAR) / area
    power = cv2.GaussianBlur((even * even + odd * odd) / 2, (0, 0), NEAR) / area
    gain = (common - UNRELIABLE_MM**2) / np.maximum(power, 1e-9)
    return np.asarray(np.clip(gain, 0.0, 1.0), np.float32)
