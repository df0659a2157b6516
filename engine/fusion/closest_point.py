"""Closest points on a triangle mesh: the search below every registration and surface distance.

Triangles are sorted along a Morton curve and packed, a few to a leaf, into a complete binary tree
of bounding boxes, so the tree needs no pointers: the children of node ``n`` are ``2n + 1`` and
``2n + 2``. A query goes down the nearer child first and skips boxes further away than the best
triangle so far, and so finds the exact closest point.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.types import F32, F64, I32

LEAF = 4
"""Triangles in a leaf."""
MORTON_BITS = 10
_DEEPEST = 64
"""Boxes that may wait on a query's stack: more than any tree of int32 triangles needs."""


@dataclass(frozen=True, slots=True)
class Closest:
    """For each of N points, where on the surface its closest point lies."""

    points: F64
    """(N, 3) on the surface."""
    triangles: I32
    """(N,) rows of the surface's faces."""
    barycentric: F64
    """(N, 3), not negative, rows sum to 1."""

    def interpolate(self, faces: I32, values: F64) -> F64:
        """(N, C) what the per-vertex ``values`` (V, C) are at the closest points."""
        corners = values[faces[self.triangles]]
        return np.asarray((self.barycentric[:, :, None] * corners).sum(axis=1))


class SurfaceTree:
    """A mesh prepared for queries; never changes, any thread may ask."""

    def __init__(self, vertices: F32 | F64, faces: I32) -> None:
        """Sort the triangles into the tree.

        Args:
            vertices: (V, 3), any unit.
            faces: (F, 3), at least one.
        """
        self.vertices: F64 = np.ascontiguousarray(vertices, np.float64)
        self.faces: I32 = np.ascontiguousarray(faces, np.int32)
        corners = self.vertices[self.faces]
        self._order = np.argsort(_morton(corners.mean(axis=1)), kind="stable").astype(np.int32)
        self._corners = np.ascontiguousarray(corners[self._order])
        self._low, self._high = _boxes(self._corners)

    def closest(self, points: F32 | F64) -> Closest:
        """The closest point of the surface to each of (N, 3) ``points``."""
        wanted = np.ascontiguousarray(points, np.float64)
        found = np.empty((len(wanted), 3))
        barycentric = np.empty((len(wanted), 3))
        rows = np.empty(len(wanted), np.int32)
        _search(wanted, self._corners, self._low, self._high, found, rows, barycentric)
        return Closest(found, self._order[rows], barycentric)

    def face_normals(self) -> F64:
        """(F, 3) unit normals; a triangle without area gets zeros."""
        a, b, c = np.moveaxis(self.vertices[self.faces], 1, 0)
        normals = np.cross(b - a, c - a)
        lengths = np.linalg.norm(normals, axis=1, keepdims=True)
        return np.asarray(normals / np.where(lengths > 0.0, lengths, 1.0))


def _morton(points: F64) -> NDArray[np.int64]:
    """(N,) place along a space-filling curve: neighbours in space become neighbours in order."""
    low = points.min(axis=0)
    cells = (points - low) / max(float(np.ptp(points, axis=0).max()), 1e-300)
    grid = (cells * (2**MORTON_BITS - 1)).astype(np.int64)
    code = np.zeros(len(points), np.int64)
    for bit in range(MORTON_BITS):
        for axis in range(3):
            code |= ((grid[:, axis] >> bit) & 1) << (3 * bit + axis)
    return code


def _boxes(corners: F64) -> tuple[F64, F64]:
    """Lowest and highest corners (B, 3) of all boxes, root first, bottom up from the leaves."""
    leaves = 1 << max(0, math.ceil(math.log2(max(1, math.ceil(len(corners) / LEAF)))))
    low = np.full((2 * leaves - 1, 3), np.inf)
    high = np.full((2 * leaves - 1, 3), -np.inf)
    leaf = leaves - 1 + np.arange(len(corners)) // LEAF
    np.minimum.at(low, leaf, corners.min(axis=1))
    np.maximum.at(high, leaf, corners.max(axis=1))
    first = leaves - 1
    while first > 0:
        first //= 2
        children = slice(2 * first + 1, 4 * first + 3)
        low[first : 2 * first + 1] = low[children].reshape(-1, 2, 3).min(axis=1)
        high[first : 2 * first + 1] = high[children].reshape(-1, 2, 3).max(axis=1)
    return low, high


@njit(cache=True, nogil=True)
def _on_triangle(p: F64, t: F64) -> tuple[float, float]:
    """Barycentric weights of corners 1 and 2 of triangle ``t`` at its point closest to ``p``.

    Ericson, *Real-Time Collision Detection*, section 5.1.5: which corner, edge or inside of the
    triangle the point projects to. Scalars throughout: small arrays would be allocated.
    """
    abx, aby, abz = t[1, 0] - t[0, 0], t[1, 1] - t[0, 1], t[1, 2] - t[0, 2]
    acx, acy, acz = t[2, 0] - t[0, 0], t[2, 1] - t[0, 1], t[2, 2] - t[0, 2]
    apx, apy, apz = p[0] - t[0, 0], p[1] - t[0, 1], p[2] - t[0, 2]
    d1, d2 = abx * apx + aby * apy + abz * apz, acx * apx + acy * apy + acz * apz
    if d1 <= 0.0 and d2 <= 0.0:
        return 0.0, 0.0
    bpx, bpy, bpz = p[0] - t[1, 0], p[1] - t[1, 1], p[2] - t[1, 2]
    d3, d4 = abx * bpx + aby * bpy + abz * bpz, acx * bpx + acy * bpy + acz * bpz
    if d3 >= 0.0 and d4 <= d3:
        return 1.0, 0.0
    c = d1 * d4 - d3 * d2
    if c <= 0.0 and d1 >= 0.0 and d3 <= 0.0:
        return d1 / (d1 - d3), 0.0
    cpx, cpy, cpz = p[0] - t[2, 0], p[1] - t[2, 1], p[2] - t[2, 2]
    d5, d6 = abx * cpx + aby * cpy + abz * cpz, acx * cpx + acy * cpy + acz * cpz
    if d6 >= 0.0 and d5 <= d6:
        return 0.0, 1.0
    b = d5 * d2 - d1 * d6
    if b <= 0.0 and d2 >= 0.0 and d6 <= 0.0:
        return 0.0, d2 / (d2 - d6)
    a = d3 * d6 - d5 * d4
    if a <= 0.0 and d4 >= d3 and d5 >= d6:
        along = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        return 1.0 - along, along
    return b / (a + b + c), c / (a + b + c)


@njit(cache=True, nogil=True)
def _to_box(p: F64, low: F64, high: F64) -> float:
    """Squared distance from a point to a box; infinite for an empty one."""
    total = 0.0
    for axis in range(3):
        outside = max(low[axis] - p[axis], 0.0, p[axis] - high[axis])
        total += outside * outside
    return total


@njit(cache=True, nogil=True)
def _search(
    points: F64, corners: F64, low: F64, high: F64, found: F64, rows: I32, barycentric: F64
) -> None:
    leaves = (low.shape[0] + 1) // 2
    nodes, distances = np.empty(_DEEPEST, np.int64), np.empty(_DEEPEST)
    for i in range(points.shape[0]):
        p, best = points[i], np.inf
        nodes[0], distances[0], waiting = 0, _to_box(points[i], low[0], high[0]), 1
        while waiting > 0:
            waiting -= 1
            node = nodes[waiting]
            if distances[waiting] >= best:
                continue
            if node < leaves - 1:
                near, far = 2 * node + 1, 2 * node + 2
                to_near = _to_box(p, low[near], high[near])
                to_far = _to_box(p, low[far], high[far])
                if to_far < to_near:
                    near, far, to_near, to_far = far, near, to_far, to_near
                nodes[waiting], distances[waiting] = far, to_far
                nodes[waiting + 1], distances[waiting + 1] = near, to_near
                waiting += 2
                continue
            first = (node - leaves + 1) * LEAF
            for row in range(first, min(first + LEAF, corners.shape[0])):
                v, w = _on_triangle(p, corners[row])
                u = max(0.0, 1.0 - v - w)
                t = corners[row]
                x = u * t[0, 0] + v * t[1, 0] + w * t[2, 0]
                y = u * t[0, 1] + v * t[1, 1] + w * t[2, 1]
                z = u * t[0, 2] + v * t[1, 2] + w * t[2, 2]
                distance = (p[0] - x) ** 2 + (p[1] - y) ** 2 + (p[2] - z) ** 2
                if distance < best:
                    best, rows[i] = distance, row
                    found[i, 0], found[i, 1], found[i, 2] = x, y, z
                    barycentric[i, 0], barycentric[i, 1], barycentric[i, 2] = u, v, w
