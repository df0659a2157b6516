"""The response of features to identity coefficients and their noise, from people who are known.

``f = f0 + G c + n``: ridge regression towards what geometry expects, shrunk as the network shrinks
it, so that a few hundred people determine a hundred coefficients' responses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.anny import BodyModel
from engine.face.head_pose import procrustes
from engine.face.identity_evidence import MEASURED
from engine.face.landmark_embedding import default_embedding
from engine.types import F64, Phenotypes
from exporters.face_calibration.identity_samples import IdentitySamples

MODES = 100
NOISE_FLOOR_MM = 0.7
"""Below this no synthetic picture is trusted: real ones are not as clean."""
RIDGE = 100.0
"""How many people geometry counts for."""
ROUNDS = 2
SEEN = np.array([[0.45, 0.5, 0.05], [0.5, 0.55, 0.3]])
"""Shares (x, y, z) of a displacement that each measurement shows, averaged over landmarks."""


@dataclass(frozen=True, slots=True)
class ReadoutFit:
    """See :class:`engine.face.identity_readout.IdentityReadout`."""

    mean: F64
    response: F64
    noise_modes: F64
    noise_deviation: F64
    noise_floor: float
    visible: F64
    usual_misfit: float


def geometric_response(model: BodyModel) -> F64:
    """(K, 468, 3) mm: how landmarks move with each coefficient, less what a head pose explains."""
    embedding = default_embedding()
    weights = embedding.pose_weights.astype(np.float64)
    plain = model.shape(Phenotypes())
    head = plain.joints_m[model.joint_names.index("head")]
    neutral = embedding.neutral_m(plain.vertices_m, head).astype(np.float64)
    moved = []
    for own in np.eye(model.identity_count, dtype=np.float32):
        vertices = model.shape(Phenotypes(), own).vertices_m
        shape = embedding.neutral_m(vertices, head).astype(np.float64)
        fit = procrustes(shape, neutral, weights)
        laid = fit.scale * shape @ fit.rotation.T + fit.translation
        moved.append(1e3 * (laid - neutral)[:MEASURED])
    return np.array(moved)


def fit_readout(samples: IdentitySamples, geometry: F64) -> ReadoutFit:
    """Solve for everything that the readout's file holds.

    Args:
        samples: people and their features.
        geometry: (K, 468, 3) from :func:`geometric_response`.
    """
    coefficients, features = samples.coefficients, samples.features
    people, count = coefficients.shape
    expected = np.stack([geometry * seen for seen in SEEN], axis=1).reshape(count, -1)
    mean = features.mean(axis=0) - coefficients.mean(axis=0) @ expected
    normal = coefficients.T @ coefficients + RIDGE * np.eye(count)
    response = expected
    for _ in range(ROUNDS):
        left = features - mean - coefficients @ expected
        response = expected + np.linalg.solve(normal, coefficients.T @ left)
        mean = mean + (features - mean - coefficients @ response).mean(axis=0)
    residual = features - mean - coefficients @ response
    _, singular, modes = np.linalg.svd(residual, full_matrices=False)
    # What the regression has fitted is missing from the residual: about half a person each.
    degrees = max(people - 0.5 * count, 0.3 * people)
    visible = (geometry**2).sum(axis=(1, 2))
    return ReadoutFit(
        mean=mean,
        response=response,
        noise_modes=modes[:MODES],
        noise_deviation=np.maximum(singular[:MODES] / np.sqrt(degrees), NOISE_FLOOR_MM),
        noise_floor=NOISE_FLOOR_MM,
        visible=visible / visible.sum(),
        usual_misfit=float(np.sqrt((residual**2).sum() / (degrees * residual.shape[1]))),
    )
