"""Smooth deformations of a head: a Gaussian process over its points (Luethi et al. 2018).

``u ~ GP(0, k)`` with ``k(x, y) = sum_s sigma_s^2 exp(-|x - y|^2 / (2 l_s^2))`` per coordinate,
split into a part that is the same on both sides and one that is not: with M the mirror image,
even functions have the kernel ``(k(x, y) + k(x, My)) / 2`` and odd ones the difference. A
deformation is symmetric when its x is odd and its y and z are even. Nystroem's low-rank factor
of each kernel keeps everything small.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.types import F64

MIRROR = np.array([-1.0, 1.0, 1.0])
JITTER = 1e-6
SMALLEST_SHARE = 1e-4
"""Of a kernel's mean eigenvalue: directions with less are left out."""


@dataclass(frozen=True, slots=True)
class Scale:
    """One size of bump."""

    length_m: float
    """``l``: how far a bump reaches."""
    deviation_m: float
    """``sigma`` of what both sides share."""
    points: int
    """Inducing points of the low-rank factor."""


def smooth_deformations(points: F64, scales: tuple[Scale, ...], asymmetry: float) -> F64:
    """Columns B such that ``B z`` with ``z ~ N(0, I)`` is a random smooth deformation.

    Args:
        points: (N, 3) where, metres, x = 0 is the plane of symmetry.
        scales: sizes of bumps; their variances add.
        asymmetry: standard deviation of what differs between the sides, as a share.

    Returns:
        (N, 3, D).
    """
    columns = [block for scale in scales for block in _blocks(points, scale, asymmetry)]
    return np.concatenate(columns, axis=2)


def _blocks(points: F64, scale: Scale, asymmetry: float) -> Iterator[F64]:
    inducing = points[farthest_points(points, scale.points)]
    for sign in (1.0, -1.0):
        factor = scale.deviation_m * _factor(points, inducing, scale.length_m, sign)
        for axis in range(3):
            symmetric = (sign < 0) == (axis == 0)
            block = np.zeros((len(points), 3, factor.shape[1]))
            block[:, axis] = factor if symmetric else asymmetry * factor
            yield block


def _factor(points: F64, inducing: F64, length: float, sign: float) -> F64:
    """(N, D) factor of the even (sign 1) or odd (sign -1) part of a unit kernel."""
    cross, own = (
        0.5 * (_kernel(one, inducing, length) + sign * _kernel(one, inducing * MIRROR, length))
        for one in (points, inducing)
    )
    values, vectors = np.linalg.eigh(own)
    kept = values > max(SMALLEST_SHARE * values.sum() / len(values), JITTER)
    return np.asarray(cross @ (vectors[:, kept] / np.sqrt(values[kept])))


def _kernel(one: F64, other: F64, length: float) -> F64:
    squared = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2.0 * one @ other.T
    return np.asarray(np.exp(-np.maximum(squared, 0.0) / (2.0 * length**2)))


def farthest_points(points: F64, count: int) -> list[int]:
    """Indices of points that cover the others evenly, the first one first (Gonzalez 1985)."""
    chosen = [0]
    distance = np.linalg.norm(points - points[0], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen
