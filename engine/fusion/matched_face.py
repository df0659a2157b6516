"""Which coefficients of another model make the body's face, by places that both have."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.morphable_model import MorphableModel
from engine.face.head_pose import Similarity, procrustes
from engine.fusion.registration import apply, inverse
from engine.types import F32, F64, I32

MATCHED_M = 1.5e-3
"""How well a face of one model can be told by another's surface,"""
INDEPENDENT = 200
"""at about so many places that do not tell the same."""
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class SurfaceMatch:
    """Fixed places on the foreign mesh."""

    corners: I32
    """(M, 3)."""
    barycentric: F64
    """(M, 3)."""

    def on(self, vertices: F32 | F64) -> F64:
        """(M, 3) where they are on these vertices."""
        return np.asarray(np.einsum("mk,mkc->mc", self.barycentric, vertices[self.corners]))


@dataclass(frozen=True, slots=True)
class MatchedFace:
    """M places of the body's face, each with its partner on a foreign model of K modes."""

    vertices: I32
    """(M,) of the body."""
    partners: SurfaceMatch
    mean_m: F64
    """(M, 3) the partners on the foreign mean,"""
    modes: F64
    """(3M, K) how each identity mode moves them,"""
    products: F64
    """(K, K) and the modes' inner products."""

    @staticmethod
    def of(head: MorphableModel, vertices: I32, partners: SurfaceMatch) -> MatchedFace:
        """Gather the foreign model's modes at the partners."""
        modes = np.empty((3 * len(vertices), len(head.identity)))
        for k in range(len(head.identity)):
            modes[:, k] = partners.on(head.identity.mode(k)).ravel()
        return MatchedFace(vertices, partners, partners.on(head.mean_m), modes, modes.T @ modes)

    def placed(self, shape_m: F32 | F64, body_m: F32) -> Similarity:
        """The similarity that lays a foreign face (N, 3) onto a body (V, 3) at rest."""
        return _onto(self.partners.on(shape_m), body_m[self.vertices])

    def alpha_of(self, body_m: F32) -> F32:
        """(K,) the foreign coefficients whose face comes closest to one of the body's.

        Ridge regression on the matched places, MAP under alpha ~ N(0, I), in turns with the
        similarity between the two.

        Args:
            body_m: (V, 3) the body with the person's own face, at rest.
        """
        wanted = body_m[self.vertices].astype(np.float64)
        # Neighbours are off together: all of them say no more than INDEPENDENT alone would.
        noise = MATCHED_M**2 * max(1.0, len(wanted) / INDEPENDENT)
        alpha = np.zeros(self.modes.shape[1])
        for _ in range(ROUNDS):
            onto = _onto(self.mean_m + (self.modes @ alpha).reshape(-1, 3), wanted)
            own = apply(inverse(onto), wanted) - self.mean_m
            normal = self.products + noise / onto.scale**2 * np.eye(len(alpha))
            alpha = np.asarray(np.linalg.solve(normal, self.modes.T @ own.ravel()), np.float64)
        return alpha.astype(np.float32)


def _onto(source: F64, target: F32 | F64) -> Similarity:
    return procrustes(source, np.asarray(target, np.float64), np.ones(len(source)))
