"""Poses and one shape of a body model for points that are known: Gauss-Newton over some frames.

    min  sum_t ( |x_t - y_t|^2 / s_x^2 + |j_t - k_t|^2 / s_j^2 + |theta_t - theta0_t|^2 / s_th^2 )
         + |z|^2

over every frame's pose theta_t and translation and one shape z of all (x its vertices, y where
they should be; j, k joints; theta0 the pose it starts from). Poses meet only in the shape, so each
frame's are eliminated first (Schur complement), and a frame costs the same however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.avatar.parametric_body import ParametricBody
from engine.body.parametric_jacobian import pose_with_derivatives
from engine.types import F64, I32

ENOUGH = 1e-4
"""A step that lowers the cost by a smaller share is the last."""
DAMPING, SOFTER, HARDER, STIFFEST = 1e-4, 0.2, 10.0, 1e6


@dataclass(frozen=True, slots=True)
class BodyPose:
    """How a body of J joints stands."""

    rotations: F64
    """(J, 3) axis-angle relative to the parent."""
    translation_m: F64
    """(3,)."""


@dataclass(frozen=True, slots=True)
class PoseTarget:
    """What one frame should agree with."""

    points_m: F64
    """(P, 3) of the confined body's vertices."""
    joints_m: F64
    """(K, 3) of ``FitOptions.joints``."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What counts how much: the deviations s_x, s_j and s_th."""

    joints: I32
    """(K,) joints of the model that have a target."""
    point_m: float = 0.004
    """About what nearest points are wrong by, along the surface."""
    joint_m: float = 0.05
    """Models put joints of one name some centimetres apart."""
    turn: float = 0.5
    """Radians."""
    iterations: int = 8
    """At most."""
    shape_is_free: bool = True


@dataclass(frozen=True, slots=True)
class _Normal:
    """One frame's normal equations, of pose and shape; of a shape that stays there is nothing."""

    cost: float
    pose: F64
    cross: F64
    shape: F64
    pose_side: F64
    shape_side: F64


def fit_poses(
    body: ParametricBody,
    targets: Sequence[PoseTarget],
    starts: Sequence[BodyPose],
    z: F64,
    options: FitOptions,
) -> tuple[list[BodyPose], F64]:
    """Fit.

    Args:
        body: its vertices are the P points, its shapes of unit variance.
        targets: one a frame.
        starts: likewise; also what a pose is drawn towards.
        z: (S,) the shape to start from, kept unless ``options.shape_is_free``.
        options: weights and how many steps at most.

    Returns:
        The poses, and the shape.
    """
    rows = np.arange(len(body.template_m), dtype=np.int32)
    poses, damping = list(starts), DAMPING
    best: tuple[float, list[BodyPose], F64, list[_Normal]] | None = None
    for _ in range(options.iterations + 1):
        normals = [
            _normal(body, rows, z, pose, start, target, options)
            for pose, start, target in zip(poses, starts, targets, strict=True)
        ]
        cost = sum(n.cost for n in normals) + float(z @ z)
        if best is None or cost < best[0]:
            finished = best is not None and best[0] - cost < ENOUGH * cost
            best, damping = (cost, poses, z, normals), damping * SOFTER
            if finished:
                break
        elif damping > STIFFEST:
            break
        else:
            damping *= HARDER
        poses, z = _step(*best[1:], damping)
    assert best is not None
    return best[1], best[2]


def _normal(
    body: ParametricBody,
    rows: I32,
    z: F64,
    pose: BodyPose,
    start: BodyPose,
    target: PoseTarget,
    options: FitOptions,
) -> _Normal:
    at = pose_with_derivatives(body, rows, z, pose.rotations, pose.translation_m)
    joints, j = options.joints, pose.rotations.size
    s = len(z) if options.shape_is_free else 0
    away = np.concatenate([at.vertices_m - target.points_m, at.joints_m[joints] - target.joints_m])
    weight = np.repeat([1 / options.point_m, 1 / options.joint_m], [len(rows), len(joints)])
    by_pose = np.concatenate([at.vertices_by_pose, at.joints_by_pose[joints]])
    jacobian = np.empty((len(away), 3, j + 3 + s))
    jacobian[:, :, :j] = by_pose.reshape(-1, 3, j)
    jacobian[:, :, j : j + 3] = np.eye(3)
    if s:
        by_shape = np.concatenate([at.vertices_by_shape, at.joints_by_shape[joints]])
        jacobian[:, :, j + 3 :] = by_shape
    jacobian *= weight[:, None, None]
    residual = (away * weight[:, None]).ravel()
    a = jacobian.reshape(-1, j + 3 + s)
    whole, side = a.T @ a, a.T @ residual
    turned = (pose.rotations - start.rotations).ravel() / options.turn
    n = j + 3
    whole[np.arange(j), np.arange(j)] += 1.0 / options.turn**2
    side[:j] += turned / options.turn
    cost = float(residual @ residual + turned @ turned)
    return _Normal(cost, whole[:n, :n], whole[:n, n:], whole[n:, n:], side[:n], side[n:])


def _step(
    poses: list[BodyPose], z: F64, normals: list[_Normal], damping: float
) -> tuple[list[BodyPose], F64]:
    free = len(normals[0].shape_side)  # all of z, or nothing
    solved, schur, side = [], np.eye(free), z[:free].copy()
    for n in normals:
        damped = n.pose + damping * np.diag(n.pose.diagonal())
        both = np.linalg.solve(damped, np.column_stack([n.pose_side, n.cross]))
        solved.append(both)
        schur += n.shape - n.cross.T @ both[:, 1:]
        side += n.shape_side - n.cross.T @ both[:, 0]
    change = -np.linalg.solve(schur + damping * np.diag(schur.diagonal()), side)
    moved = []
    for pose, both in zip(poses, solved, strict=True):
        step = -both[:, 0] - both[:, 1:] @ change
        turns = pose.rotations + step[:-3].reshape(-1, 3)
        moved.append(BodyPose(turns, pose.translation_m + step[-3:]))
    return moved, z + change if free else z
