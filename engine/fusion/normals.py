"""Vertex normals as incident-angle-weighted means of face normals (SARS post-processing iii).

Faces are taken a tile at a time: their corners are gathered into rows, the arithmetic runs along
the rows eight or sixteen faces per instruction, and the weighted normals are added to the
vertices. Angles come from a polynomial arc cosine, off by at most 7e-5 rad.

:func:`vertex_normals` takes any mesh as it is. :func:`fan_normals` takes the triangles of a known
topology in fans (:mod:`engine.fusion.fans`), which halves the gathering and the adding: what a
frame is posed with.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from engine.fusion.fans import FAN
from engine.types import F32, I32

TILE = 256
"""Faces per tile: its rows stay in the first-level cache."""
_ROWS = 14
"""Rows of a tile: 9 coordinates, the angles at a and b, the face normal."""
_TINY = np.float32(1e-30)
_ONE = np.float32(1.0)
_PI = np.float32(math.pi)
FAN_TILE = 64
"""Fans per tile: six points in and six sums out are 36 rows."""
_POINTS = FAN + 2


@njit(inline="always")
def _acos(cosine: np.float32) -> np.float32:
    """Arc cosine by a polynomial (Abramowitz and Stegun 4.4.45), |error| <= 7e-5 rad."""
    x = np.float32(min(abs(cosine), _ONE))
    polynomial = np.float32(1.5707288) + x * (
        np.float32(-0.2121144) + x * (np.float32(0.0742610) + x * np.float32(-0.0187293))
    )
    angle = np.float32(math.sqrt(_ONE - x)) * polynomial
    return angle if cosine >= np.float32(0.0) else _PI - angle


@njit(inline="always")
def _inverse_length(x: np.float32, y: np.float32, z: np.float32) -> np.float32:
    return _ONE / np.float32(math.sqrt(x * x + y * y + z * z + _TINY))


# Divisions follow numpy's rules: Python's check for zero would keep the loop scalar.
@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _angles_and_normals(tile: F32, count: int) -> None:
    """Rows 9 to 13 of a tile (angles at a and b, unit normal) from rows 0 to 8 (a, b, c)."""
    for i in range(count):
        ax, ay, az = tile[i], tile[TILE + i], tile[2 * TILE + i]
        bx, by, bz = tile[3 * TILE + i], tile[4 * TILE + i], tile[5 * TILE + i]
        cx, cy, cz = tile[6 * TILE + i], tile[7 * TILE + i], tile[8 * TILE + i]
        # Edges opposite to a, b and c.
        ux, uy, uz = cx - bx, cy - by, cz - bz
        vx, vy, vz = ax - cx, ay - cy, az - cz
        wx, wy, wz = bx - ax, by - ay, bz - az
        nx, ny, nz = wy * uz - wz * uy, wz * ux - wx * uz, wx * uy - wy * ux
        u, v, w = (
            _inverse_length(ux, uy, uz),
            _inverse_length(vx, vy, vz),
            _inverse_length(wx, wy, wz),
        )
        n = _inverse_length(nx, ny, nz)
        tile[9 * TILE + i] = _acos(-(vx * wx + vy * wy + vz * wz) * v * w)
        tile[10 * TILE + i] = _acos(-(ux * wx + uy * wy + uz * wz) * u * w)
        tile[11 * TILE + i] = nx * n
        tile[12 * TILE + i] = ny * n
        tile[13 * TILE + i] = nz * n


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def vertex_normals(vertices: F32, faces: I32, out: F32) -> None:
    """Unit normals: ``n_v ~ sum over faces of (angle of the face at v) * (face normal)``.

    Args:
        vertices: (V, 3).
        faces: (F, 3) counter-clockwise seen from outside.
        out: (V, 3), overwritten. A vertex without a proper face gets +Z.
    """
    out[:] = np.float32(0.0)
    tile = np.empty(_ROWS * TILE, np.float32)
    for first in range(0, faces.shape[0], TILE):
        count = min(TILE, faces.shape[0] - first)
        for i in range(count):
            for corner in range(3):
                v = faces[first + i, corner]
                for axis in range(3):
                    tile[(3 * corner + axis) * TILE + i] = vertices[v, axis]
        _angles_and_normals(tile, count)
        for i in range(count):
            nx, ny, nz = tile[11 * TILE + i], tile[12 * TILE + i], tile[13 * TILE + i]
            angle_a, angle_b = tile[9 * TILE + i], tile[10 * TILE + i]
            angle_c = _PI - angle_a - angle_b
            a, b, c = faces[first + i, 0], faces[first + i, 1], faces[first + i, 2]
            out[a, 0] += angle_a * nx
            out[a, 1] += angle_a * ny
            out[a, 2] += angle_a * nz
            out[b, 0] += angle_b * nx
            out[b, 1] += angle_b * ny
            out[b, 2] += angle_b * nz
            out[c, 0] += angle_c * nx
            out[c, 1] += angle_c * ny
            out[c, 2] += angle_c * nz
    _normalize_rows(out)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normalize_rows(vectors: F32) -> None:
    for i in range(vectors.shape[0]):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        square = x * x + y * y + z * z
        if square > np.float32(1e-12):
            scale = _ONE / np.float32(math.sqrt(square))
            vectors[i, 0], vectors[i, 1], vectors[i, 2] = x * scale, y * scale, z * scale
        else:
            vectors[i, 0], vectors[i, 1], vectors[i, 2] = 0.0, 0.0, 1.0


def fan_tiles(fans: I32) -> I32:
    """(B, FAN + 2, FAN_TILE): fans (N, FAN + 2) by tiles, for :func:`fan_normals`.

    The last tile is filled with fans that are one point and add nothing.
    """
    missing = -len(fans) % FAN_TILE
    filled = np.concatenate([fans, np.zeros((missing, _POINTS), np.int32)])
    return np.ascontiguousarray(filled.reshape(-1, FAN_TILE, _POINTS).transpose(0, 2, 1))


@njit(inline="always")
def _triangle(
    px: np.float32, py: np.float32, pz: np.float32, p: np.float32,
    qx: np.float32, qy: np.float32, qz: np.float32, q: np.float32,
) -> tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]:  # fmt: skip
    """Unit normal, and the angles at the first two corners, of the triangle (c, c + P, c + Q).

    ``p`` and ``q`` are the inverse lengths of P and Q.
    """
    ex, ey, ez = qx - px, qy - py, qz - pz
    nx, ny, nz = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
    n, e = _inverse_length(nx, ny, nz), _inverse_length(ex, ey, ez)
    at_centre = _acos((px * qx + py * qy + pz * qz) * (p * q))
    at_first = _acos(-(px * ex + py * ey + pz * ez) * (p * e))
    return nx * n, ny * n, nz * n, at_centre, at_first, _PI - at_centre - at_first


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _sum_fans(tile: F32) -> None:
    """Rows 18 to 35 of a tile (six weighted sums of normals) from rows 0 to 17 (six points).

    Written out, because a loop over the four triangles would keep the one over fans scalar.
    """
    n = FAN_TILE
    for i in range(n):
        x, y, z = tile[i], tile[n + i], tile[2 * n + i]
        px, py, pz = tile[3 * n + i] - x, tile[4 * n + i] - y, tile[5 * n + i] - z
        qx, qy, qz = tile[6 * n + i] - x, tile[7 * n + i] - y, tile[8 * n + i] - z
        rx, ry, rz = tile[9 * n + i] - x, tile[10 * n + i] - y, tile[11 * n + i] - z
        sx, sy, sz = tile[12 * n + i] - x, tile[13 * n + i] - y, tile[14 * n + i] - z
        tx, ty, tz = tile[15 * n + i] - x, tile[16 * n + i] - y, tile[17 * n + i] - z
        p, q = _inverse_length(px, py, pz), _inverse_length(qx, qy, qz)
        r, s = _inverse_length(rx, ry, rz), _inverse_length(sx, sy, sz)
        t = _inverse_length(tx, ty, tz)
        ax, ay, az, a0, a1, a2 = _triangle(px, py, pz, p, qx, qy, qz, q)
        bx, by, bz, b0, b1, b2 = _triangle(qx, qy, qz, q, rx, ry, rz, r)
        cx, cy, cz, c0, c1, c2 = _triangle(rx, ry, rz, r, sx, sy, sz, s)
        dx, dy, dz, d0, d1, d2 = _triangle(sx, sy, sz, s, tx, ty, tz, t)
        tile[18 * n + i] = a0 * ax + b0 * bx + c0 * cx + d0 * dx
        tile[19 * n + i] = a0 * ay + b0 * by + c0 * cy + d0 * dy
        tile[20 * n + i] = a0 * az + b0 * bz + c0 * cz + d0 * dz
        tile[21 * n + i], tile[22 * n + i], tile[23 * n + i] = a1 * ax, a1 * ay, a1 * az
        tile[24 * n + i] = a2 * ax + b1 * bx
        tile[25 * n + i] = a2 * ay + b1 * by
        tile[26 * n + i] = a2 * az + b1 * bz
        tile[27 * n + i] = b2 * bx + c1 * cx
        tile[28 * n + i] = b2 * by + c1 * cy
        tile[29 * n + i] = b2 * bz + c1 * cz
        tile[30 * n + i] = c2 * cx + d1 * dx
        tile[31 * n + i] = c2 * cy + d1 * dy
        tile[32 * n + i] = c2 * cz + d1 * dz
        tile[33 * n + i], tile[34 * n + i], tile[35 * n + i] = d2 * dx, d2 * dy, d2 * dz


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def fan_normals(points: F32, tiles: I32, out: F32) -> None:
    """What :func:`vertex_normals` gives, coordinate by coordinate.

    Args:
        points: (3, V).
        tiles: from :func:`fan_tiles`.
        out: (3, V), overwritten.
    """
    out[:] = np.float32(0.0)
    tile = np.empty(6 * _POINTS * FAN_TILE, np.float32)
    x, y, z, sum_x, sum_y, sum_z = points[0], points[1], points[2], out[0], out[1], out[2]
    for b in range(tiles.shape[0]):
        for point in range(_POINTS):
            row = 3 * point * FAN_TILE
            for i in range(FAN_TILE):
                v = tiles[b, point, i]
                tile[row + i] = x[v]
                tile[row + FAN_TILE + i] = y[v]
                tile[row + 2 * FAN_TILE + i] = z[v]
        _sum_fans(tile)
        for point in range(_POINTS):
            row = 3 * (_POINTS + point) * FAN_TILE
            for i in range(FAN_TILE):
                v = tiles[b, point, i]
                sum_x[v] += tile[row + i]
                sum_y[v] += tile[row + FAN_TILE + i]
                sum_z[v] += tile[row + 2 * FAN_TILE + i]
    _normalize_columns(sum_x, sum_y, sum_z)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _normalize_columns(x: F32, y: F32, z: F32) -> None:
    for i in range(x.shape[0]):
        square = x[i] * x[i] + y[i] * y[i] + z[i] * z[i]
        proper = square > np.float32(1e-12)
        scale = _ONE / np.float32(math.sqrt(square)) if proper else np.float32(0.0)
        x[i], y[i] = x[i] * scale, y[i] * scale
        z[i] = z[i] * scale if proper else _ONE
