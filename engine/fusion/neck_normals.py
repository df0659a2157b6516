"""Normals of the body's neck on the fused mesh, its geometry unchanged (SARS post-processing iv).

A pasted face leaves the neck's vertices where they were, yet not their normals: these are means
over the triangles around, of which some now belong to the bridge or lean with it. What the body's
own surface says is better there, for a neck is smooth. The correction is a property of the rest
pose: the difference between the body's normal at the nearest place and the mesh's own, full on the
neck's side of the seam and faded out into the face. Each frame turns it with the skin
(:func:`corrected_normals`) and adds it, for the few hundred vertices that have one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.avatar.anny import BodyModel, RestShape
from engine.avatar.topology import FusedAvatar, Region
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.loops import closed_loops
from engine.fusion.normals import vertex_normals
from engine.types import F32, F64, I32

REACH_M = 0.03
"""From the seam down the neck."""
FADE_M = 0.012
"""From the seam into the face."""
SMALLEST = 0.004
"""A correction of less than a quarter of a degree is none."""


@dataclass(frozen=True, slots=True)
class NormalCorrections:
    """What to add to the normals of N vertices."""

    vertices: I32
    """(N,)."""
    offsets: F32
    """(N, 3) in the rest pose."""
    joints: I32
    """(N, K) the joints that turn them,"""
    weights: F32
    """(N, K) and by how much."""


def neck_corrections(avatar: FusedAvatar, model: BodyModel, rest: RestShape) -> NormalCorrections:
    """What the neck's normals lack on a fused avatar.

    Args:
        avatar: at rest.
        model: the body that it was fused on,
        rest: and that body's own shape, in the avatar's place.
    """
    vertices = avatar.rest_vertices_m
    own, wanted = np.zeros_like(vertices), np.zeros_like(rest.vertices_m)
    vertex_normals(vertices, avatar.topology.faces, own)
    vertex_normals(rest.vertices_m, model.faces, wanted)
    loop = vertices[closed_loops(avatar.topology.seam_edges)[0]].astype(np.float64)
    near = np.flatnonzero(_below(vertices, loop))
    reach = np.where(avatar.topology.regions[near] == Region.FACE, FADE_M, REACH_M)
    share = 1.0 - _distances(vertices[near], loop) / reach
    near, share = near[share > 0.0], share[share > 0.0]
    share = share * share * (3.0 - 2.0 * share)
    faces = _around(rest.vertices_m, model.faces, vertices[near])
    nearest = SurfaceTree(rest.vertices_m, faces).closest(vertices[near])
    target = nearest.interpolate(faces, wanted.astype(np.float64))
    target /= np.maximum(np.linalg.norm(target, axis=1, keepdims=True), 1e-12)
    offsets = share[:, None] * (target - own[near])
    kept = np.linalg.norm(offsets, axis=1) > SMALLEST
    # A nearest place on the other side of a fold says nothing about this one.
    kept &= (target * own[near]).sum(axis=1) > 0.5
    chosen = near[kept].astype(np.int32)
    return NormalCorrections(
        chosen,
        offsets[kept].astype(np.float32),
        np.ascontiguousarray(avatar.skin_joints[chosen]),
        np.ascontiguousarray(avatar.skin_weights[chosen]),
    )


def _below(vertices: F32, loop: F64) -> NDArray[np.bool_]:
    """(V,) the jaw's and the neck's side of the seam, within reach of it."""
    low, high = loop.min(axis=0), loop.max(axis=0)
    middle = (low[1] + high[1]) / 2
    inside = ((vertices > low - REACH_M) & (vertices < high + REACH_M)).all(axis=1)
    return np.asarray(inside & (vertices[:, 1] < middle))


@njit(cache=True, nogil=True)
def _distances(points: F32, loop: F64) -> F64:
    """(N,) from each of the points to the nearest of (H, 3) the loop's."""
    least = np.empty(points.shape[0])
    for i in range(points.shape[0]):
        square = np.inf
        for j in range(loop.shape[0]):
            x, y, z = (
                points[i, 0] - loop[j, 0],
                points[i, 1] - loop[j, 1],
                points[i, 2] - loop[j, 2],
            )
            square = min(square, x * x + y * y + z * z)
        least[i] = math.sqrt(square)
    return least


def _around(vertices: F32, faces: I32, points: F32) -> I32:
    """(G, 3) the triangles with a corner near the points' box: sorting all would take long."""
    low, high = points.min(axis=0) - REACH_M, points.max(axis=0) + REACH_M
    inside = ((vertices > low) & (vertices < high)).all(axis=1)
    return np.ascontiguousarray(faces[inside[faces].any(axis=1)])


@njit(cache=True, nogil=True, fastmath=True)
def corrected_normals(
    vertices: I32, offsets: F32, joints: I32, weights: F32, transforms: F32, normals: F32
) -> None:
    """Add the corrections to (V, 3) posed unit ``normals``, in place.

    Args:
        vertices: (N,), as are the next three, of :class:`NormalCorrections`.
        offsets: (N, 3).
        joints: (N, K).
        weights: (N, K).
        transforms: (J, 3, 4) rest-to-posed, of which the rotation counts.
        normals: output.
    """
    for n in range(vertices.shape[0]):
        v = vertices[n]
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        for k in range(joints.shape[1]):
            w = weights[n, k]
            if w > np.float32(0.0):
                t = transforms[joints[n, k]]
                a, b, c = w * offsets[n, 0], w * offsets[n, 1], w * offsets[n, 2]
                x += t[0, 0] * a + t[0, 1] * b + t[0, 2] * c
                y += t[1, 0] * a + t[1, 1] * b + t[1, 2] * c
                z += t[2, 0] * a + t[2, 1] * b + t[2, 2] * c
        scale = np.float32(1.0) / np.float32(math.sqrt(x * x + y * y + z * z + np.float32(1e-20)))
        normals[v, 0], normals[v, 1], normals[v, 2] = x * scale, y * scale, z * scale
