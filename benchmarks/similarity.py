"""Procrustes alignment, for every error that is measured "after alignment"."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.types import F64


def aligned(points: F64, target: F64, *, scaled: bool) -> F64:
    """``points`` moved onto ``target`` by the best rotation and translation (and scale).

    Umeyama, *Least-squares estimation of transformation parameters* (1991), eqs 39-42.

    Args:
        points: (N, 3).
        target: (N, 3), row i belongs to row i.
        scaled: also find the scale (PA-MPJPE and PA-V2V do; a rigid alignment does not).

    Returns:
        (N, 3).
    """
    return _moved(points, points, target, scaled=scaled)


def laid_on(points: F64, target: F64, where: NDArray[np.bool_]) -> F64:
    """(N, 3) ``points`` moved by the similarity that fits them best ``where`` (N,) says."""
    return _moved(points, points[where], target[where], scaled=True)


def _moved(points: F64, source: F64, target: F64, *, scaled: bool) -> F64:
    own, wanted = source - source.mean(0), target - target.mean(0)
    u, s, vt = np.linalg.svd(own.T @ wanted)
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    rotation = (vt.T * flip) @ u.T
    scale = (s * flip).sum() / (own**2).sum() if scaled else 1.0
    moved: F64 = scale * (points - source.mean(0)) @ rotation.T + target.mean(0)
    return moved
