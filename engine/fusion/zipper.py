"""Bridging two open boundaries with new vertices and triangles: SARS post-processing (ii).

Two loops of any lengths are first triangulated between them so that the rungs are shortest in
total (Fuchs, Kedem and Uselton 1977, on planar contours; the search is theirs). Then every rung
gets a vertex in its middle, on the cubic that leaves each side along that side's surface: slope is
continuous over the bridge. A bridge vertex is a fixed linear combination of the vertices around,
so that it follows every shape and every expression.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.types import F64, I32

LONGEST_TANGENT = 2.0
"""In lengths of the edge that it prolongs: a narrow triangle at the border must not fling it."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """B = n + m new vertices and the triangles that close the gap."""

    faces: I32
    """(3 B, 3) over all vertices; bridge vertex k is ``first + k``."""
    ring: I32
    """(B,) the bridge's vertices,"""
    following: I32
    """(B,) and which of them comes next around its loop."""
    sources: I32
    """(B, S): the vertices that each bridge vertex is made of; unused slots repeat one."""
    weights: F64
    """(B, S), rows sum to 1, 0 in unused slots."""


def rungs_between(inner: F64, outer: F64) -> I32:
    """The closed zipper between two loops that has the least total length.

    Args:
        inner: (n, 3) a loop.
        outer: (m, 3) another, which runs the same way around.

    Returns:
        (n + m, 2): which inner and outer place each rung joins; from one rung to the next exactly
        one of the two goes ahead, and after the last comes the first.
    """
    lengths = np.linalg.norm(inner[:, None] - outer[None], axis=2)
    i, j = np.unravel_index(np.argmin(lengths), lengths.shape)
    turned = np.roll(np.roll(lengths, -i, axis=0), -j, axis=1)
    closed = np.pad(turned, ((0, 1), (0, 1)), mode="wrap")
    path = _shortest_path(np.ascontiguousarray(closed))
    rungs = (path[:-1] + np.array([i, j])) % np.array(lengths.shape)
    return np.asarray(rungs, np.int32)


@njit(cache=True, nogil=True)
def _shortest_path(lengths: F64) -> I32:
    """(n + m + 1, 2) the cheapest staircase from the first corner of a table to the last."""
    n, m = lengths.shape[0] - 1, lengths.shape[1] - 1
    cost = np.empty((n + 1, m + 1))
    from_left = np.zeros((n + 1, m + 1), np.bool_)
    for i in range(n + 1):
        for j in range(m + 1):
            before = 0.0
            if i > 0 and (j == 0 or cost[i - 1, j] <= cost[i, j - 1]):
                before = cost[i - 1, j]
            elif j > 0:
                before = cost[i, j - 1]
                from_left[i, j] = True
            cost[i, j] = before + lengths[i, j]
    path = np.empty((n + m + 1, 2), np.int32)
    i, j = n, m
    for step in range(n + m, -1, -1):
        path[step, 0], path[step, 1] = i, j
        if from_left[i, j]:
            j -= 1
        else:
            i -= 1
    return path


def bridges(faces: I32, gaps: list[tuple[I32, I32]], vertices: F64) -> Bridge:
    """Close several gaps, each between two loops as :func:`bridge` takes them."""
    parts: list[Bridge] = []
    first = len(vertices)
    for inner, outer in gaps:
        parts.append(bridge(faces, inner, outer, vertices, first))
        first += len(parts[-1].ring)
    width = max(part.sources.shape[1] for part in parts)
    spare = [((0, 0), (0, width - part.sources.shape[1])) for part in parts]
    return Bridge(
        np.concatenate([part.faces for part in parts]),
        np.concatenate([part.ring for part in parts]),
        np.concatenate([part.following for part in parts]),
        np.concatenate([np.pad(p.sources, s, "edge") for p, s in zip(parts, spare, strict=True)]),
        np.concatenate([np.pad(p.weights, s) for p, s in zip(parts, spare, strict=True)]),
    )


def bridge(faces: I32, inner: I32, outer: I32, vertices: F64, first: int | None = None) -> Bridge:
    """Close the gap between two loops of one mesh.

    Args:
        faces: (F, 3) both open meshes.
        inner: (n,) boundary vertices, each edge directed as its triangle has it.
        outer: (m,) the other boundary, directed likewise: it runs the other way around.
        vertices: (V, 3) where everything is at rest; decides the rungs and the slopes.
        first: number of the first new vertex; V where it is not given.
    """
    outer = outer[::-1]
    rungs = rungs_between(vertices[inner], vertices[outer])
    a, b = inner[rungs[:, 0]], outer[rungs[:, 1]]
    first = len(vertices) if first is None else first
    ring = first + np.arange(len(rungs), dtype=np.int32)
    following = np.roll(ring, -1)
    ahead = np.roll(a, -1) != a
    a_next, b_next = np.roll(a, -1), np.roll(b, -1)
    steps_a = _triangles((a_next, a, ring), (a_next, ring, following), (following, ring, b))
    steps_b = _triangles((a, ring, following), (following, ring, b), (following, b, b_next))
    triangles = np.where(ahead[:, None, None], steps_a, steps_b).reshape(-1, 3)
    sources, weights = _middles(faces, a, b, vertices)
    return Bridge(triangles.astype(np.int32), ring, following, sources, weights)


def _triangles(*corners: tuple[I32, I32, I32]) -> I32:
    """(B, 3, 3) three triangles for each step."""
    return np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)


def _middles(faces: I32, a: I32, b: I32, vertices: F64) -> tuple[I32, F64]:
    """Where the rungs' middles are: ``(a + b) / 2 + L (t_a + t_b) / 8`` on a cubic of length L."""
    inside = {**_inside_of(faces, np.unique(a)), **_inside_of(faces, np.unique(b))}
    along_a, along_b = (_directions(loop, vertices) for loop in (a, b))
    rows, values = [], []
    for one, other, own, theirs in zip(a.tolist(), b.tolist(), along_a, along_b, strict=True):
        rung = vertices[other] - vertices[one]
        length = float(np.linalg.norm(rung))
        sources, weights = [one, other], [0.5, 0.5]
        for place, along in ((one, own), (other, theirs)):
            behind, shares = _straight_behind(vertices, place, inside[place], rung, along)
            edge = float(np.linalg.norm(vertices[place] - shares @ vertices[behind]))
            slope = min(length / max(edge, 1e-9), LONGEST_TANGENT) / 8.0
            sources += [place, *behind]
            weights += [slope, *(-slope * shares)]
        rows.append(sources)
        values.append(weights)
    width = max(map(len, rows))
    padded = np.array([row + row[:1] * (width - len(row)) for row in rows], np.int32)
    return padded, np.array([v + [0.0] * (width - len(v)) for v in values])


def _directions(loop: I32, vertices: F64) -> F64:
    """(B, 3) where each place of a loop with repeated vertices goes: from its last to its next."""
    distinct = loop[np.flatnonzero(loop != np.roll(loop, 1))]
    ahead = vertices[np.roll(distinct, -1)] - vertices[np.roll(distinct, 1)]
    table = dict(zip(distinct.tolist(), ahead, strict=True))
    return np.array([table[v] for v in loop.tolist()])


def _straight_behind(
    vertices: F64, place: int, inside: list[int], rung: F64, along: F64
) -> tuple[list[int], F64]:
    """One or two vertices, and their shares, whose mean lies behind a place as seen down the rung.

    A tangent that leaned to the side would push a rung's middle over its neighbour's: a fold.
    """
    sideways = along - rung * (along @ rung) / max(float(rung @ rung), 1e-18)
    offsets = (vertices[inside] - vertices[place]) @ sideways
    left, right = int(np.argmin(offsets)), int(np.argmax(offsets))
    if offsets[left] < 0.0 < offsets[right]:
        share = offsets[right] / (offsets[right] - offsets[left])
        return [inside[left], inside[right]], np.array([share, 1.0 - share])
    return [place], np.ones(1)


def _inside_of(faces: I32, loop: I32) -> dict[int, list[int]]:
    """The neighbours of each boundary vertex that are not on the boundary.

    A vertex in a corner has none; its neighbours' neighbours are taken along the boundary.
    """
    on_loop = set(loop.tolist())
    around: dict[int, set[int]] = {v: set() for v in on_loop}
    for face in faces[np.isin(faces, loop).any(axis=1)].tolist():
        for corner in face:
            if corner in around:
                around[corner].update(face)
    inside = {v: sorted(n - on_loop) for v, n in around.items()}
    for v, found in inside.items():
        if not found:
            beside = [n for n in around[v] if n != v and n in on_loop]
            inside[v] = sorted({deep for n in beside for deep in around[n] - on_loop}) or [v]
    return inside
