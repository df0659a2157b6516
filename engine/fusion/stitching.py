"""Triangles where some edges were split: the dense patch and the strip that stitches it.

A triangle with all three sides split belongs to the patch and becomes four. One with one or two
split sides lies in the strip between the patch and the body and becomes two or three, so that it
meets the patch's fine boundary on one side and the body's coarse one on the others. Every child
keeps its parent's orientation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.types import F32, I32

Corners = tuple[tuple[int, int, int], ...]
"""Children as corners of the parent: 0, 1, 2 its own, 3, 4, 5 the middles of its sides."""
QUARTERS: Corners = ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5))


@dataclass(frozen=True, slots=True)
class Retriangulation:
    """The triangles of the stitched mesh and which triangle each came from."""

    faces: I32
    """(F', 3)."""
    corners: I32
    """(F', 3): which of the parent's six points each corner is, as in :data:`Corners`."""
    parents: I32
    """(F',)."""


def edge_keys(edges: I32) -> NDArray[np.int64]:
    """One number per undirected edge."""
    low, high = np.sort(edges, axis=1).astype(np.int64).T
    return np.asarray(low << 32 | high)


def boundary_edges(faces: I32) -> I32:
    """(E, 2) edges with only one triangle, directed as that triangle has them."""
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    _, index, count = np.unique(edge_keys(directed), return_index=True, return_counts=True)
    return np.asarray(directed[index[count == 1]], np.int32)


def split_edges(faces: I32, dense: NDArray[np.bool_]) -> tuple[I32, I32]:
    """The edges of the dense triangles, and which side of which triangle they are.

    Args:
        faces: (F, 3); side s runs from corner s to corner s + 1.
        dense: (F,) the triangles whose three sides are split.

    Returns:
        (M, 2) edges, the smaller vertex first, and (F, 3) each side's edge number or -1.
    """
    keys = edge_keys(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)).reshape(-1, 3)
    chosen = np.unique(keys[dense])
    number = np.minimum(np.searchsorted(chosen, keys), len(chosen) - 1)
    number = np.where(chosen[number] == keys, number, -1)
    edges = np.stack([chosen >> 32, chosen & 0xFFFFFFFF], axis=1)
    return edges.astype(np.int32), number.astype(np.int32)


def retriangulate(faces: I32, splits: I32, positions: F32) -> Retriangulation:
    """Split every triangle by the sides that have a new vertex.

    Args:
        faces: (F, 3).
        splits: (F, 3) the fused index of the new vertex on each side, or -1.
        positions: (V, 3) of old and new vertices: a quadrilateral gets its shorter diagonal.
    """
    points = np.concatenate([faces, splits], axis=1)
    pattern = (splits >= 0) @ np.array([1, 2, 4])
    corners, parents = [], []
    for code in range(8):
        rows = np.flatnonzero(pattern == code)
        first, second, diagonals = _children(code)
        a, b, c, d = (positions[points[rows, i]] for i in diagonals)
        shorter = np.sum((a - b) ** 2, axis=1) <= np.sum((c - d) ** 2, axis=1)
        for chosen, table in ((rows[shorter], first), (rows[~shorter], second)):
            corners.append(np.tile(np.array(table, np.int32), (len(chosen), 1)))
            parents.append(np.repeat(chosen, len(table)))
    parent = np.concatenate(parents)
    order = np.argsort(parent, kind="stable")
    corner, parent = np.concatenate(corners)[order], parent[order]
    children = np.take_along_axis(points[parent], corner.astype(np.int64), axis=1)
    return Retriangulation(
        children.astype(np.int32), corner.astype(np.int32), parent.astype(np.int32)
    )


def _children(code: int) -> tuple[Corners, Corners, tuple[int, int, int, int]]:
    """Both ways to split a triangle, and the diagonals that decide: first's, then second's."""
    split = [bool(code & bit) for bit in (1, 2, 4)]
    same = (0, 0, 0, 0)
    if not any(split):
        return ((0, 1, 2),), ((0, 1, 2),), same
    if all(split):
        return QUARTERS, QUARTERS, same
    if sum(split) == 1:
        s = split.index(True)
        a, b, c = s, (s + 1) % 3, (s + 2) % 3
        two = ((a, 3 + s, c), (3 + s, b, c))
        return two, two, same
    # Side a-b is whole: corner c is cut off and the quadrilateral a, b, bc, ca remains.
    s = split.index(False)
    a, b, c = s, (s + 1) % 3, (s + 2) % 3
    bc, ca = 3 + b, 3 + c
    from_a = ((ca, bc, c), (a, b, bc), (a, bc, ca))
    from_b = ((ca, bc, c), (a, b, ca), (b, bc, ca))
    return from_a, from_b, (a, bc, b, ca)
