"""From landmarks to the normal equations of the 52 actions, under the network's own noise.

``f = G(yaw)' e + n`` with ``n ~ N(0, S)``: features of a face are linear in its actions, and the
network's errors are so strongly correlated (a few dozen modes hold nearly all of them) that
generalised least squares (Aitken 1936) reads twice as much as a weight per landmark:
``H = G S^-1 G'``, ``g = G S^-1 f``. ``S^-1`` of modes and floor is Woodbury's.
"""

from __future__ import annotations

import numpy as np

from engine.face.landmark_embedding import (
    ACTIONS,
    LANDMARKS,
    LOWER_LIP,
    UPPER_LIP,
    LandmarkEmbedding,
)
from engine.face.landmark_features import view_terms
from engine.types import F32, F64

LIP_GAP_DEVIATION_MM = 0.6
"""How well the gap between the inner lips is seen. On renders the network blurs small gaps, so
calibration takes them for noise; on people it does not."""
NODES = np.linspace(-0.8, 0.8, 9)
"""Yaw angles (rad) at which the matrices are tabulated; beyond the ends the end is used."""
_FIRST, _STEP = float(NODES[0]), float(NODES[1] - NODES[0])
MAX_VIEW = 0.8


class LandmarkResponse:
    """Tables over yaw, linear between nodes. Read-only after construction."""

    def __init__(self, embedding: LandmarkEmbedding) -> None:
        self._view_bias = embedding.view_bias
        self._responses = np.stack([_response(embedding, yaw) for yaw in NODES])
        whitened = [_whiten(embedding, response) for response in self._responses]
        self._readouts = np.stack(whitened)
        self._lip_gap = _lip_gap() / LIP_GAP_DEVIATION_MM
        gaps = self._responses @ self._lip_gap
        self._readouts += gaps[:, :, None] * self._lip_gap
        self._hessians = np.matmul(self._readouts, self._responses.transpose(0, 2, 1))

    def neutral_features(self, yaw: float, pitch: float) -> F32:
        """(1434,) mm: what a neutral face shows when seen from aside."""
        yaw, pitch = (min(max(angle, -MAX_VIEW), MAX_VIEW) for angle in (yaw, pitch))
        return np.asarray(view_terms(yaw, pitch).astype(np.float32) @ self._view_bias)

    def normal_equations(self, features: F32, yaw: float) -> tuple[F64, F64]:
        """``H`` (52, 52) and ``g`` (52,) for features (1434,) in mm seen at ``yaw`` (rad)."""
        node, share = _between(yaw)
        lower, upper = self._readouts[node] @ features, self._readouts[node + 1] @ features
        hessian = (1 - share) * self._hessians[node] + share * self._hessians[node + 1]
        gradient = (1 - share) * lower + share * upper
        return hessian.astype(np.float64), gradient.astype(np.float64)

    def features(self, expression: F64, yaw: float) -> F32:
        """(1434,) mm: what an expression (52,) shows at ``yaw`` (rad)."""
        node, share = _between(yaw)
        weights = expression.astype(np.float32)
        lower, upper = weights @ self._responses[node], weights @ self._responses[node + 1]
        return np.asarray((1 - share) * lower + share * upper, np.float32)


def _between(yaw: float) -> tuple[int, np.float32]:
    """The node below and how far towards the next, in [0, 1]."""
    place = (yaw - _FIRST) / _STEP
    node = min(max(int(place), 0), len(NODES) - 2)
    return node, np.float32(min(max(place - node, 0.0), 1.0))


def _lip_gap() -> F32:
    """(1434,): the contrast of features that is the gap in the middle of the mouth."""
    contrast = np.zeros((LANDMARKS, 3), np.float32)
    contrast[UPPER_LIP, 1], contrast[LOWER_LIP, 1] = 1 / len(UPPER_LIP), -1 / len(LOWER_LIP)
    return contrast.ravel()


def _response(embedding: LandmarkEmbedding, yaw: float) -> F32:
    constant, linear, square = embedding.response
    return np.asarray(constant + np.float32(yaw) * (linear + np.float32(yaw) * square), np.float32)


def _whiten(embedding: LandmarkEmbedding, response: F32) -> F32:
    """``G S^-1`` (52, 1434) with ``S = U diag(s^2) U' + floor^2 (1 - U U')``."""
    floor = embedding.noise_floor**2
    variance = np.maximum(embedding.noise_deviation.astype(np.float64) ** 2, floor)
    along = response @ embedding.noise_modes.T
    correction = (along * (1.0 - floor / variance)) @ embedding.noise_modes
    return np.asarray((response - correction) / floor, np.float32).reshape(ACTIONS, -1)
