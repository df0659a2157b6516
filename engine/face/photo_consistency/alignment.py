"""The least-squares problem: texture that every picture agrees on, by shape and head poses.

Direct photometric bundle adjustment (Engel et al. 2018, *Direct Sparse Odometry*) of a face model:
residuals are ``r_kn = I_k(pi(R_k X_n(c) + t_k)) - m_n`` with the texture ``m_n`` the weighted mean
of what the pictures show of point n. The mean is eliminated: with ``J_k`` the rows of picture k,
``H = sum_k J_k' W_k J_k - (sum_k W_k J_k)' (sum_k W_k)^-1 (sum_k W_k J_k)`` (Schur complement).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.types import F32, F64

HUBER = 1.5
"""In standard deviations (Huber 1964)."""
TEXTURE_DEVIATION = 0.3
"""Usual residual of texture, in local contrasts, against which doubt of a place is weighed."""
LEAST_WEIGHT = 1e-3


@dataclass(frozen=True, slots=True)
class Pose:
    """``X = R v + t``: head axes to camera space, metres."""

    rotation: F64
    """(3, 3)."""
    translation: F64
    """(3,)."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One picture of the N points; what does not change while shape and poses do."""

    picture: F32
    """(H, W)."""
    lens: F64
    """(3,) focal length, cx, cy in pixels."""
    weights: F32
    """(N,) 0 where a point is hidden or seen edge-on."""
    doubt_m: F32
    """(N,) by how much expressions may have displaced a point."""

    def coarser(self, deviation_px: float, stride: int) -> Seen:
        """A blurred picture of every ``stride``-th point."""
        picture = cv2.GaussianBlur(self.picture, (0, 0), deviation_px)
        part = slice(None, None, stride)
        return Seen(
            np.asarray(picture, np.float32), self.lens, self.weights[part], self.doubt_m[part]
        )


@dataclass(frozen=True, slots=True)
class Linearised:
    """What a picture shows of the points, and how that changes."""

    values: F32
    """(N,)."""
    by_point: F32
    """(N, 3) with the point's place in head axes, 1 / m."""
    by_pose: F32
    """(N, 6) with a rotation vector (camera axes, turning about the head joint) and a shift."""


@dataclass(frozen=True, slots=True)
class NormalEquations:
    """Of the K coefficients first, then 6 for each pose, with residuals in deviations."""

    hessian: F64
    """(K + 6P, K + 6P)."""
    gradient: F64
    """(K + 6P,)."""
    deviation: float
    """Of the residuals, robust."""


def linearise(seen: Seen, points_m: F64, pose: Pose) -> Linearised:
    """Look points (N, 3) of the head up in a picture, with derivatives."""
    turned = points_m @ pose.rotation.T
    x, y, z = (turned + pose.translation).T
    focal, cx, cy = seen.lens
    scale = focal / -z
    u, v = (cx + x * scale).astype(np.float32), (cy - y * scale).astype(np.float32)
    values, along_u, along_v = (_sampled(p, u, v) for p in (seen.picture, *_slopes(seen.picture)))
    # du = scale (dx + x/-z dz), dv = -scale (dy + y/-z dz)
    by_place = np.stack(
        [scale * along_u, -scale * along_v, scale * (along_u * x - along_v * y) / -z], axis=1
    )
    by_turn = np.cross(turned, by_place)
    return Linearised(
        values=values,
        by_point=(by_place @ pose.rotation).astype(np.float32),
        by_pose=np.hstack([by_turn, by_place]).astype(np.float32),
    )


def _slopes(picture: F32) -> tuple[F32, F32]:
    """Of what bilinear look-up gives, on average over a pixel: central differences."""
    kernel = np.array([[-0.5, 0.0, 0.5]], np.float32)
    along_u = cv2.filter2D(picture, cv2.CV_32F, kernel)
    along_v = cv2.filter2D(picture, cv2.CV_32F, kernel.T)
    return np.asarray(along_u, np.float32), np.asarray(along_v, np.float32)


def _sampled(picture: F32, u: F32, v: F32) -> F32:
    found = cv2.remap(picture, u[None], v[None], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found[0], np.float32)


def normal_equations(
    seen: Sequence[Seen], points_m: F64, basis_m: F32, poses: Sequence[Pose]
) -> NormalEquations:
    """Linearise the texture's disagreement.

    Args:
        seen: P pictures.
        points_m: (N, 3) head axes.
        basis_m: (3, N, K) how points move with the coefficients.
        poses: P of the head.
    """
    found = [linearise(one, points_m, pose) for one, pose in zip(seen, poses, strict=True)]
    values = np.stack([f.values for f in found])
    weights = np.stack([_trust(one, f) for one, f in zip(seen, found, strict=True)])
    residuals, weights, deviation = _robust(values, weights)
    count, total = basis_m.shape[2], basis_m.shape[2] + 6 * len(found)
    hessian, gradient = np.zeros((total, total)), np.zeros(total)
    means = np.zeros((points_m.shape[0], total), np.float32)
    for k, linear in enumerate(found):
        rows = np.flatnonzero(weights[k] > LEAST_WEIGHT)
        columns = np.r_[0:count, count + 6 * k : count + 6 * k + 6]
        jacobian = np.hstack([_by_coefficient(linear, basis_m, rows), linear.by_pose[rows]])
        weighted = jacobian * weights[k, rows, None]
        hessian[np.ix_(columns, columns)] += weighted.T @ jacobian
        gradient[columns] += weighted.T @ residuals[k, rows]
        means[np.ix_(rows, columns)] += weighted
    shown = weights.sum(axis=0)
    twice = np.flatnonzero(shown > LEAST_WEIGHT)
    means = means[twice] / np.sqrt(shown[twice, None])
    hessian -= means.T @ means
    return NormalEquations(hessian / deviation**2, gradient / deviation**2, deviation)


def _by_coefficient(linear: Linearised, basis_m: F32, rows: NDArray[np.intp]) -> F32:
    slopes = linear.by_point[rows]
    return np.asarray(sum(slopes[:, a, None] * basis_m[a, rows] for a in range(3)), np.float32)


def _trust(seen: Seen, linear: Linearised) -> F32:
    """Weights less where a doubtful place would change what is seen."""
    strayed = np.linalg.norm(linear.by_point, axis=1) * seen.doubt_m / TEXTURE_DEVIATION
    return np.asarray(seen.weights / (1.0 + strayed**2), np.float32)


def _robust(values: F32, weights: F32) -> tuple[F32, F32, float]:
    """Residuals (P, N) from the mean texture, Huber's weights, and the residuals' deviation."""
    sure = weights > 0.1
    reweighted, deviation = weights, TEXTURE_DEVIATION
    for _ in range(3):
        mean = (reweighted * values).sum(axis=0) / np.maximum(reweighted.sum(axis=0), 1e-9)
        residuals = values - mean
        size = np.abs(residuals)
        if sure.any():
            deviation = max(1.4826 * float(np.median(size[sure])), 0.05)
        reweighted = weights * np.minimum(1.0, HUBER * deviation / np.maximum(size, 1e-9))
    mean = (reweighted * values).sum(axis=0) / np.maximum(reweighted.sum(axis=0), 1e-9)
    return values - mean, reweighted.astype(np.float32), deviation
