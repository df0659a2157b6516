"""Head pose: where the head is and how it is turned, from landmarks and the person's own face.

A stranger's pose is weighted orthogonal Procrustes in space (Schönemann 1966; Umeyama 1991 for the
scale), as in MediaPipe's face geometry; once their own face is known, Gauss-Newton on the
reprojection error, which is steadier because it needs no depth from the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.small_matrices import exponential, multiply, solve_cholesky
from engine.types import F32, F64, Camera

ITERATIONS = 6
CONVERGED = 1e-6
DAMPING = 1e-9
MIN_DEPTH_M = 0.05
"""Nothing is seen nearer than this: keeps a wild step from passing behind the camera."""


@dataclass(frozen=True, slots=True)
class HeadPose:
    """``X = R (v - head joint at rest) + t``: Anny's rest pose to camera space."""

    rotation_xyzw: F32
    """(4,) unit quaternion, camera axes: identity when the head faces the camera upright."""
    translation_m: F32
    """(3,): where the head joint is in camera space."""
    residual_px: float
    """Weighted root mean square reprojection error."""


@dataclass(frozen=True, slots=True)
class Similarity:
    """``y = scale * rotation @ x + translation``."""

    scale: float
    rotation: F64
    """(3, 3)."""
    translation: F64
    """(3,)."""


def procrustes(source: F64, target: F64, weights: F64) -> Similarity:
    """The similarity that takes one point set closest to another (Umeyama 1991, eqs 39-43).

    Args:
        source: (N, 3).
        target: (N, 3), any unit.
        weights: (N,), not negative, not all zero.

    Returns:
        The minimiser of ``sum_i w_i |y_i - (s R x_i + t)|^2`` with ``det R = 1``.
    """
    share = weights / weights.sum()
    source_mean, target_mean = share @ source, share @ target
    centred = source - source_mean
    covariance = (target - target_mean).T @ (share[:, None] * centred)
    u, singular, vt = np.linalg.svd(covariance)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float(singular @ signs / (share @ (centred**2).sum(axis=1)))
    return Similarity(scale, rotation, target_mean - scale * rotation @ source_mean)


def initial_pose(model_m: F64, points_px: F64, weights: F64, camera: Camera) -> tuple[F64, F64]:
    """Pose by Procrustes in space: every landmark is put on its ray at the network's depth.

    Depth keeps a face of other proportions than the model's from being read as a tilted head:
    for a stranger this is ten degrees better in pitch than the reprojection error, though noisier.

    Args:
        model_m: (N, 3) the face in head coordinates.
        points_px: (N, 3) landmarks; z in pixels, smaller is nearer.
        weights: (N,).
        camera: the pinhole camera.

    Returns:
        Rotation (3, 3) and translation (3,) in metres.
    """
    share = weights / weights.sum()
    depth = 1.0 + (points_px[:, 2] - share @ points_px[:, 2]) / camera.focal_px
    right = (points_px[:, 0] - camera.cx) / camera.focal_px
    up = (camera.cy - points_px[:, 1]) / camera.focal_px
    # In units of the face's distance, which is the inverse of the scale that Procrustes finds.
    places = np.column_stack([right * depth, up * depth, -depth])
    fit = procrustes(model_m, places, weights)
    return fit.rotation, fit.translation / max(fit.scale, 1e-9)


@njit(cache=True, nogil=True)
def _reproject(
    model_m: F64, points_px: F64, rotation: F64, translation: F64, lens: F64, i: int, out: F64
) -> None:
    """``out``: the residual (2 px), the turned model point (3 m) and the camera point (3 m)."""
    for a in range(3):
        out[2 + a] = (
            rotation[a, 0] * model_m[i, 0]
            + rotation[a, 1] * model_m[i, 1]
            + rotation[a, 2] * model_m[i, 2]
        )
        out[5 + a] = out[2 + a] + translation[a]
    scale = lens[0] / max(-out[7], MIN_DEPTH_M)
    out[0] = points_px[i, 0] - lens[1] - scale * out[5]
    out[1] = lens[2] - points_px[i, 1] - scale * out[6]


@njit(cache=True, nogil=True)
def _normal_equations(
    model_m: F64, points_px: F64, weights: F64, rotation: F64, translation: F64, lens: F64
) -> tuple[F64, F64, float]:
    """``J'WJ`` (6, 6; its lower triangle), ``J'Wr`` (6,) and ``r'Wr``.

    Of the step (rotation vector, translation).
    """
    hessian, gradient, cost = np.zeros((6, 6)), np.zeros(6), 0.0
    point, jx, jy = np.empty(8), np.empty(6), np.empty(6)
    for i in range(model_m.shape[0]):
        if weights[i] == 0.0:
            continue
        _reproject(model_m, points_px, rotation, translation, lens, i, point)
        px, py, pz = point[2], point[3], point[4]
        inverse = 1.0 / max(-point[7], MIN_DEPTH_M)
        scale, tx, ty = lens[0] * inverse, point[5] * inverse, point[6] * inverse
        # d(camera point) = -[P]x d(rotation) + d(translation); z points at the camera.
        jx[0], jx[1], jx[2] = scale * tx * py, scale * (pz - tx * px), -scale * py
        jx[3], jx[4], jx[5] = scale, 0.0, scale * tx
        jy[0], jy[1], jy[2] = scale * (ty * py - pz), -scale * ty * px, scale * px
        jy[3], jy[4], jy[5] = 0.0, scale, scale * ty
        w = weights[i]
        cost += w * (point[0] * point[0] + point[1] * point[1])
        for a in range(6):
            gradient[a] += w * (jx[a] * point[0] + jy[a] * point[1])
            for b in range(a + 1):
                hessian[a, b] += w * (jx[a] * jx[b] + jy[a] * jy[b])
    return hessian, gradient, cost


@njit(cache=True, nogil=True)
def refine_pose(
    model_m: F64, points_px: F64, weights: F64, rotation: F64, translation: F64, lens: F64
) -> tuple[F64, F64, float]:
    """Gauss-Newton on the reprojection error from a start that is near.

    Args:
        model_m: (N, 3) the face in head coordinates.
        points_px: (N, 3) landmarks, x and y used.
        weights: (N,).
        rotation: (3, 3) start.
        translation: (3,) start.
        lens: (3,) focal length, cx, cy in pixels.

    Returns:
        Rotation, translation and the weighted root mean square residual in pixels.
    """
    rotation, translation = rotation.copy(), translation.copy()
    factor, step = np.empty((6, 6)), np.empty(6)
    turn, left, turned = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    cost = 0.0
    for _ in range(ITERATIONS):
        hessian, gradient, cost = _normal_equations(
            model_m, points_px, weights, rotation, translation, lens
        )
        if not solve_cholesky(hessian, DAMPING, factor, -gradient, step):
            break
        exponential(step[:3], turn, left)
        multiply(turn, rotation, turned)
        rotation[:] = turned
        translation += step[3:]
        translation[2] = min(translation[2], -2.0 * MIN_DEPTH_M)
        if np.abs(step).max() < CONVERGED:
            break
    return rotation, translation, np.sqrt(cost / weights.sum())


@njit(cache=True, nogil=True)
def reprojection_rms(
    model_m: F64, points_px: F64, weights: F64, rotation: F64, translation: F64, lens: F64
) -> float:
    """Weighted root mean square distance in pixels between landmarks and the posed model."""
    _, _, cost = _normal_equations(model_m, points_px, weights, rotation, translation, lens)
    return float(np.sqrt(cost / weights.sum()))
