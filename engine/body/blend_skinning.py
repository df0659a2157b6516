"""The per-frame kernel: expression morphs, linear blend skinning, translation, normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.avatar.topology import FusedAvatar
from engine.body.kinematics import forward_kinematics
from engine.errors import AvatarError
from engine.fusion.normals import vertex_normals
from engine.types import ARKIT_NAMES, F32, I32, AvatarState, FusedMesh

RING_LENGTH = 3
"""A posed mesh stays untouched while the next two are made."""


@njit(cache=True, nogil=True, fastmath=True)
def skin(
    rest: F32,
    morph_starts: I32,
    morph_actions: I32,
    morph_offsets: F32,
    expression: F32,
    skin_starts: I32,
    skin_joints: I32,
    skin_weights: F32,
    transforms: F32,
    translation: F32,
    out: F32,
) -> None:
    """``v = sum_k w_k T_{j_k} (rest + sum_e expression_e offset_e) + translation`` (eqs 7-8).

    Args:
        rest: (V, 3).
        morph_starts: (V + 1,) rows of the sparse morphs.
        morph_actions: (N,) columns.
        morph_offsets: (N, 3) metres at full activation.
        expression: (52,).
        skin_starts: (V + 1,) rows of the sparse weights.
        skin_joints: (M,) columns.
        skin_weights: (M,).
        transforms: (J, 3, 4) rest to posed, from ``forward_kinematics``.
        translation: (3,).
        out: (V, 3), overwritten.
    """
    for v in range(rest.shape[0]):
        x, y, z = rest[v, 0], rest[v, 1], rest[v, 2]
        for n in range(morph_starts[v], morph_starts[v + 1]):
            e = expression[morph_actions[n]]
            x += e * morph_offsets[n, 0]
            y += e * morph_offsets[n, 1]
            z += e * morph_offsets[n, 2]
        px, py, pz = translation[0], translation[1], translation[2]
        for m in range(skin_starts[v], skin_starts[v + 1]):
            t = transforms[skin_joints[m]]
            w = skin_weights[m]
            px += w * (t[0, 0] * x + t[0, 1] * y + t[0, 2] * z + t[0, 3])
            py += w * (t[1, 0] * x + t[1, 1] * y + t[1, 2] * z + t[1, 3])
            pz += w * (t[2, 0] * x + t[2, 1] * y + t[2, 2] * z + t[2, 3])
        out[v, 0], out[v, 1], out[v, 2] = px, py, pz


@dataclass(frozen=True, slots=True)
class Workspace:
    """Buffers and the compressed skin of one avatar: whatever a frame would have to allocate."""

    skin_starts: I32
    """(V + 1,)."""
    skin_joints: I32
    """(M,): only influences with a weight."""
    skin_weights: F32
    """(M,)."""
    transforms: F32
    """(J, 3, 4), overwritten each frame."""

    @staticmethod
    def of(avatar: FusedAvatar) -> Workspace:
        """Compress the (V, K) weight table to the entries that are not zero."""
        used = avatar.skin_weights > 0
        starts = np.concatenate([[0], np.cumsum(used.sum(axis=1))]).astype(np.int32)
        return Workspace(
            skin_starts=starts,
            skin_joints=np.ascontiguousarray(avatar.skin_joints[used], np.int32),
            skin_weights=np.ascontiguousarray(avatar.skin_weights[used], np.float32),
            transforms=np.zeros((len(avatar.parents), 3, 4), np.float32),
        )


def pose_avatar(
    avatar: FusedAvatar,
    rotations_xyzw: F32,
    translation_m: F32,
    expression: F32,
    workspace: Workspace,
    vertices_m: F32,
    normals: F32,
) -> None:
    """Pose the avatar into ``vertices_m`` and ``normals``, both (V, 3) and overwritten.

    Args:
        avatar: what to pose.
        rotations_xyzw: (J, 4) float32, as in :class:`engine.types.AvatarState`.
        translation_m: (3,) float32.
        expression: (52,) float32.
        workspace: this avatar's buffers; ``workspace.transforms`` holds the joints afterwards.
        vertices_m: output.
        normals: output.
    """
    w = workspace
    forward_kinematics(rotations_xyzw, avatar.joints_m, avatar.parents, w.transforms)
    skin(
        avatar.rest_vertices_m,
        avatar.morph_starts,
        avatar.morph_actions,
        avatar.morph_offsets_m,
        expression,
        w.skin_starts,
        w.skin_joints,
        w.skin_weights,
        w.transforms,
        translation_m,
        vertices_m,
    )
    vertex_normals(vertices_m, avatar.topology.faces, normals)


class Poser:
    """Poses one avatar again and again without allocating.

    A mesh it returned stays valid until :data:`RING_LENGTH` further calls. Not thread-safe.
    """

    def __init__(self, avatar: FusedAvatar) -> None:
        self.avatar = avatar
        self.workspace = Workspace.of(avatar)
        shape = (RING_LENGTH, *avatar.rest_vertices_m.shape)
        self._vertices = np.zeros(shape, np.float32)
        self._normals = np.zeros(shape, np.float32)
        self._next = 0

    def pose(self, state: AvatarState) -> FusedMesh:
        """The avatar's mesh in this state.

        Raises:
            AvatarError: the state has another number of joints or expressions.
        """
        rotations, translation, expression = self._checked(state)
        vertices, normals = self._vertices[self._next], self._normals[self._next]
        self._next = (self._next + 1) % RING_LENGTH
        pose_avatar(
            self.avatar, rotations, translation, expression, self.workspace, vertices, normals
        )
        return FusedMesh(
            index=state.index,
            captured_at_ns=state.captured_at_ns,
            vertices_m=vertices,
            normals=normals,
            topology=self.avatar.topology,
        )

    def _checked(self, state: AvatarState) -> tuple[F32, F32, F32]:
        joints, actions = len(self.avatar.parents), len(ARKIT_NAMES)
        rotations = np.ascontiguousarray(state.rotations_xyzw, np.float32)
        translation = np.ascontiguousarray(state.translation_m, np.float32)
        expression = np.ascontiguousarray(state.expression, np.float32)
        shapes = (rotations.shape, translation.shape, expression.shape)
        if shapes != ((joints, 4), (3,), (actions,)):
            raise AvatarError(
                f"the avatar has {joints} joints and {actions} expressions, but the state holds "
                f"arrays of shapes {shapes}; pose it with a state made for this avatar"
            )
        return rotations, translation, expression
