"""The face's skin as points spread evenly over it, and how each moves with an identity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.face.face_atlas import WINDOW, cover
from engine.types import ARKIT_NAMES, F32, I32

SIDE = 128
"""Texels per side of the face's square of texture space: 1.5 mm apart."""


@dataclass(frozen=True, slots=True)
class SkinTexels:
    """N points on Anny's face; K identity coefficients."""

    faces: I32
    """(F, 3) the head's skin: no eyeballs, no mouth's inside."""
    corners: I32
    """(N, 3) the vertices around each point."""
    barycentric: F32
    """(N, 3), rows sum to 1."""
    basis_m: F32
    """(3, N, K) how a point moves with each coefficient, relative to the head joint."""
    actions_m: F32
    """(52, N, 3) how a point moves with each action."""

    @staticmethod
    def of(model: BodyModel, side: int = SIDE) -> SkinTexels:
        """Spread points over the face of a body model.

        Args:
            model: with an identity basis.
            side: texels per side.
        """
        is_head = model.face_parts == PART_NAMES.index("head")
        faces = model.faces[is_head]
        corner, extent = np.array([WINDOW.u0, WINDOW.v0]), WINDOW.u1 - WINDOW.u0
        places = (model.uvs[model.face_uvs[is_head]] - corner) / extent
        owners, shares = cover(np.ascontiguousarray(places, np.float32), side)
        inside = owners >= 0
        corners, barycentric = faces[owners[inside]], shares[inside]
        return SkinTexels(
            faces=np.ascontiguousarray(faces, np.int32),
            corners=np.ascontiguousarray(corners, np.int32),
            barycentric=barycentric,
            basis_m=_at(_basis(model), corners, barycentric).transpose(1, 0, 2).copy(),
            actions_m=_at(_actions(model), corners, barycentric).transpose(1, 0, 2).copy(),
        )

    def at(self, values: F32) -> F32:
        """(N, C) at the points from (V, C) at the vertices."""
        return _at(values, self.corners, self.barycentric)


def _at(values: F32, corners: I32, barycentric: F32) -> F32:
    weighted = (values[corners[:, c]] * _column(barycentric[:, c], values.ndim) for c in range(3))
    return np.asarray(sum(weighted), np.float32)


def _column(shares: F32, dimensions: int) -> F32:
    return shares.reshape(-1, *(1,) * (dimensions - 1))


def _basis(model: BodyModel) -> F32:
    """(V, 3, K)."""
    count, head = model.identity_count, model.joint_names.index("head")
    basis = np.zeros((len(model.template_m), 3, count), np.float32)
    moved = model.head_basis.reshape(count, -1, 3) * np.float32(model.head_basis_step_m)
    basis[model.head_vertices] = moved.transpose(1, 2, 0)
    return basis - model.head_joint_basis_m.reshape(count, -1, 3)[:, head].T


def _actions(model: BodyModel) -> F32:
    """(V, 52, 3)."""
    offsets = np.zeros((len(model.template_m), len(ARKIT_NAMES), 3), np.float32)
    vertices = np.repeat(np.arange(len(offsets)), np.diff(model.morph_starts))
    offsets[vertices, model.morph_actions] = model.morph_offsets_m
    return offsets
