"""Valley lines of a map: where wrinkles run.

A valley is where the map curves upwards across and the slope across vanishes: Steger, *An unbiased
detector of curvilinear structures*, 1998, over a few scales. Hysteresis joins weak stretches to
strong ones; pieces too short, too round or on features (lids, brows, lips, nostrils) are no
wrinkles.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.types import F32, I32

SCALES = (1.3, 2.0, 2.8)
"""Texels: half the width of a line between its inflections."""
ROUNDEST = 0.55
"""Curvature along over curvature across from which a dip is a pit: a pore, a mole, a pock."""
OFF_CENTRE = 0.6
"""Texels from a texel's centre within which the valley's floor must lie to belong to it."""
WEAK = 0.35
"""Share of the strong threshold down to which a line is followed."""


@dataclass(frozen=True, slots=True)
class WrinkleLines:
    """Thin lines over H x W texels."""

    labels: I32
    """(H, W): 0 off the lines, else which line, 1 to ``count``."""
    count: int
    width: F32
    """(count,) texels: the scale at which each line answers best, on average."""


def valley_lines(
    valleys: F32, allowed: NDArray[np.bool_], strong: float, shortest: int
) -> WrinkleLines:
    """Lines along which the map is lowest.

    Args:
        valleys: (H, W) dark or deep lines are low.
        allowed: (H, W) bare skin.
        strong: curvature across, in the map's unit times scale squared, that a line must reach.
        shortest: texels that a line must have.
    """
    strength = np.zeros(valleys.shape, np.float32)
    scale = np.zeros(valleys.shape, np.float32)
    for sigma in SCALES:
        response = _valley_response(valleys, sigma)
        better = response > strength
        strength[better], scale[better] = response[better], sigma
    strength[~allowed] = 0.0
    _, pieces, boxes, _ = cv2.connectedComponentsWithStats(
        (strength > WEAK * strong).astype(np.uint8), connectivity=8
    )
    pieces_of = np.asarray(pieces, np.int32)
    peaks = np.zeros(len(boxes), np.float32)
    np.maximum.at(peaks, pieces_of.ravel(), strength.ravel())
    kept = (peaks >= strong) & (_extent(np.asarray(boxes, np.int32)) >= shortest)
    kept[0] = False
    names = np.zeros(len(boxes), np.int32)
    names[kept] = np.arange(1, kept.sum() + 1)
    labels = names[pieces_of]
    count = int(kept.sum())
    sizes = np.maximum(np.bincount(labels.ravel(), minlength=count + 1), 1)
    widths = np.bincount(labels.ravel(), scale.ravel(), count + 1) / sizes
    return WrinkleLines(labels.astype(np.int32), count, widths[1:].astype(np.float32))


def _extent(boxes: I32) -> F32:
    """Diagonal of the components' boxes, texels."""
    return np.asarray(
        np.hypot(boxes[:, cv2.CC_STAT_WIDTH], boxes[:, cv2.CC_STAT_HEIGHT]), np.float32
    )


def _valley_response(image: F32, sigma: float) -> F32:
    """(H, W): scale-normalised curvature across valleys, 0 off their floor."""
    smooth = cv2.GaussianBlur(image, (0, 0), sigma)
    gy, gx = np.gradient(smooth)
    (yy, xy), (_, xx) = np.gradient(gy), np.gradient(gx)
    mean, difference = (xx + yy) / 2, (xx - yy) / 2
    root = np.hypot(difference, xy)
    across, along = mean + root, mean - root
    angle = 0.5 * np.arctan2(xy, difference)
    nx, ny = np.cos(angle), np.sin(angle)
    # The floor lies at t (nx, ny) from the texel's centre (Steger, eq. 22).
    t = -(gx * nx + gy * ny) / np.where(across > 1e-9, across, np.inf)
    floor = np.maximum(np.abs(t * nx), np.abs(t * ny)) <= OFF_CENTRE
    line = (across > 0) & (np.abs(along) < ROUNDEST * across) & floor
    return np.asarray(np.where(line, sigma * sigma * across, 0.0), np.float32)
