"""The face's square of texture space: for each texel the point of the fused surface it lies on.

Decided once per topology. Textures of 2048 texels have the same texels as the default atlas, so
what is gathered or displaced here goes into a texture without resampling. Only the head's island
is in the square; of the face region it lacks a sliver before each ear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.avatar.paint.atlas import HEAD, Island
from engine.avatar.topology import Region, Topology
from engine.errors import AvatarError
from engine.types import F32, I32, U8

SIZE = 512
WINDOW = Island(1526 / 2048, 802 / 2048, 2038 / 2048, 1314 / 2048)
"""From above the hairline to the throat and from ear to ear; whole texels of a 2048 texture."""
_OUTSIDE = np.float32(-1e-4)


@dataclass(frozen=True, slots=True)
class FaceAtlas:
    """N covered texels of a square window of texture space, row by row."""

    size: int
    """Texels per side of the window."""
    window: Island
    texels: I32
    """(N,) places in the flattened (size, size) picture, ascending."""
    faces: I32
    """(N,) which of the topology's triangles covers the texel."""
    corners: I32
    """(N, 3) the triangle's fused vertices."""
    barycentric: F32
    """(N, 3) the texel's centre in its triangle, rows sum to 1."""
    uv_steps: F32
    """(N, 2, 2) rows u and v: ``dp/du = s0 (b - a) + s1 (c - a)`` for corners a, b, c."""
    in_face: U8
    """(N,) 1 where the triangle belongs to the dense face patch."""

    @staticmethod
    def of(topology: Topology, size: int = SIZE) -> FaceAtlas:
        """Find out what each texel shows.

        Args:
            topology: of the fused avatar.
            size: texels per side.

        Raises:
            AvatarError: no triangle lies in the face's window of texture space.
        """
        uvs = topology.render_uvs[topology.render_faces]
        inside = HEAD.holds(uvs.reshape(-1, 2)).reshape(-1, 3).all(axis=1)
        chosen = np.flatnonzero(inside).astype(np.int32)
        local = (uvs[chosen] - _origin(WINDOW)) / _extent(WINDOW)
        owners, shares = cover(np.ascontiguousarray(local, np.float32), size)
        texels = np.flatnonzero(owners >= 0).astype(np.int32)
        if not len(texels):
            raise AvatarError(
                "the avatar has no face where its texture should hold one; it was not made for "
                "this engine: fuse it again"
            )
        owner = owners[texels]
        faces = chosen[owner]
        corners = np.ascontiguousarray(topology.faces[faces], np.int32)
        return FaceAtlas(
            size=size,
            window=WINDOW,
            texels=texels,
            faces=faces,
            corners=corners,
            barycentric=np.ascontiguousarray(shares[texels]),
            uv_steps=_uv_steps(uvs[chosen])[owner],
            in_face=(topology.regions[corners] != Region.BODY).all(axis=1).astype(np.uint8),
        )

    @property
    def uvs(self) -> F32:
        """(N, 2) texture coordinates of the texels' centres."""
        rows, columns = np.divmod(self.texels, self.size)
        local = np.stack([columns, rows], axis=1) + np.float32(0.5)
        return np.asarray(local / self.size * _extent(WINDOW) + _origin(WINDOW), np.float32)

    def interpolate(self, values: F32) -> F32:
        """(N, C) values at the texels from (V, C) values at the fused vertices."""
        out = np.empty((len(self.texels), values.shape[1]), np.float32)
        _interpolate(np.asarray(values, np.float32), self.corners, self.barycentric, out)
        return out

    def normals(self, normals: F32) -> F32:
        """(N, 3) unit normals at the texels from the (V, 3) vertex normals."""
        out = self.interpolate(normals)
        _normalise(out)
        return out

    def tangents(self, vertices_m: F32, normals: F32) -> tuple[F32, F32]:
        """The texels' tangent frames on a posed mesh.

        Args:
            vertices_m: (V, 3) posed.
            normals: (N, 3) unit, at the texels.

        Returns:
            (N, 3) each, unit and orthogonal to the normal and to one another: the directions in
            which u grows and in which v grows (a mirrored texture has a left-handed frame).
        """
        shape = (len(self.texels), 3)
        tangents, bitangents = np.empty(shape, np.float32), np.empty(shape, np.float32)
        _tangents(vertices_m, self.corners, self.uv_steps, normals, tangents, bitangents)
        return tangents, bitangents

    def picture(self, values: F32, empty: float = 0.0) -> F32:
        """(size, size, C) from (N, C), or (size, size) from (N,); ``empty`` off the surface."""
        flat = np.full((self.size * self.size, *values.shape[1:]), empty, np.float32)
        flat[self.texels] = values
        return flat.reshape(self.size, self.size, *values.shape[1:])

    def read(self, picture: F32) -> F32:
        """(N, C) from (size, size, C), or (N,) from (size, size): undoes :meth:`picture`."""
        flat = picture.reshape(self.size * self.size, *picture.shape[2:])
        return np.ascontiguousarray(flat[self.texels], np.float32)


def _origin(window: Island) -> F32:
    return np.array([window.u0, window.v0], np.float32)


def _extent(window: Island) -> F32:
    return np.array([window.u1 - window.u0, window.v1 - window.v0], np.float32)


def _uv_steps(uvs: F32) -> F32:
    """(F, 2, 2) how positions change with u and v, from (F, 3, 2); 0 for a sliver."""
    (bu, bv), (cu, cv) = (uvs[:, 1] - uvs[:, 0]).T, (uvs[:, 2] - uvs[:, 0]).T
    determinant = bu * cv - bv * cu
    safe = np.where(np.abs(determinant) > 1e-14, determinant, np.inf)
    rows = np.array([[cv, -bv], [-cu, bu]]) / safe
    return np.ascontiguousarray(rows.transpose(2, 0, 1), np.float32)


@njit(cache=True, nogil=True, error_model="numpy")
def cover(uvs: F32, size: int) -> tuple[I32, F32]:  # pragma: no cover - compiled
    """Owner (size^2,) and its barycentric shares (size^2, 3) of every texel centre, -1 for none.

    ``uvs`` (F, 3, 2) are the triangles' corners, the window being the unit square.
    """
    owners = np.full(size * size, -1, np.int32)
    shares = np.zeros((size * size, 3), np.float32)
    for f in range(uvs.shape[0]):
        ax, ay = uvs[f, 0, 0] * size - 0.5, uvs[f, 0, 1] * size - 0.5
        bx, by = uvs[f, 1, 0] * size - 0.5, uvs[f, 1, 1] * size - 0.5
        cx, cy = uvs[f, 2, 0] * size - 0.5, uvs[f, 2, 1] * size - 0.5
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(size - 1, int(max(ax, bx, cx)))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(size - 1, int(max(ay, by, cy)))
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                wc = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                wa = 1.0 - wb - wc
                if wa < _OUTSIDE or wb < _OUTSIDE or wc < _OUTSIDE:
                    continue
                texel = y * size + x
                owners[texel] = f
                shares[texel, 0], shares[texel, 1], shares[texel, 2] = wa, wb, wc
    return owners, shares


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _interpolate(
    values: F32, corners: I32, shares: F32, out: F32
) -> None:  # pragma: no cover - compiled
    for n in range(corners.shape[0]):
        a, b, c = corners[n, 0], corners[n, 1], corners[n, 2]
        for k in range(values.shape[1]):
            out[n, k] = (
                shares[n, 0] * values[a, k]
                + shares[n, 1] * values[b, k]
                + shares[n, 2] * values[c, k]
            )


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normalise(vectors: F32) -> None:  # pragma: no cover - compiled
    for n in range(vectors.shape[0]):
        x, y, z = vectors[n, 0], vectors[n, 1], vectors[n, 2]
        scale = np.float32(1.0) / np.sqrt(x * x + y * y + z * z + np.float32(1e-20))
        vectors[n, 0], vectors[n, 1], vectors[n, 2] = x * scale, y * scale, z * scale


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _tangents(
    vertices: F32, corners: I32, steps: F32, normals: F32, along_u: F32, along_v: F32
) -> None:  # pragma: no cover - compiled
    """Gram-Schmidt: along_u is dp/du without its part along n; along_v completes the frame."""
    for n in range(corners.shape[0]):
        a, b, c = corners[n, 0], corners[n, 1], corners[n, 2]
        dot, side = np.float32(0.0), np.float32(0.0)
        for k in range(3):
            p, q = vertices[b, k] - vertices[a, k], vertices[c, k] - vertices[a, k]
            along_u[n, k] = steps[n, 0, 0] * p + steps[n, 0, 1] * q
            along_v[n, k] = steps[n, 1, 0] * p + steps[n, 1, 1] * q
            dot += along_u[n, k] * normals[n, k]
        length = np.float32(1e-20)
        for k in range(3):
            along_u[n, k] -= dot * normals[n, k]
            length += along_u[n, k] * along_u[n, k]
        scale = np.float32(1.0) / np.sqrt(length)
        for k in range(3):
            along_u[n, k] *= scale
        ux, uy, uz = along_u[n, 0], along_u[n, 1], along_u[n, 2]
        nx, ny, nz = normals[n, 0], normals[n, 1], normals[n, 2]
        x, y, z = ny * uz - nz * uy, nz * ux - nx * uz, nx * uy - ny * ux
        side = x * along_v[n, 0] + y * along_v[n, 1] + z * along_v[n, 2]
        sign = np.float32(1.0) if side >= 0 else np.float32(-1.0)
        along_v[n, 0], along_v[n, 1], along_v[n, 2] = sign * x, sign * y, sign * z
