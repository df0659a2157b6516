"""A frame's mesh: expression morphs, linear blend skinning (eqs 7-8), translation, normals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.avatar.topology import FusedAvatar
from engine.body.kinematics import forward_kinematics
from engine.body.skin_layout import SkinLayout, sort_for_skinning, with_identity
from engine.errors import AvatarError
from engine.fusion.neck_normals import NormalCorrections, corrected_normals
from engine.fusion.normals import fan_normals
from engine.types import ARKIT_NAMES, F32, I32, AvatarState, FusedMesh

RING_LENGTH = 3
"""A posed mesh stays untouched while the next two are made."""
_NOWHERE = np.zeros(3, np.float32)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _express(
    rest: F32, spans: I32, steps: F32, values: NDArray[np.int16], expression: F32, out: F32
) -> None:
    """``rest + sum_e expression_e offset_e``: (3, V) sorted, over the spans of MorphSpans."""
    out[:] = rest
    for s in range(spans.shape[0]):
        activation = expression[spans[s, 0]] * steps[s]
        if activation == np.float32(0.0):
            continue
        first, end, begin = spans[s, 1], spans[s, 2], spans[s, 3]
        length = end - first
        for axis in range(3):
            target = out[axis, first:end]
            offset = values[begin + axis * length : begin + (axis + 1) * length]
            for i in range(length):
                target[i] += activation * np.float32(offset[i])


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _blend(
    points: F32,
    bounds: I32,
    slots: I32,
    joints: I32,
    weight_starts: I32,
    weights: F32,
    transforms: F32,
    out: F32,
) -> None:
    """``sum_k w_k T_{j_k} p``, eqs (7)-(8): (3, V) sorted, over the runs of SkinRuns."""
    for run in range(bounds.shape[0] - 1):
        first, end = bounds[run], bounds[run + 1]
        x, y, z = points[0, first:end], points[1, first:end], points[2, first:end]
        for slot in range(slots[run], slots[run + 1]):
            t = transforms[joints[slot]]
            w = weights[weight_starts[slot] : weight_starts[slot] + end - first]
            for axis in range(3):
                a, b, c, d = t[axis, 0], t[axis, 1], t[axis, 2], t[axis, 3]
                target = out[axis, first:end]
                if slot == slots[run]:
                    for i in range(end - first):
                        target[i] = w[i] * (a * x[i] + b * y[i] + c * z[i] + d)
                else:
                    for i in range(end - first):
                        target[i] += w[i] * (a * x[i] + b * y[i] + c * z[i] + d)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _unsort(points: F32, places: I32, translation: F32, out: F32) -> None:
    """Translate, and put (3, V) sorted points back to (V, 3) in the avatar's order.

    It writes one vertex after the other: what it reads was just made and is near, what it writes
    is not.
    """
    x, y, z = points[0], points[1], points[2]
    tx, ty, tz = translation[0], translation[1], translation[2]
    for v in range(places.shape[0]):
        i = places[v]
        out[v, 0], out[v, 1], out[v, 2] = x[i] + tx, y[i] + ty, z[i] + tz


@dataclass(frozen=True, slots=True)
class Workspace:
    """An avatar in computing order, and the buffers that a frame would have to allocate."""

    layout: SkinLayout
    transforms: F32
    """(J, 3, 4) global joint transforms, overwritten each frame."""
    expressed: F32
    """(3, V) sorted: the rest pose with its expression."""
    posed: F32
    """(3, V) sorted, before the translation."""
    normals: F32
    """(3, V) sorted."""

    @staticmethod
    def of(avatar: FusedAvatar, layout: SkinLayout | None = None) -> Workspace:
        """Sort the avatar, unless its layout is known, and make room."""
        layout = layout or sort_for_skinning(avatar)
        return Workspace(
            layout=layout,
            transforms=np.zeros((len(avatar.parents), 3, 4), np.float32),
            expressed=np.zeros_like(layout.rest_m),
            posed=np.zeros_like(layout.rest_m),
            normals=np.zeros_like(layout.rest_m),
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
    w, layout = workspace, workspace.layout
    morphs, runs = layout.morphs, layout.runs
    forward_kinematics(rotations_xyzw, avatar.joints_m, avatar.parents, w.transforms)
    _express(layout.rest_m, morphs.spans, morphs.steps_m, morphs.values, expression, w.expressed)
    _blend(
        w.expressed,
        runs.bounds,
        runs.slots,
        runs.joints,
        runs.weight_starts,
        runs.weights,
        w.transforms,
        w.posed,
    )
    fan_normals(w.posed, layout.fans, w.normals)
    _unsort(w.posed, layout.places, translation_m, vertices_m)
    _unsort(w.normals, layout.places, _NOWHERE, normals)


class Poser:
    """Poses one avatar again and again without allocating.

    A mesh it returned stays valid until :data:`RING_LENGTH` further calls. Not thread-safe.
    """

    def __init__(
        self,
        avatar: FusedAvatar,
        layout: SkinLayout | None = None,
        corrections: NormalCorrections | None = None,
    ) -> None:
        """Ready to pose.

        Args:
            avatar: at rest.
            layout: its computing order, where that is known.
            corrections: of its normals, where the neck's are to be the body's own.
        """
        self.avatar = avatar
        self._corrections = corrections
        self.workspace = Workspace.of(avatar, layout)
        shape = (RING_LENGTH, *avatar.rest_vertices_m.shape)
        self._vertices = np.zeros(shape, np.float32)
        self._normals = np.zeros(shape, np.float32)
        self._rotations = np.zeros((len(avatar.parents), 4), np.float32)
        self._translation = np.zeros(3, np.float32)
        self._expression = np.zeros(len(ARKIT_NAMES), np.float32)
        self._next = 0

    def with_identity(
        self, avatar: FusedAvatar, corrections: NormalCorrections | None = None
    ) -> Poser:
        """A poser of another identity; sorting is skipped where skin and expressions are shared.

        Avatars fused from one :class:`engine.fusion.copy_paste.FusionMap` share both. Those of one
        :class:`engine.fusion.graft.Graft` share all but how far the expressions reach.
        """
        ours = self.avatar
        shared = ("topology", "skin_weights", "skin_joints", "morph_starts", "morph_actions")
        layout = None
        if all(getattr(avatar, name) is getattr(ours, name) for name in shared):
            morphs = avatar.morph_offsets_m is not ours.morph_offsets_m
            layout = with_identity(self.workspace.layout, avatar, morphs=morphs)
        return Poser(avatar, layout, corrections)

    def pose(self, state: AvatarState) -> FusedMesh:
        """The avatar's mesh in this state.

        Raises:
            AvatarError: the state has another number of joints or expressions.
        """
        self._take(state)
        vertices, normals = self._vertices[self._next], self._normals[self._next]
        self._next = (self._next + 1) % RING_LENGTH
        pose_avatar(
            self.avatar,
            self._rotations,
            self._translation,
            self._expression,
            self.workspace,
            vertices,
            normals,
        )
        if self._corrections is not None:
            c = self._corrections
            arrays = (c.vertices, c.offsets, c.joints, c.weights)
            corrected_normals(*arrays, self.workspace.transforms, normals)
        return FusedMesh(
            index=state.index,
            captured_at_ns=state.captured_at_ns,
            vertices_m=vertices,
            normals=normals,
            topology=self.avatar.topology,
        )

    def _take(self, state: AvatarState) -> None:
        """Copy the state, so that the kernels always see one type, writable and contiguous.

        A read-only array (from a packet) would have them compiled a second time, for seconds.
        """
        ours = (self._rotations, self._translation, self._expression)
        given = (state.rotations_xyzw, state.translation_m, state.expression)
        if any(theirs.shape != own.shape for theirs, own in zip(given, ours, strict=True)):
            raise AvatarError(
                f"the avatar has {len(self._rotations)} joints and {len(self._expression)} "
                f"expressions, but the state holds arrays of shapes "
                f"{tuple(theirs.shape for theirs in given)}; pose it with a state made for it"
            )
        for own, theirs in zip(ours, given, strict=True):
            own[:] = theirs
