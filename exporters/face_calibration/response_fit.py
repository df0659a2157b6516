"""The network's response to actions and views, and its noise, by ridge regression on samples.

``f = e (R0 + y R1 + y^2 R2) + view(y, p) B + c_person + n``: what is constant for a person is
shape, and is learned live; what is left is noise, and its covariance is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.face.head_pose import initial_pose, refine_pose
from engine.face.landmark_embedding import LANDMARKS
from engine.face.landmark_features import (
    lateral_displacements,
    view_angles,
    view_direction,
    view_terms,
)
from engine.types import ARKIT_NAMES, F32, F64, Camera
from exporters.face_calibration.expressions import TONGUE, index, other_side
from exporters.face_calibration.samples import SIDE, Samples

MODES = 128
NOISE_FLOOR_MM = 0.35
"""Below this no synthetic picture is trusted: real ones are not as clean."""
MISREAD = 0.06
"""Pose residual, as a share of the face's width, of pictures the network misread."""
EXPRESSION_VARIANCE = 0.02
MIRROR = np.array([-1, 1, 1], np.float32)
FLIP = np.array([index(other_side(name)) for name in ARKIT_NAMES])


@dataclass(frozen=True, slots=True)
class Seen:
    """N faces in head coordinates."""

    features: F32
    """(N, 1434) mm from the neutral face."""
    views: F64
    """(N, 2) yaw and pitch, rad."""
    expressions: F64
    """(N, 52)."""
    people: NDArray[np.intp]
    """(N,)."""


@dataclass(frozen=True, slots=True)
class Response:
    """See :class:`engine.face.landmark_embedding.LandmarkEmbedding`."""

    response: F32
    view_bias: F32
    constant: F32
    """(1434,) mm: what is left of a neutral face seen from the front."""
    noise_modes: F32
    noise_deviation: F32
    residual: F32
    """(N, 1434) mm."""


def measure_offset(samples: Samples, embedded: F64, morphs: F64) -> tuple[F64, F64]:
    """Where the network sees neutral landmarks, and how unsteady each is, by the true pose.

    Args:
        samples: the pictures.
        embedded: (P, 478, 3) embedded landmarks of each person in head axes.
        morphs: (52, 478, 3) their motion under each action.

    Returns:
        Offset (478, 3) in metres, and variance (478,) in square metres.
    """
    rows = []
    for i, person in enumerate(samples.people):
        model = embedded[person] + np.tensordot(samples.expressions[i], morphs, 1)
        points = samples.points_px[i].astype(np.float64)
        pose = samples.rotations[i], samples.translations[i]
        rows.append(lateral_displacements(model, points, *pose, samples.lenses[i]))
    displaced = np.stack(rows)
    offset = np.median(displaced, axis=0)
    return offset, ((displaced - offset) ** 2).sum(axis=2).mean(axis=0)


def pose_weights(variance: F64, morphs: F64) -> F64:
    """(478,) inverse variance of a landmark over pictures and expressions; irises not at all."""
    moving = EXPRESSION_VARIANCE * (morphs**2).sum(axis=(0, 2))
    weights = 1.0 / (variance + moving)
    weights[468:] = 0.0
    return np.asarray(weights / weights.sum())


def see(samples: Samples, neutral: F64, weights: F64) -> Seen:
    """Landmarks as the live fit sees them: in the frame of the fitted head pose.

    Args:
        samples: the pictures.
        neutral: (P, 478, 3) neutral landmarks of each person in head axes.
        weights: (478,) of the pose.
    """
    features, views, kept = [], [], []
    for i, person in enumerate(samples.people):
        points, lens = samples.points_px[i].astype(np.float64), samples.lenses[i]
        camera = Camera(float(lens[0]), float(lens[1]), float(lens[2]), SIDE, SIDE)
        start = initial_pose(neutral[person], points, weights, camera)
        rotation, translation, residual = refine_pose(
            neutral[person], points, weights, *start, lens
        )
        if residual > MISREAD * np.ptp(points[:, :2], axis=0).max():
            continue
        displaced = lateral_displacements(neutral[person], points, rotation, translation, lens)
        features.append(1e3 * displaced.ravel())
        views.append(view_angles(view_direction(rotation, translation)))
        kept.append(i)
    return Seen(
        np.array(features, np.float32),
        np.array(views),
        samples.expressions[kept],
        samples.people[kept].astype(np.intp),
    )


def mirrored(seen: Seen, mirror: NDArray[np.intp]) -> Seen:
    """The same faces in a mirror; everybody's mirror image is somebody else."""
    features = seen.features.reshape(-1, LANDMARKS, 3)[:, mirror] * MIRROR
    return Seen(
        np.concatenate([seen.features, features.reshape(len(features), -1)]),
        np.concatenate([seen.views, seen.views * [-1, 1]]),
        np.concatenate([seen.expressions, seen.expressions[:, FLIP]]),
        np.concatenate([seen.people, seen.people + seen.people.max() + 1]),
    )


def fit_response(seen: Seen) -> Response:
    """Ridge regression of the model above, and principal modes of what it leaves."""
    design, penalty = _design(seen)
    normal = design.T @ design + np.diag(penalty)
    solution = np.linalg.solve(normal, design.T @ seen.features.astype(np.float64))
    residual = (seen.features - design @ solution).astype(np.float32)
    covariance = residual.T @ residual / len(residual)
    variances, vectors = np.linalg.eigh(covariance.astype(np.float64))
    response = solution[:156].reshape(3, 52, -1)
    response[:, TONGUE] = 0.0
    return Response(
        response=response.astype(np.float32),
        view_bias=solution[156:163].astype(np.float32),
        constant=solution[163].astype(np.float32),
        noise_modes=vectors[:, ::-1][:, :MODES].T.astype(np.float32),
        noise_deviation=np.sqrt(variances[::-1][:MODES]).astype(np.float32),
        residual=residual,
    )


def _design(seen: Seen) -> tuple[F64, F64]:
    """(N, D) regressors and (D,) ridge penalties; people sum to zero by their penalty."""
    yaw, actions = seen.views[:, :1], seen.expressions
    terms = np.array([view_terms(*view) for view in seen.views])
    people = np.eye(int(seen.people.max()) + 1)[seen.people]
    blocks = [
        (actions, 1.0),
        (actions * yaw, 4.0),
        (actions * yaw**2, 8.0),
        (terms, 0.1),
        (np.ones_like(yaw), 0.01),
        (people, 1.0),
    ]
    design = np.concatenate([block for block, _ in blocks], axis=1)
    return design, np.concatenate([np.full(b.shape[1], weight) for b, weight in blocks])
