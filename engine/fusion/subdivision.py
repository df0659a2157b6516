"""Denser face: one new vertex per edge, placed by a fixed stencil on the curved surface.

Splitting edges at their straight middle adds triangles but no shape. Here the surface around an
edge is fitted by a quadratic in the tangent plane (moving least squares, Levin 1998) and the new
vertex is put on it. The fit's weights depend only on the template, so a new vertex is a fixed
linear combination of old ones: shape and expression stay linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.fusion.stitching import QUARTERS
from engine.types import F32, I32

Floats: TypeAlias = NDArray[np.floating[Any]]

FOLD_COSINE = 0.5
"""Neighbours whose normal turns further away (lips, eyelid margins) do not take part."""
LARGEST_WEIGHT_SUM = 1.6
"""A stencil whose absolute weights sum to more extrapolates; the straight middle replaces it."""
SMALLEST_TURN_COSINE = 0.5
"""A child triangle that turns further away from its parent counts as folded."""
MOST_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Stencils:
    """M new vertices as linear combinations of old ones; rows sum to 1."""

    sources: I32
    """(M, S) old vertices; unused slots repeat the first."""
    weights: F32
    """(M, S), 0 in unused slots."""

    def apply(self, values: F32) -> F32:
        """Interpolate (V, C) values of the old vertices to (M, C)."""
        result = np.zeros((len(self.sources), values.shape[1]), np.float32)
        for source, weight in zip(self.sources.T, self.weights.T, strict=True):
            result += weight[:, None] * values[source]
        return result

    def rows(self, chosen: NDArray[np.bool_]) -> Stencils:
        """Some of the stencils."""
        return Stencils(self.sources[chosen], self.weights[chosen])


def curved_midpoints(edges: I32, faces: I32, vertices: F32, normals: F32) -> Stencils:
    """Stencils that put a vertex on the surface above the middle of each edge.

    Args:
        edges: (M, 2) the edges to split.
        faces: (F, 3) all triangles of the body.
        vertices: (V, 3) template positions.
        normals: (V, 3) template normals.
    """
    sources, used = _edge_rings(edges, faces, len(vertices))
    middle = vertices[edges].mean(axis=1)
    normal = normals[edges].sum(axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    offsets = (vertices[sources] - middle[:, None]) / np.maximum(length, 1e-9)[:, None, None]
    facing = np.einsum("mkc,mc->mk", normals[sources], normal) > FOLD_COSINE
    weights = _quadratic_weights(offsets, normal, used & facing)
    bad = ~np.isfinite(weights).all(axis=1) | (np.abs(weights).sum(axis=1) > LARGEST_WEIGHT_SUM)
    weights = np.where(bad[:, None], _straight(weights), weights)
    return Stencils(sources, np.asarray(weights, np.float32))


def without_folds(stencils: Stencils, faces: I32, splits: I32, shapes: Sequence[F32]) -> Stencils:
    """Straighten the stencils of triangles whose children would fold over.

    Where skin folds tightly (eyelid margins, nostrils, corners of the mouth) a curved surface can
    overshoot. With all three middles straight the children lie in their parent's plane, so
    straightening ends every fold.

    Args:
        stencils: for the new vertices.
        faces: (F, 3).
        splits: (F, 3) the stencil on each side, or -1.
        shapes: body vertices (V, 3) of the people and expressions to look at.
    """
    patch = splits.min(axis=1) >= 0
    corners, middles = faces[patch], splits[patch]
    bad = np.zeros(len(stencils.sources), bool)
    for _ in range(MOST_ROUNDS):
        before = bad.sum()
        # What is straightened for one shape may fold another, so all are looked at again.
        for shape in shapes:
            points = np.where(bad[:, None], shape[stencils.sources[:, :2]].mean(axis=1), 0)
            points[~bad] = stencils.rows(~bad).apply(shape)
            bad[middles[folded(shape[corners], points[middles])]] = True
        if bad.sum() == before:
            break
    weights = np.where(bad[:, None], _straight(stencils.weights), stencils.weights)
    return Stencils(stencils.sources, np.asarray(weights, np.float32))


def folded(corners: F32, middles: F32) -> NDArray[np.bool_]:
    """(F,) whether one of a triangle's four children turns too far away from it.

    Args:
        corners: (F, 3, 3) the triangle.
        middles: (F, 3, 3) the new vertices on its sides.
    """
    points = np.concatenate([corners, middles], axis=1)
    whole = _unit_normals(points[:, 0], points[:, 1], points[:, 2])
    result = np.zeros(len(points), bool)
    for a, b, c in QUARTERS:
        part = _unit_normals(points[:, a], points[:, b], points[:, c])
        result |= np.einsum("fc,fc->f", part, whole) < SMALLEST_TURN_COSINE
    return result


def _unit_normals(a: F32, b: F32, c: F32) -> F32:
    normal = np.cross(b - a, c - a)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-20))


def _straight(weights: Floats) -> Floats:
    """Weights of the straight middle: the first two sources are the edge's ends."""
    straight = np.zeros_like(weights)
    straight[:, :2] = 0.5
    return straight


def _edge_rings(edges: I32, faces: I32, count: int) -> tuple[I32, NDArray[np.bool_]]:
    """The two ends of each edge followed by their neighbours, padded, and which slots count."""
    rings, valence = _neighbours(faces, count)
    a, b = edges.T
    slot = np.arange(rings.shape[1])
    around_a, around_b = rings[a], rings[b]
    used_a = (slot < valence[a][:, None]) & (around_a != b[:, None])
    common = (around_b[:, :, None] == np.where(used_a, around_a, -1)[:, None, :]).any(axis=2)
    used_b = (slot < valence[b][:, None]) & (around_b != a[:, None]) & ~common
    used = np.concatenate([np.ones_like(edges, bool), used_a, used_b], axis=1)
    sources = np.where(used, np.concatenate([edges, around_a, around_b], axis=1), a[:, None])
    packed = np.argsort(~used, axis=1, kind="stable")[:, : int(used.sum(axis=1).max())]
    sources, used = (np.take_along_axis(table, packed, axis=1) for table in (sources, used))
    return np.asarray(sources, np.int32), used


def _neighbours(faces: I32, count: int) -> tuple[I32, NDArray[np.int64]]:
    """(V, largest valence) neighbours of each vertex, padded, and (V,) how many there are."""
    directed = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2).astype(np.int64)
    directed = np.concatenate([directed, directed[:, ::-1]])
    keys = np.unique(directed[:, 0] << 32 | directed[:, 1])
    vertex, neighbour = keys >> 32, keys & 0xFFFFFFFF
    valence = np.bincount(vertex, minlength=count)
    first = np.cumsum(valence) - valence
    rings = np.zeros((count, int(valence.max())), np.int32)
    rings[vertex, np.arange(len(vertex)) - first[vertex]] = neighbour
    return rings, valence


def _quadratic_weights(offsets: F32, normal: F32, used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(M, K) weights of the quadratic fit's value at the middle of the edge."""
    u_axis = offsets[:, 0] - np.einsum("mc,mc->m", offsets[:, 0], normal)[:, None] * normal
    u_axis = u_axis / np.maximum(np.linalg.norm(u_axis, axis=1, keepdims=True), 1e-9)
    u = np.einsum("mkc,mc->mk", offsets, u_axis).astype(np.float64)
    v = np.einsum("mkc,mc->mk", offsets, np.cross(normal, u_axis)).astype(np.float64)
    near = np.exp(-np.einsum("mkc,mkc->mk", offsets, offsets)) * used
    basis = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=-1)
    weighted = basis * near[..., None]
    # A little stiffness on the curvature terms keeps nearly planar rings solvable.
    stiffness = np.diag([0.0, 1e-6, 1e-6, 1e-3, 1e-3, 1e-3]) + 1e-12 * np.eye(6)
    moments = np.einsum("mki,mkj->mij", weighted, basis) + stiffness
    first = np.linalg.solve(moments, np.eye(6)[:, :1])[..., 0]
    weights = np.einsum("mki,mi->mk", weighted, first)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
