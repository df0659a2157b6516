"""Sub-pixel refinement of landmarks by their heat maps (MediaPipe's RefineLandmarksFromHeatmap)."""

from __future__ import annotations

import math

from numba import njit

from engine.types import F32


@njit(cache=True, nogil=True)
def refine(points: F32, heatmap: F32, cell: float, radius: int, confidence: float) -> None:
    """Move each landmark to the heat map's centre of mass around it.

    Args:
        points: (N, 2 or more) crop pixels, x and y changed in place.
        heatmap: (N, H, W) logits.
        cell: crop pixels per heat map cell.
        radius: cells on either side that count: 3 for a kernel of 7.
        confidence: a landmark whose best cell stays below this probability is left alone.
    """
    height, width = heatmap.shape[1], heatmap.shape[2]
    for i in range(points.shape[0]):
        column, row = int(points[i, 0] / cell), int(points[i, 1] / cell)
        if not (0 <= column < width and 0 <= row < height):
            continue
        total, x, y, best = 0.0, 0.0, 0.0, 0.0
        for r in range(max(0, row - radius), min(height, row + radius + 1)):
            for c in range(max(0, column - radius), min(width, column + radius + 1)):
                weight = 1.0 / (1.0 + math.exp(-heatmap[i, r, c]))
                total += weight
                best = max(best, weight)
                x += c * weight
                y += r * weight
        if best >= confidence and total > 0.0:
            points[i, 0] = x / total * cell
            points[i, 1] = y / total * cell
