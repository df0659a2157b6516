"""Expressions of one head carried over to another: deformation transfer.

Sumner and Popovic, *Deformation transfer for triangle meshes* (2004), in its gradient-domain form
(Botsch, Sumner, Pauly, Gross 2006): each triangle of the target should deform as its counterpart
on the source does, and the vertices that come closest to that in least squares solve one sparse
Poisson system. Where lips touch, some counterparts are on the wrong lip; their neighbours outvote
them, because how a triangle deforms counts far more than where its corners go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.fusion.closest_point import SurfaceTree
from engine.fusion.registration import vertex_areas
from engine.types import F64, I32

HOLD = 0.003
"""Weight of a vertex' interpolated offset beside its triangles' gradients: gradients alone leave
the whole surface free to slide."""
ALIKE = 0.3
"""Cosine of normals below which a counterpart lies on another fold of the skin,"""
MISLED = 0.1
"""and the triangle is asked, with this weight, to go along with its neighbours."""


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
    used, inverse = np.unique(faces, return_inverse=True)
    rows: I32 = inverse.reshape(-1, 3).astype(np.int32)
    skin = SurfaceTree(target[used], rows)
    moved = _solve(skin, _Asked.of(source, offsets, skin))
    carried = np.zeros((len(offsets), len(target), 3))
    carried[:, used] = moved.reshape(len(used), -1, 3).transpose(1, 0, 2)
    return carried


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the counterparts ask of the target's skin, expressions side by side in columns."""

    gradients: F64
    """(3G, 3K) of each triangle's offsets along the surface."""
    offsets: F64
    """(U, 3K) of each vertex."""
    trust: F64
    """(G,) less where a triangle's counterpart faces another way."""

    @staticmethod
    def of(source: SurfaceTree, offsets: F64, skin: SurfaceTree) -> _Asked:
        columns = offsets.transpose(1, 0, 2).reshape(offsets.shape[1], -1)
        partner = source.closest(skin.vertices[skin.faces].mean(axis=1))
        alike = (skin.face_normals() * source.face_normals()[partner.triangles]).sum(axis=1)
        hats = _hat_gradients(source)[partner.triangles]
        corners = columns[source.faces[partner.triangles]]
        gradients = np.einsum("gcd,gce->gde", hats, corners) * (alike > ALIKE)[:, None, None]
        places = source.closest(skin.vertices).interpolate(source.faces, columns)
        gradients = gradients.reshape(-1, columns.shape[1])
        return _Asked(gradients, places, np.where(alike > ALIKE, 1.0, MISLED))


def _solve(skin: SurfaceTree, asked: _Asked) -> F64:
    """(U, 3K) minimiser of the weighted squared differences to what is asked."""
    from scipy.sparse import diags
    from scipy.sparse.linalg import splu

    gradient = _gradient(skin)
    weighted = gradient.T.multiply(np.repeat(_areas(skin) * asked.trust, 3)).tocsr()
    hold = HOLD * vertex_areas(skin.vertices, skin.faces) / _mean_edge(skin) ** 2
    system = splu((weighted @ gradient + diags(hold)).tocsc())
    return np.asarray(system.solve(weighted @ asked.gradients + hold[:, None] * asked.offsets))


def _hat_gradients(mesh: SurfaceTree) -> F64:
    """(F, 3, 3): for each corner the gradient, along the surface, of its linear hat function."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    normals = np.cross(b - a, c - a)
    squared = np.maximum((normals**2).sum(axis=1, keepdims=True), 1e-30)
    opposite = (c - b, a - c, b - a)
    return np.stack([np.cross(normals, edge) / squared for edge in opposite], axis=1)


def _gradient(mesh: SurfaceTree) -> Any:
    """Sparse (3F, V): takes a value at each vertex to its gradient in each triangle."""
    from scipy.sparse import csr_matrix

    count = len(mesh.faces)
    shape = (count, 3, 3)  # triangle, corner, axis
    rows = np.broadcast_to(3 * np.arange(count)[:, None, None] + np.arange(3), shape)
    columns = np.broadcast_to(mesh.faces[:, :, None], shape)
    entries = (_hat_gradients(mesh).ravel(), (rows.ravel(), columns.ravel()))
    return csr_matrix(entries, shape=(3 * count, len(mesh.vertices)))


def _areas(mesh: SurfaceTree) -> F64:
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return np.asarray(np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2.0)


def _mean_edge(mesh: SurfaceTree) -> float:
    corners = mesh.vertices[mesh.faces]
    return float(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).mean())
