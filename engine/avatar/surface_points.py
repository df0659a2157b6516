"""Points that ride on a mesh: the one embedding format of every head's 478 face landmarks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.types import F32, I32

NOWHERE = -1
"""Stands in ``triangles`` for a point that has no place on this mesh."""


@dataclass(frozen=True, slots=True)
class SurfacePoints:
    """N points, each in a triangle of a mesh by barycentric weights.

    For faces N is 478, in the order of MediaPipe's landmarks: index i is the same spot of the
    face on every head that has it.
    """

    triangles: I32
    """(N, 3) vertices of the mesh, -1 where a point has no place."""
    barycentric: F32
    """(N, 3), rows sum to 1, NaN where a point has no place."""

    @property
    def placed(self) -> NDArray[np.bool_]:
        """(N,) whether the mesh has this point."""
        return np.asarray(self.triangles[:, 0] >= 0)

    def on(self, vertices_m: F32) -> F32:
        """(N, 3) the points on a mesh of (V, 3) vertices, NaN where they have no place."""
        # Index -1 reads the last vertex, which the weight NaN then hides.
        corners = vertices_m[self.triangles]
        return np.asarray((self.barycentric[:, :, None] * corners).sum(axis=1), np.float32)
