"""Vertex normals as incident-angle-weighted means of face normals (SARS post-processing iii)."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from engine.types import F32, I32


@njit(cache=True, nogil=True, fastmath=True)
def _fast_acos(cosine: np.float32) -> np.float32:
    """Arc cosine to 7e-5 rad (Abramowitz and Stegun 4.4.45): no call into libm."""
    x = np.float32(min(abs(cosine), np.float32(1.0)))
    polynomial = np.float32(1.5707288) + x * (
        np.float32(-0.2121144) + x * (np.float32(0.0742610) + x * np.float32(-0.0187293))
    )
    angle = np.float32(math.sqrt(np.float32(1.0) - x)) * polynomial
    return angle if cosine >= np.float32(0.0) else np.float32(math.pi) - angle


@njit(cache=True, nogil=True, fastmath=True)
def vertex_normals(vertices: F32, faces: I32, out: F32) -> None:
    """Unit normals: ``n_v ~ sum over faces of (angle of the face at v) * (face normal)``.

    Args:
        vertices: (V, 3).
        faces: (F, 3) counter-clockwise seen from outside.
        out: (V, 3), overwritten. A vertex without a proper face gets +Z.
    """
    out[:] = np.float32(0.0)
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        bx, by, bz = vertices[b, 0], vertices[b, 1], vertices[b, 2]
        cx, cy, cz = vertices[c, 0], vertices[c, 1], vertices[c, 2]
        # Edges opposite to a, b and c.
        ux, uy, uz = cx - bx, cy - by, cz - bz
        vx, vy, vz = ax - cx, ay - cy, az - cz
        wx, wy, wz = bx - ax, by - ay, bz - az
        nx, ny, nz = wy * uz - wz * uy, wz * ux - wx * uz, wx * uy - wy * ux
        tiny = np.float32(1e-30)
        scale = np.float32(1.0) / math.sqrt(nx * nx + ny * ny + nz * nz + tiny)
        iu = np.float32(1.0) / math.sqrt(ux * ux + uy * uy + uz * uz + tiny)
        iv = np.float32(1.0) / math.sqrt(vx * vx + vy * vy + vz * vz + tiny)
        iw = np.float32(1.0) / math.sqrt(wx * wx + wy * wy + wz * wz + tiny)
        angle_a = _fast_acos(-(vx * wx + vy * wy + vz * wz) * iv * iw)
        angle_b = _fast_acos(-(ux * wx + uy * wy + uz * wz) * iu * iw)
        angle_c = np.float32(math.pi) - angle_a - angle_b
        nx, ny, nz = nx * scale, ny * scale, nz * scale
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


@njit(cache=True, nogil=True, fastmath=True)
def _normalize_rows(vectors: F32) -> None:
    for i in range(vectors.shape[0]):
        x, y, z = vectors[i, 0], vectors[i, 1], vectors[i, 2]
        square = x * x + y * y + z * z
        if square > np.float32(1e-12):
            scale = np.float32(1.0) / math.sqrt(square)
            vectors[i, 0], vectors[i, 1], vectors[i, 2] = x * scale, y * scale, z * scale
        else:
            vectors[i, 0], vectors[i, 1], vectors[i, 2] = 0.0, 0.0, 1.0
