"""The face in texture space: which triangle each texel lies on, and what it sees when posed.

Texels are those of a square texture of :data:`SIDE`, about 1.1 mm on a face: finer than a webcam's
pixels there, and fine enough for the dense face's vertices. Rows run along v, columns along u.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.avatar.topology import Topology
from engine.errors import AvatarError
from engine.face.face_atlas import FaceAtlas
from engine.types import F32, I32

SIDE = 1024
TEXTURE_SHARE = 4
"""The atlas' window has a quarter of the texture's side."""


class Posed(NamedTuple):
    """The face's texels in one frame; all but ``slopes`` are zero where no triangle lies."""

    positions_m: F32
    """(H, W, 3) camera space."""
    normals: F32
    """(H, W, 3) unit, interpolated over the triangle."""
    slopes: F32
    """(H, W, 2, 3) per millimetre: a height of h millimetres, with h_u and h_v its differences
    per texel, turns the normal by ``-(h_u slopes[0] + h_v slopes[1])``."""


@dataclass(frozen=True, slots=True)
class FaceGrid:
    """A window of H x W texels over the face patch."""

    row: int
    """First row in a square texture of SIDE texels."""
    column: int
    triangles: I32
    """(H, W): row of ``corners``, -1 where no face lies."""
    barycentric: F32
    """(H, W, 3)."""
    corners: I32
    """(T, 3) vertices of the patch's triangles."""
    from_texels: F32
    """(T, 2, 2) per texel: ``[dP/du, dP/dv] = [P1 - P0, P2 - P0] @ this``."""
    vertex_count: int
    """V of the avatar."""

    @property
    def shape(self) -> tuple[int, int]:
        """H and W."""
        return self.triangles.shape[0], self.triangles.shape[1]

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(H, W): where the face lies."""
        return self.triangles >= 0

    @staticmethod
    def of(topology: Topology) -> FaceGrid:
        """Take the face patch out of the atlas.

        Raises:
            AvatarError: the topology has no face patch with texture coordinates.
        """
        atlas = FaceAtlas.of(topology, SIDE // TEXTURE_SHARE)
        inside = atlas.in_face > 0
        if not inside.any():
            raise AvatarError(
                "the avatar's topology has no face region, so there is nowhere to put wrinkles; "
                "fuse it with engine.fusion.copy_paste"
            )
        texels, faces = atlas.texels[inside], atlas.faces[inside]
        used, first, rows = np.unique(faces, return_index=True, return_inverse=True)
        triangles = np.full(atlas.size * atlas.size, -1, np.int32)
        triangles[texels] = rows
        barycentric = np.zeros((atlas.size * atlas.size, 3), np.float32)
        barycentric[texels] = atlas.barycentric[inside]
        steps = atlas.uv_steps[inside][first].transpose(0, 2, 1) / SIDE
        shape = (atlas.size, atlas.size)
        return FaceGrid(
            row=round(atlas.window.v0 * SIDE),
            column=round(atlas.window.u0 * SIDE),
            triangles=triangles.reshape(shape),
            barycentric=barycentric.reshape(*shape, 3),
            corners=np.ascontiguousarray(topology.faces[used], np.int32),
            from_texels=np.ascontiguousarray(steps, np.float32),
            vertex_count=len(topology.regions),
        )

    def uv(self) -> tuple[F32, F32]:
        """Texture coordinates u (1, W) and v (H, 1) of the texels' centres."""
        rows, columns = self.shape
        u = (np.arange(columns) + self.column + 0.5) / SIDE
        v = (np.arange(rows) + self.row + 0.5) / SIDE
        return u[None, :].astype(np.float32), v[:, None].astype(np.float32)

    def pose(self, vertices_m: F32, normals: F32) -> Posed:
        """Where the texels are and how they lie.

        Args:
            vertices_m: (V, 3) posed.
            normals: (V, 3) unit.
        """
        shape = self.shape
        posed = Posed(
            np.zeros((*shape, 3), np.float32),
            np.zeros((*shape, 3), np.float32),
            np.zeros((*shape, 2, 3), np.float32),
        )
        _pose(
            np.asarray(vertices_m, np.float32),
            np.asarray(normals, np.float32),
            self.corners,
            self.from_texels,
            self.triangles,
            self.barycentric,
            *posed,
        )
        return posed

    def texel_mm(self, vertices_m: F32) -> F32:
        """(H, W, 2): length of a step of one texel along u and along v; 1 where no face lies."""
        p = vertices_m[self.corners]
        edges = np.stack([p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]], axis=2)
        lengths = 1e3 * np.linalg.norm(edges @ self.from_texels, axis=1)
        sizes = np.where(self.covered[..., None], lengths[self.triangles], 1.0)
        return np.ascontiguousarray(sizes, np.float32)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _pose(  # type: ignore[no-untyped-def]
    vertices, vertex_normals, corners, from_texels, triangles, barycentric,
    positions, normals, slopes,
):  # fmt: skip  # pragma: no cover - compiled
    height, width = triangles.shape
    for y in range(height):
        for x in range(width):
            t = triangles[y, x]
            if t < 0:
                continue
            a, b, c = corners[t, 0], corners[t, 1], corners[t, 2]
            wa, wb, wc = barycentric[y, x, 0], barycentric[y, x, 1], barycentric[y, x, 2]
            square = np.float32(1e-12)
            for k in range(3):
                positions[y, x, k] = wa * vertices[a, k] + wb * vertices[b, k] + wc * vertices[c, k]
                n = (
                    wa * vertex_normals[a, k]
                    + wb * vertex_normals[b, k]
                    + wc * vertex_normals[c, k]
                )
                normals[y, x, k] = n
                square += n * n
            scale = np.float32(1.0) / np.sqrt(square)
            # The metric E, F, G of the texture's map, in millimetres per texel.
            e = f = g = np.float32(0.0)
            for k in range(3):
                normals[y, x, k] *= scale
                p, q = vertices[b, k] - vertices[a, k], vertices[c, k] - vertices[a, k]
                du = np.float32(1e3) * (p * from_texels[t, 0, 0] + q * from_texels[t, 1, 0])
                dv = np.float32(1e3) * (p * from_texels[t, 0, 1] + q * from_texels[t, 1, 1])
                slopes[y, x, 0, k], slopes[y, x, 1, k] = du, dv
                e += du * du
                f += du * dv
                g += dv * dv
            determinant = e * g - f * f + np.float32(1e-9)
            for k in range(3):
                du, dv = slopes[y, x, 0, k], slopes[y, x, 1, k]
                slopes[y, x, 0, k] = (g * du - f * dv) / determinant
                slopes[y, x, 1, k] = (e * dv - f * du) / determinant
