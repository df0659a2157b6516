"""Anchor centres of the single-shot detectors (Liu et al., SSD, 2016; MediaPipe's variant).

All our detectors use anchors of fixed size 1, so an anchor is just a point of the crop. Layers of
equal stride share one grid and put their anchors side by side in each cell.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np

from engine.types import F32


def ssd_anchors(side: int, strides: tuple[int, ...], per_layer: int = 2) -> F32:
    """The centres of all anchors, in the order of the network's outputs.

    Args:
        side: width of the square input in pixels.
        strides: one per layer, ascending.
        per_layer: anchors per cell and layer (the unit aspect ratio and the interpolated one).

    Returns:
        (N, 2): x, y as fractions of the input's width.
    """
    grids = []
    for stride, layers in groupby(strides):
        cells = -(-side // stride)
        centres = (np.arange(cells, dtype=np.float32) + 0.5) / cells
        x, y = np.meshgrid(centres, centres)
        grid = np.stack([x.ravel(), y.ravel()], axis=1)
        grids.append(np.repeat(grid, per_layer * len(list(layers)), axis=0))
    return np.concatenate(grids).astype(np.float32)
