"""Expressions of a body with a foreign face: which vertices each moves, the same for everybody.

Only how far and where to the foreign part is moved depends on the person, by the similarity that
places the face. All else is linear in it, so it is done once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import BodyModel
from engine.avatar.morphable_model import MorphableModel
from engine.avatar.surface_points import SurfacePoints
from engine.face.head_pose import Similarity
from engine.fusion.copy_paste import SMALLEST_OFFSET_M
from engine.fusion.zipper import Bridge
from engine.types import ARKIT_NAMES, F32, F64, I32

RIM_PASSES = 6
"""How often the outline is averaged along itself."""


LIDS = {
    "eyeBlinkRight": ((160, 144), (159, 145), (158, 153)),
    "eyeBlinkLeft": ((385, 380), (386, 374), (387, 373)),
}
"""Landmarks of the upper and the lower lid that meet."""
LID_REACH = (0.5, 2.0)
LEAST_TRAVEL_M = 1e-3
"""A blink that brings a model's lids together by less is none."""


@dataclass(frozen=True, slots=True)
class FaceMorphs:
    """N morph entries of V vertices, as :class:`engine.avatar.topology.FusedAvatar` has them."""

    starts: I32
    """(V + 1,)."""
    actions: I32
    """(N,)."""
    of_body_m: F32
    """(N, 3) what the body's own vertices contribute to each,"""
    of_head_m: F32
    """(N, 3) and the foreign ones, in the foreign frame."""

    @staticmethod
    def of(
        body: BodyModel,
        head: MorphableModel,
        kept: tuple[NDArray[np.integer], NDArray[np.integer]],
        rim: I32,
        bridge: Bridge,
        placed: Similarity,
    ) -> FaceMorphs:
        """Both parts' offsets, and what rim and bridge make of them.

        Args:
            body: the body,
            head: and the foreign head.
            kept: (B,) vertices of the one and (N,) of the other.
            rim: the foreign outline among the B + N vertices, in order.
            bridge: between the two.
            placed: the foreign mean on the template: what moves there is an entry.
        """
        on_body, on_head = kept
        count, foreign = len(on_body), len(on_head)
        own = np.zeros((count + foreign, len(ARKIT_NAMES), 3), np.float32)
        theirs = np.zeros_like(own)
        own[:count] = _dense_morphs(body)[on_body]
        for action in np.flatnonzero(head.actions):
            theirs[count:, action] = head.expression.mode(int(action))[on_head]
        own, theirs = (_joined(dense, rim, bridge) for dense in (own, theirs))
        moved = np.linalg.norm(own + _turned(theirs, placed), axis=2) > SMALLEST_OFFSET_M
        starts = np.concatenate([[0], np.cumsum(moved.sum(axis=1))])
        actions = np.nonzero(moved)[1]
        return FaceMorphs(
            starts.astype(np.int32), actions.astype(np.int32), own[moved], theirs[moved]
        )

    def offsets_m(self, placed: Similarity, reach: F32) -> F32:
        """(N, 3) for a person.

        Args:
            placed: the person's foreign face on the person's body.
            reach: (52,) by how much more than on the mean head each expression moves it.
        """
        return self.of_body_m + reach[self.actions, None] * _turned(self.of_head_m, placed)


def lid_reach(head: MorphableModel, shape_m: F32) -> F32:
    """(52,) how far expressions of a person go, where the mean head's go 1.

    A model's expressions are the same for everybody: on eyes more open than the mean's a blink
    would end halfway. Its lids go as much further as they have to.

    Args:
        head: the model.
        shape_m: (V, 3) the person's face at rest.
    """
    reach = np.ones(len(ARKIT_NAMES), np.float32)
    if head.landmarks is None:
        return reach
    for name, lids in LIDS.items():
        action = ARKIT_NAMES.index(name)
        blinking = head.mean_m + head.expression.mode(action)
        own, usual, shut = (_gap(head.landmarks, v, lids) for v in (shape_m, head.mean_m, blinking))
        if usual - shut > LEAST_TRAVEL_M and np.isfinite(own):
            reach[action] = np.clip((own - shut) / (usual - shut), *LID_REACH)
    return reach


def _gap(landmarks: SurfacePoints, vertices_m: F32, lids: tuple[tuple[int, int], ...]) -> float:
    points, (upper, lower) = landmarks.on(vertices_m), np.array(lids).T
    return float(np.linalg.norm(points[upper] - points[lower], axis=1).mean())


def _joined(dense: F32, rim: I32, bridge: Bridge) -> F32:
    """(B + N + R, 52, 3): the offsets with a straight rim, and the bridge's."""
    straighten(dense, rim)
    ring = bridged(bridge, dense.reshape(len(dense), -1).astype(np.float64))
    return np.concatenate([dense, ring.reshape(-1, *dense.shape[1:]).astype(np.float32)])


def _turned(offsets: F32, placed: Similarity) -> F32:
    return np.asarray(offsets @ (placed.scale * placed.rotation).astype(np.float32).T)


def bridged(bridge: Bridge, values: F64) -> F64:
    """(R, C) of the bridge's vertices from (B + N, C) of all others."""
    return np.asarray(np.einsum("rs,rsc->rc", bridge.weights, values[bridge.sources]))


def straighten(values: F32 | F64, rim: I32) -> None:
    """Average the outline's stairs, which follow the foreign triangles, along it, in place."""
    for _ in range(RIM_PASSES):
        along = values[rim]
        values[rim] = (np.roll(along, 1, axis=0) + 2 * along + np.roll(along, -1, axis=0)) / 4


def _dense_morphs(body: BodyModel) -> F32:
    counts = np.diff(body.morph_starts)
    dense = np.zeros((len(counts), len(ARKIT_NAMES), 3), np.float32)
    dense[np.repeat(np.arange(len(counts)), counts), body.morph_actions] = body.morph_offsets_m
    return dense
