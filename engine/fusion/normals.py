"""Vertex normals as incident-angle-weighted means of face normals (SARS post-processing iii).

Faces are taken a tile at a time: their corners are gathered into rows, the arithmetic runs along
the rows eight or sixteen faces per instruction, and the weighted normals are added to the
vertices. Angles come from a polynomial arc cosine, off by at most 7e-5 rad.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from engine.types import F32, I32

TILE = 256
"""Faces per tile: its rows stay in the first-level cache."""
_ROWS = 14
"""Rows of a tile: 9 coordinates, the angles at a and b, the face normal."""
_TINY = np.float32(1e-30)
_ONE = np.float32(1.0)
_PI = np.float32(math.pi)


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
