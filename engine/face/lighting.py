"""The light on a face: second-order spherical harmonics over its normals.

A convex matt surface under distant light of any shape is lit as ``L(n) = sum_k l_k Y_k(n)`` with
nine terms to within a percent (Ramamoorthi and Hanrahan, *On the relationship between radiance
and irradiance*, 2001). Bare skin has nearly one colour, so its shading is the light's. Luminance
gets all nine terms, colour only the first four: the tint of a window against that of a lamp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.types import F32, F64

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
SHADED, LIT = 0.30, 2.5
"""Bounds of the luminance that the fit may claim, relative to the face's mean."""
TINTS = (0.75, 1.33)
"""Bounds of a channel's share against its mean."""
_RIDGE = np.array([0.0, 0.002, 0.002, 0.002, 0.015, 0.015, 0.015, 0.015, 0.015])
"""What a unit of each coefficient costs, as a share of the evidence: a beard or a shadow on one
side must not be taken for light that the normals do not show."""
_TINT_RIDGE = np.array([0.0, 0.02, 0.02, 0.02])
_ROUNDS = 6
_OUTLIER = 0.12
"""Scale of the robust fit: relative deviation at which a sample counts for half."""
LEAST_SAMPLES = 200


@dataclass(frozen=True, slots=True)
class Lighting:
    """The colour that plain skin would have, by normal: its albedo times the light."""

    luminance: F32
    """(9,)."""
    tint: F32
    """(3, 4): each channel over the luminance."""
    level: float
    """Median luminance of the skin that was fitted."""
    spread: float
    """Robust relative deviation of the skin from the fit: shadows, sheen, hair."""


def harmonics(normals: F64) -> F64:
    """(M, 9) real spherical harmonics of (M, 3) unit normals (eq. 3 there)."""
    x, y, z = normals.T
    return np.stack(
        [
            np.full_like(x, 0.282095), 0.488603 * y, 0.488603 * z, 0.488603 * x,
            1.092548 * x * y, 1.092548 * y * z, 0.315392 * (3 * z * z - 1),
            1.092548 * x * z, 0.546274 * (x * x - y * y),
        ],
        axis=1,
    )  # fmt: skip


def fit_lighting(normals: F32, colours: F32, weights: F32) -> Lighting | None:
    """Light and complexion of bare skin, robustly.

    Args:
        normals: (M, 3) unit, camera space.
        colours: (M, 3) linear RGB.
        weights: (M,) not negative.

    Returns:
        The fit; ``None`` for too few samples or none but black ones.
    """
    chosen = weights > 0
    if np.count_nonzero(chosen) < LEAST_SAMPLES:
        return None
    basis, rgb = harmonics(normals[chosen].astype(np.float64)), colours[chosen].astype(np.float64)
    weight = weights[chosen].astype(np.float64)
    brightness = rgb @ LUMINANCE
    mean = float(np.median(brightness))
    if mean <= 1e-4:
        return None
    robust = weight.copy()
    for _ in range(_ROUNDS):
        coefficients = _ridge_solve(basis, brightness / mean, robust, _RIDGE)
        shade = np.clip(basis @ coefficients, SHADED, LIT)
        deviation = (brightness / mean - shade) / shade
        robust = weight / (1.0 + (deviation / _OUTLIER) ** 2)
    tint = np.empty((3, 4), np.float32)
    for k in range(3):
        ratio = rgb[:, k] / np.maximum(brightness, 1e-6)
        tint[k] = _ridge_solve(basis[:, :4], ratio, robust, _TINT_RIDGE)
    spread = float(np.average(np.abs(deviation), weights=robust))
    return Lighting((mean * coefficients).astype(np.float32), tint, mean, spread)


def _ridge_solve(basis: F64, target: F64, weights: F64, ridge: F64) -> F64:
    weighted = basis * weights[:, None]
    normal = weighted.T @ basis + np.diag(ridge * weights.sum())
    return np.asarray(np.linalg.solve(normal, weighted.T @ target))


def skin_colour(lighting: Lighting, normals: F32) -> F32:
    """(M, 3) linear RGB that plain skin has under this light at (M, 3) unit normals."""
    out = np.empty((len(normals), 3), np.float32)
    shade_skin(lighting.luminance, lighting.tint, np.float32(lighting.level), normals, out)
    return out


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def shade_skin(
    luminance: F32, tint: F32, level: np.float32, normals: F32, out: F32
) -> None:  # pragma: no cover - compiled
    """The kernel of :func:`skin_colour`."""
    base = luminance[0] * np.float32(0.282095)
    low, high = np.float32(SHADED) * level, np.float32(LIT) * level
    for n in range(normals.shape[0]):
        x, y, z = normals[n, 0], normals[n, 1], normals[n, 2]
        first, second, third = (
            np.float32(0.488603) * y, np.float32(0.488603) * z, np.float32(0.488603) * x,
        )  # fmt: skip
        light = (
            base
            + luminance[1] * first
            + luminance[2] * second
            + luminance[3] * third
            + np.float32(1.092548)
            * (luminance[4] * x * y + luminance[5] * y * z + luminance[7] * x * z)
            + luminance[6] * np.float32(0.315392) * (np.float32(3.0) * z * z - np.float32(1.0))
            + luminance[8] * np.float32(0.546274) * (x * x - y * y)
        )
        light = min(max(light, low), high)
        for k in range(3):
            middle = tint[k, 0] * np.float32(0.282095)
            share = middle + tint[k, 1] * first + tint[k, 2] * second + tint[k, 3] * third
            share = min(max(share, np.float32(TINTS[0]) * middle), np.float32(TINTS[1]) * middle)
            out[n, k] = light * share
