"""Triangles in fans of four around a vertex, so that a kernel reads few vertices per triangle.

Four triangles one by one have twelve corners; in a fan around one vertex they have six points
between them. Whatever runs over all triangles of a mesh and is limited by reading and adding up
(normals are) halves its work. The cover is greedy: a fan is laid, and then the corners that this
leaves with exactly four triangles in a row are taken before any other, so that few are left over.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.types import I32

Mask: TypeAlias = NDArray[np.bool_]

FAN = 4
"""Triangles per fan. Measured on the fused body: 5% of the places stay empty; of longer fans a
quarter would, and shorter ones share less."""


def cover_with_fans(faces: I32, vertex_count: int) -> I32:
    """Every triangle in exactly one fan.

    Args:
        faces: (F, 3) triangles.
        vertex_count: how many vertices there are.

    Returns:
        (N, FAN + 2): a centre c and a rim r_0 ... r_FAN, in the order of the centres. Triangle k
        is (c, r_k, r_k+1). What a short fan lacks is filled with c itself: a triangle of no area.
    """
    starts, corners = _corners_of_vertices(faces, vertex_count)
    following, preceding = _around(faces, starts, corners)
    fans = _cover(faces, starts, corners, following, preceding)
    return np.asarray(fans[np.argsort(fans[:, 0], kind="stable")])


@njit(cache=True, nogil=True)
def _corners_of_vertices(faces: I32, vertex_count: int) -> tuple[I32, I32]:
    """(V + 1,) and (3F,): vertex v has the corners ``corners[starts[v]:starts[v + 1]]``.

    Corner 3 f + k is that of triangle f at its vertex k.
    """
    starts = np.zeros(vertex_count + 1, np.int32)
    for v in faces.flat:
        starts[v + 1] += 1
    starts = np.cumsum(starts).astype(np.int32)
    filled, corners = starts.copy(), np.empty(faces.size, np.int32)
    for corner in range(faces.size):
        v = faces[corner // 3, corner % 3]
        corners[filled[v]] = corner
        filled[v] += 1
    return starts, corners


@njit(cache=True, nogil=True)
def _around(faces: I32, starts: I32, corners: I32) -> tuple[I32, I32]:
    """(3F,) the next and the last corner around the same vertex, counter-clockwise, or -1.

    Where more than two triangles share an edge only one follows: no walk runs in circles that
    do not lead back to where it began.
    """
    following, preceding = np.full(faces.size, -1, np.int32), np.full(faces.size, -1, np.int32)
    for corner in range(faces.size):
        triangle, own = corner // 3, corner % 3
        v, behind = faces[triangle, own], faces[triangle, (own + 2) % 3]
        for other in corners[starts[v] : starts[v + 1]]:
            if faces[other // 3, (other % 3 + 1) % 3] == behind and preceding[other] < 0:
                following[corner], preceding[other] = other, corner
                break
    return following, preceding


@njit(cache=True, nogil=True)
def _cover(faces: I32, starts: I32, corners: I32, following: I32, preceding: I32) -> I32:
    """Longest fans first; around each, those that now fit exactly."""
    free = np.ones(len(faces), np.bool_)
    fans = np.empty((len(faces), FAN + 2), np.int32)
    waiting = np.empty((FAN + 2) * len(faces) + 1, np.int32)
    count = 0
    for size in range(FAN, 0, -1):
        for seed in range(len(starts) - 1):
            waiting[0], left = seed, 1
            while left > 0:
                left -= 1
                v = waiting[left]
                for s in range(starts[v], starts[v + 1]):
                    if not free[corners[s] // 3]:
                        continue
                    first, length = _free_run(corners[s], free, following, preceding)
                    if length == size or (length > size and v == seed):
                        _lay(first, size, faces, free, following, fans[count])
                        waiting[left : left + size + 1] = fans[count, 1 : size + 2]
                        left += size + 1
                        count += 1
    return fans[:count]


@njit(cache=True, nogil=True)
def _free_run(corner: int, free: Mask, following: I32, preceding: I32) -> tuple[int, int]:
    """First corner and length of the free triangles in a row around a corner's vertex."""
    first = corner
    while True:
        before = preceding[first]
        if before < 0 or before == corner or not free[before // 3]:
            break
        first = before
    length, at = 1, following[first]
    while at >= 0 and at != first and free[at // 3]:
        length += 1
        at = following[at]
    return first, length


@njit(cache=True, nogil=True)
def _lay(first: int, size: int, faces: I32, free: Mask, following: I32, fan: I32) -> None:
    """Take ``size`` triangles from the corner ``first`` on."""
    fan[:] = faces[first // 3, first % 3]
    at = first
    for k in range(size):
        triangle, own = at // 3, at % 3
        fan[k + 1] = faces[triangle, (own + 1) % 3]
        fan[k + 2] = faces[triangle, (own + 2) % 3]
        free[triangle] = False
        at = following[at]
