"""Between the map and the mesh: a height map's values for the dense face's vertices."""

from __future__ import annotations

import cv2
import numpy as np

from engine.avatar.topology import Region, Topology
from engine.face.relief.grid import FaceGrid
from engine.types import F32

SEAM_TEXELS = 9.0
"""Over which a map fades out towards the seam, about 10 mm: the body beyond it is smooth."""
REFINEMENTS = 3


def at_vertices(grid: FaceGrid, heights: F32) -> F32:
    """The vertex values whose linear interpolation comes closest to the map.

    Where vertices are further apart than the map's features, picking the map at each vertex would
    alias; this is the L2 projection on the mesh's hat functions, its mass matrix lumped and the
    lumping corrected a few times.

    Args:
        grid: the map's texels.
        heights: (H, W).

    Returns:
        (V,) in the map's unit, 0 for vertices that no texel touches.
    """
    used = grid.covered
    corners = grid.corners[grid.triangles[used]]
    weights = grid.barycentric[used]
    flat, share = corners.ravel(), weights.ravel().astype(np.float64)
    mass = np.maximum(np.bincount(flat, share, grid.vertex_count), 1e-6)
    target = heights[used].astype(np.float64)
    values = np.zeros(grid.vertex_count)
    for _ in range(1 + REFINEMENTS):
        missing = target - (values[corners] * weights).sum(axis=1)
        values += np.bincount(flat, share * np.repeat(missing, 3), grid.vertex_count) / mass
    return values.astype(np.float32)


def on_texels(grid: FaceGrid, values: F32) -> F32:
    """(H, W): per-vertex values interpolated over the map; 0 where no face lies."""
    corners = grid.corners[np.maximum(grid.triangles, 0)]
    texels = (values[corners] * grid.barycentric).sum(axis=-1)
    return np.asarray(np.where(grid.covered, texels, 0.0), np.float32)


def seam_fade(grid: FaceGrid, topology: Topology) -> F32:
    """(H, W): 0 on every triangle that touches the seam, 1 from SEAM_TEXELS inwards, smooth.

    The closed mesh stays closed and smooth across the seam only if nothing moves there.
    """
    moves = topology.regions[grid.corners] == Region.FACE
    free = np.zeros(grid.shape, np.uint8)
    free[grid.covered] = moves.all(axis=1)[grid.triangles[grid.covered]]
    free[[0, -1]] = 0
    free[:, [0, -1]] = 0
    distance = cv2.distanceTransform(free, cv2.DIST_L2, 5)
    t = np.clip(distance / SEAM_TEXELS, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
