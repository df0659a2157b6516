"""Expressions of one head carried over to another: deformation transfer.

Sumner and Popovic, *Deformation transfer for triangle meshes* (2004), in its gradient-domain form
(Botsch, Sumner, Pauly, Gross 2006): each triangle of the target should deform as its counterpart
on the source does, and the vertices that come closest to that in least squares solve one sparse
Poisson system. A few wrong counterparts, as where lips touch, are outvoted by their neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.fusion.closest_point import SurfaceTree
from engine.fusion.registration import vertex_areas
from engine.types import F64, I32

HOLD = 0.02
"""Weight of a vertex' interpolated offset beside its triangles' gradients: gradients alone leave
the whole surface free to slide."""
ALIKE = 0.3
"""Cosine of normals below which a counterpart lies on another fold of the skin,"""
MISLED = 1e-3
"""and then has this weight."""


def transfer(source: SurfaceTree, offsets: F64, target: F64, faces: I32) -> F64:
    """Carry offsets over.

    Args:
        source: the source's skin, laid onto the target.
        offsets: (K, V, 3) how K expressions move the source's vertices, in the same coordinates.
        target: (W, 3) vertices.
        faces: (G, 3) the target's skin.

    Returns:
        (K, W, 3), zero for vertices that no face uses.
    """
    from scipy.sparse.linalg import splu

    used, inverse = np.unique(faces, return_inverse=True)
    rows: I32 = inverse.reshape(-1, 3).astype(np.int32)
    skin = SurfaceTree(target[used], rows)
    partner = source.closest(skin.vertices[rows].mean(axis=1))
    alike = (skin.face_normals() * source.face_normals()[partner.triangles]).sum(axis=1) > ALIKE
    weights = np.repeat(_areas(skin) * np.where(alike, 1.0, MISLED), 3)
    gradient = _sparse_gradient(skin)
    hold = HOLD * vertex_areas(skin.vertices, rows) / _mean_edge(skin) ** 2
    weighted = gradient.T.multiply(weights).tocsr()
    system = splu((weighted @ gradient + _diagonal(hold)).tocsc())
    place = source.closest(skin.vertices)
    hats = _hat_gradients(source)[partner.triangles]
    corners = source.faces[partner.triangles]
    carried = np.zeros((len(offsets), len(target), 3))
    for expression, moved in zip(offsets, carried, strict=True):
        wanted = np.einsum("gcd,gce->gde", hats, expression[corners]).reshape(-1, 3)
        held = place.interpolate(source.faces, expression)
        moved[used] = system.solve(weighted @ wanted + hold[:, None] * held)
    return carried


def _hat_gradients(mesh: SurfaceTree) -> F64:
    """(F, 3, 3): for each corner the gradient, along the surface, of its linear hat function."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    normals = np.cross(b - a, c - a)
    squared = np.maximum((normals**2).sum(axis=1, keepdims=True), 1e-30)
    opposite = (c - b, a - c, b - a)
    return np.stack([np.cross(normals, edge) / squared for edge in opposite], axis=1)


def _sparse_gradient(mesh: SurfaceTree) -> Any:
    """(3F, V): takes a value at each vertex to its gradient in each triangle."""
    from scipy.sparse import csr_matrix

    hats = _hat_gradients(mesh)
    count = len(mesh.faces)
    rows = np.broadcast_to(3 * np.arange(count)[:, None, None] + np.arange(3), (count, 3, 3))
    columns = np.broadcast_to(mesh.faces[:, :, None], (count, 3, 3))
    entries = (hats.ravel(), (rows.ravel(), columns.ravel()))
    return csr_matrix(entries, shape=(3 * count, len(mesh.vertices)))


def _diagonal(values: F64) -> Any:
    from scipy.sparse import diags

    return diags(values)


def _areas(mesh: SurfaceTree) -> F64:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2.0)


def _mean_edge(mesh: SurfaceTree) -> float:
    corners = mesh.vertices[mesh.faces]
    return float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).mean())
