"""The fused avatar at rest: one skinned, morphable mesh with a topology that never changes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from engine.types import F32, I32, U8


class Region(IntEnum):
    """Where a fused vertex came from."""

    BODY = 0
    FACE = 1
    SEAM = 2


@dataclass(frozen=True, slots=True)
class Topology:
    """Decided once per body model: connectivity, texture coordinates, the seam.

    Geometry lives on V vertices, watertight across texture seams. Drawing needs R >= V vertices,
    because a vertex on a texture seam has several texture coordinates.
    """

    faces: I32
    """(F, 3) triangles over the V vertices, counter-clockwise seen from outside."""
    regions: U8
    """(V,) of :class:`Region`."""
    seam_edges: I32
    """(E, 2): the edges along which face patch and body meet; each has exactly two faces."""
    render_vertices: I32
    """(R,): which of the V vertices each drawn vertex is."""
    render_uvs: F32
    """(R, 2), glTF convention: (0, 0) is the texture's top-left."""
    render_faces: I32
    """(F, 3): the same triangles over the R drawn vertices."""


@dataclass(frozen=True, slots=True)
class FusedAvatar:
    """Everything that is needed to pose an avatar: what the base GLB carries.

    ``v = sum_k w_k T_{j_k} (rest + sum_e expression_e * offset_e) + translation`` with
    ``T_j`` the joint's global rotation about its rest position (eqs 7-8, linear blend skinning).
    """

    topology: Topology
    rest_vertices_m: F32
    """(V, 3) in Anny's rest pose, glTF axes, feet near y = 0."""
    joints_m: F32
    """(J, 3) rest positions of the joints."""
    joint_names: tuple[str, ...]
    parents: I32
    """(J,), -1 for the root; parents come before children."""
    skin_joints: I32
    """(V, K)."""
    skin_weights: F32
    """(V, K), rows sum to 1; unused slots have weight 0."""
    morph_starts: I32
    """(V + 1,): the morph entries of vertex v are morph_starts[v]:morph_starts[v + 1]."""
    morph_actions: I32
    """(N,): index into ARKIT_NAMES."""
    morph_offsets_m: F32
    """(N, 3): offset at full activation."""
    texture: U8 | None
    """(H, W, 3) RGB albedo in the topology's UV space, or None."""
    identity_version: int
