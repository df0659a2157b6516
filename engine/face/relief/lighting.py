"""The light of one picture as second-order spherical harmonics (Basri and Jacobs 2003)."""

from __future__ import annotations

import numpy as np

from engine.types import F32, F64

TERMS = 9
RIDGE = 1e-3
"""Of the mean power of the terms: a face shows half of the sphere of normals."""
ROUNDS = 3
OUTLIER = 0.20
"""Log of the ratio of seen to modelled radiance from which a texel is no bare skin."""
FAINTEST = 0.15
"""Of the mean radiance: a model darker than this is not believed."""


def harmonics(normals: F32) -> F32:
    """(N, 9) values of the harmonics up to order two, unnormalised, at (N, 3) unit normals."""
    x, y, z = normals.T
    terms = (np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1)
    return np.stack(terms, axis=1).astype(np.float32)


def fit_light(normals: F32, radiance: F32, weights: F32) -> F32 | None:
    """Coefficients of the light that explains a face of one albedo, robustly.

    Args:
        normals: (N, 3) unit, camera space.
        radiance: (N,) linear.
        weights: (N,).

    Returns:
        (9,), or None where too little is seen to tell.
    """
    basis = harmonics(normals).astype(np.float64)
    target, used = radiance.astype(np.float64), weights.astype(np.float64)
    if used.sum() < 50 * TERMS:
        return None
    level = float((used * target).sum() / used.sum())
    light: F64 = np.zeros(TERMS)
    for _ in range(ROUNDS):
        gram = basis.T @ (used[:, None] * basis)
        gram[np.diag_indices(TERMS)] += RIDGE * np.trace(gram) / TERMS
        light = np.asarray(np.linalg.solve(gram, basis.T @ (used * target)), np.float64)
        shading = np.maximum(basis @ light, FAINTEST * level)
        residual: F64 = np.log(np.maximum(target, 1e-6) / shading)
        used = weights / np.maximum(1.0, (residual / OUTLIER) ** 2).astype(np.float64)
    return light.astype(np.float32)


def shading(light: F32, normals: F32) -> tuple[F32, F32]:
    """Log shading (N,) and its derivative (N, 3) by the normal, along the surface of the sphere."""
    x, y, z = normals.T
    value = harmonics(normals) @ light
    zero = np.zeros_like(x)
    slope = np.stack(
        [
            light[1] + light[4] * y + light[5] * z + 2 * light[7] * x + zero,
            light[2] + light[4] * x + light[6] * z - 2 * light[7] * y + zero,
            light[3] + light[5] * x + light[6] * y + 6 * light[8] * z + zero,
        ],
        axis=1,
    )
    floor = FAINTEST * max(float(np.mean(value)), 1e-6)
    value = np.maximum(value, floor)
    slope /= value[:, None]
    slope -= (slope * normals).sum(axis=1, keepdims=True) * normals
    return np.log(value).astype(np.float32), slope.astype(np.float32)
