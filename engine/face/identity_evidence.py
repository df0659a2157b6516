"""One neutral face out of many views: two measurements of where a person's landmarks are.

The first is the mean of the network's own shapes, depth included, each laid over the others by
Procrustes (Gower 1975). The second needs no depth from the network: landmarks and head poses are
found together from their places in the pictures alone, as in bundle adjustment (Triggs et al.
2000), started from the first; what no view shows stays what the first said. Each is regressed
towards the average face in its own way, which the readout knows and undoes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.face.head_pose import procrustes, refine_pose
from engine.face.identity_views import View
from engine.face.landmark_features import lateral_displacements, view_angles, view_direction
from engine.face.response import LandmarkResponse
from engine.types import F64

MEASURED = 468
"""Landmarks of the skin; irises are not part of the face's shape."""
MEAN_ROUNDS = 3
BUNDLE_ROUNDS = 4
UNSEEN = 0.05
"""Stiffness of a landmark along directions that no view shows, as a share of a whole view."""
STRAYED = 1.5
"""A view this many times as far from the others as the median one counts half."""
_NO_FEATURES = np.zeros((478, 3))


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a set of views says."""

    features: F64
    """(2808,) mm: both measurements less the neutral face they were compared with."""
    views: float
    """How many equally good views those are worth."""
    yaw_spread: float
    """Weighted standard deviation of the yaw, rad."""


@dataclass(slots=True)
class _Posed:
    """A view and where the head is in it."""

    view: View
    shape: F64
    """(478, 3) the network's own shape in units of the head's distance, camera axes."""
    rotation: F64
    translation: F64
    drift: F64
    """(478, 3) metres: how a neutral face seen from there is misread."""
    weight: float


def gather(
    views: Sequence[View], neutral_m: F64, response: LandmarkResponse, weights: F64
) -> Evidence:
    """Both measurements from views of one person.

    Args:
        views: at least one.
        neutral_m: (478, 3) the landmarks of the phenotypes' own face, head axes.
        response: of the network to directions.
        weights: (478,) how much each landmark says on the head's pose.
    """
    posed = [
        _Posed(v, network_shape(v.points_px, v.lens, weights), np.eye(3), np.zeros(3),
               _NO_FEATURES, v.weight)
        for v in views
    ]  # fmt: skip
    mean = _mean_shape(posed, neutral_m, response, weights)
    bundle = _bundle(posed, mean, neutral_m, response, weights)
    measured = np.stack([mean - neutral_m, bundle - neutral_m])[:, :MEASURED]
    share = np.array([p.weight for p in posed])
    yaws = np.array([p.view.yaw for p in posed])
    share_sum = share.sum()
    centre = share @ yaws / share_sum
    return Evidence(
        features=1e3 * measured.ravel(),
        views=float(share_sum**2 / (share @ share)) * min(1.0, float(share.max())),
        yaw_spread=float(np.sqrt(share @ (yaws - centre) ** 2 / share_sum)),
    )


def network_shape(points_px: F64, lens: F64, weights: F64) -> F64:
    """(478, 3) landmarks in space at the network's depths, in units of the face's distance."""
    depth = 1.0 + (points_px[:, 2] - weights @ points_px[:, 2] / weights.sum()) / lens[0]
    right = (points_px[:, 0] - lens[1]) / lens[0]
    up = (lens[2] - points_px[:, 1]) / lens[0]
    return np.column_stack([right * depth, up * depth, -depth])


def _mean_shape(posed: list[_Posed], neutral: F64, response: LandmarkResponse, weights: F64) -> F64:
    mean = neutral
    for _ in range(MEAN_ROUNDS):
        total = np.zeros_like(neutral)
        for p in posed:
            fit = procrustes(mean, p.shape, weights)
            p.rotation = np.ascontiguousarray(fit.rotation)
            p.translation = fit.translation / fit.scale
            p.drift = _drift(p, response)
            own = (p.shape - fit.translation) @ fit.rotation / fit.scale
            total += p.weight * (own - p.drift)
        mean = _laid_over(total / sum(p.weight for p in posed), neutral, weights)
    return mean


def _bundle(
    posed: list[_Posed], start: F64, neutral: F64, response: LandmarkResponse, weights: F64
) -> F64:
    shape = start
    for _ in range(BUNDLE_ROUNDS):
        seen, moved = np.zeros((3, 3)), np.zeros_like(shape)
        strayed = []
        for p in posed:
            p.drift = _drift(p, response)
            model = shape + p.drift
            p.rotation, p.translation, residual_px = refine_pose(
                model, p.view.points_px, weights, p.rotation, p.translation, p.view.lens
            )
            strayed.append(residual_px / float(np.ptp(p.view.points_px[:, :2], axis=0).max()))
            towards = view_direction(p.rotation, p.translation)
            seen += p.weight * (np.eye(3) - np.outer(towards, towards))
            moved += p.weight * lateral_displacements(
                model, p.view.points_px, p.rotation, p.translation, p.view.lens
            )
        stiff = seen + UNSEEN * sum(p.weight for p in posed) * np.eye(3)
        shape = _laid_over(shape + np.linalg.solve(stiff, moved.T).T, neutral, weights)
        _doubt(posed, np.array(strayed))
    return shape


def _doubt(posed: list[_Posed], strayed: F64) -> None:
    """Views that agree less with the others than most do count less (Cauchy's weight)."""
    usual = STRAYED * max(float(np.median(strayed)), 1e-9)
    for p, distance in zip(posed, strayed, strict=True):
        p.weight = p.view.weight / (1.0 + max(0.0, distance / usual) ** 4)


def _drift(p: _Posed, response: LandmarkResponse) -> F64:
    yaw, pitch = view_angles(view_direction(p.rotation, p.translation))
    features = response.neutral_features(yaw, pitch)
    if p.view.known_expression is not None:
        features = features + response.features(p.view.known_expression, yaw)
    return np.asarray(1e-3 * features.reshape(-1, 3), np.float64)


def _laid_over(shape: F64, neutral: F64, weights: F64) -> F64:
    """The same shape at the neutral face's place, turn and size: a picture knows none of them."""
    fit = procrustes(shape, neutral, weights)
    return np.asarray(fit.scale * shape @ fit.rotation.T + fit.translation)
