"""Derivatives of a parametric body's joints and vertices: what a fit of poses and shapes needs.

With ``q_k`` the posed place of joint k, ``w_ka`` the axis about which its a-th axis-angle
component turns the body, and ``desc(k)`` the joints that hang on it,

    dx_v / dtheta_ka = sum_{j in desc(k)} W_vj  w_ka x (G'_j p_v - q_k)  +  sum_j W_vj R_j dp_v
    dx_v / dbeta_b   = sum_j W_vj (R_j (S_b,v - dh_j) + dq_j)

where ``dp_v`` is the pose corrective's own derivative. Checked by finite differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.parametric_body import ParametricBody
from engine.types import F64, I32


@dataclass(frozen=True, slots=True)
class PosedPoints:
    """P vertices and J joints of one pose, with their derivatives."""

    vertices_m: F64
    """(P, 3)."""
    joints_m: F64
    """(J, 3)."""
    vertices_by_pose: F64
    """(P, 3, J, 3) by axis-angle."""
    joints_by_pose: F64
    """(J, 3, J, 3)."""
    vertices_by_shape: F64
    """(P, 3, S + E)."""
    joints_by_shape: F64
    """(J, 3, S + E)."""


def pose_with_derivatives(
    body: ParametricBody, rows: I32, shape: F64, rotations: F64, translation_m: F64
) -> PosedPoints:
    """Pose some vertices, and say how they move with every parameter.

    The translation's derivative is the identity.

    Args:
        body: the model.
        rows: (P,) which vertices.
        shape: (S + E,) betas, then expressions.
        rotations: (J, 3) axis-angle relative to the parent.
        translation_m: (3,).
    """
    j = len(body.parents)
    shapes = body.shape_dirs_m.reshape(len(shape), -1, 3)[:, rows].astype(np.float64)
    joint_shapes = body.joint_dirs_m.reshape(len(shape), j, 3).astype(np.float64)
    rest = body.template_m[rows] + np.tensordot(shape, shapes, 1)
    rest_joints = body.joint_template_m + np.tensordot(shape, joint_shapes, 1)
    local, turned = _rotations(rotations)
    glob, places, axes, below = _pose_chain(body.parents, local, turned, rest_joints)
    point, point_by = _corrected(body, rows, rest, local, turned)
    weights = body.weights[rows].astype(np.float64)
    by_joint = glob @ (point.T[None] - rest_joints[:, :, None]) + places[:, :, None]  # (J, 3, P)
    carried_by = weights.T[:, None] * by_joint  # what each joint contributes to each vertex
    vertices = carried_by.sum(axis=0).T
    # Of what turns with joint k: matrix products, for these sums are most of the work.
    arm = (below @ carried_by.reshape(j, -1)).reshape(j, 3, -1)
    arm -= places[:, :, None] * (below @ weights.T)[:, None]
    vertices_by_pose = _turned_about(axes, arm.transpose(2, 0, 1))
    blended = (weights @ glob.reshape(j, 9)).reshape(-1, 3, 3)
    if point_by is not None:
        corrected = blended @ point_by.reshape(len(point), 3, -1)
        vertices_by_pose[:, :, 1:] += corrected.reshape(len(point), 3, j - 1, 3)
    apart = places[:, None] - places[None]  # (J, K, 3)
    joints_by_pose = _turned_about(axes, apart) * below.T[:, None, :, None]
    places_by = _places_by_shape(body.parents, glob, joint_shapes)
    carried = glob @ joint_shapes.transpose(1, 2, 0)
    vertices_by_shape = blended @ shapes.transpose(1, 2, 0)
    vertices_by_shape += (weights @ (places_by - carried).reshape(j, -1)).reshape(
        vertices_by_shape.shape
    )
    return PosedPoints(
        vertices + translation_m,
        places + translation_m,
        vertices_by_pose,
        joints_by_pose,
        vertices_by_shape,
        places_by,
    )


def _turned_about(axes: F64, arms: F64) -> F64:
    """(P, 3, K, 3): ``axes[k, a] x arms[p, k]``, the cross product last but one."""
    out = np.empty((len(arms), 3, *axes.shape[:2]))
    x, y, z = np.moveaxis(axes, 2, 0)
    u, v, w = np.moveaxis(arms[..., None], 2, 0)
    out[:, 0] = y * w - z * v
    out[:, 1] = z * u - x * w
    out[:, 2] = x * v - y * u
    return out


def _rotations(rotations: F64) -> tuple[F64, F64]:
    """(J, 3, 3) matrices and (J, 3, 3): column a the axis about which component a turns."""
    angle = np.linalg.norm(rotations, axis=1)[:, None, None]
    cross, safe = _cross_matrix(rotations), np.maximum(angle, 1e-8)
    small = angle < 1e-4
    s = np.where(small, 1.0 - angle**2 / 6.0, np.sin(angle) / safe)
    c = np.where(small, 0.5 - angle**2 / 24.0, (1.0 - np.cos(angle)) / safe**2)
    d = np.where(small, 1.0 / 6.0 - angle**2 / 120.0, (angle - np.sin(angle)) / safe**3)
    square = cross @ cross
    return np.eye(3) + s * cross + c * square, np.eye(3) + c * cross + d * square


def _cross_matrix(vectors: F64) -> F64:
    out = np.zeros((*vectors.shape[:-1], 3, 3))
    x, y, z = np.moveaxis(vectors, -1, 0)
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -z, y, -x
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = z, -y, x
    return out


def _pose_chain(
    parents: I32, local: F64, turned: F64, rest_joints: F64
) -> tuple[F64, F64, F64, F64]:
    """Rotations and places, (K, 3, 3) turning axes by component, (K, J) 1 where j turns with k."""
    j = len(parents)
    glob, places = local.copy(), rest_joints.copy()
    axes, below = np.empty((j, 3, 3)), np.eye(j)
    for n in range(j):
        p = parents[n]
        above = np.eye(3) if p < 0 else glob[p]
        axes[n] = (above @ turned[n]).T
        if p >= 0:
            glob[n] = above @ local[n]
            places[n] = places[p] + above @ (rest_joints[n] - rest_joints[p])
            below[:, n] = np.maximum(below[:, n], below[:, p])
    return glob, places, axes, below


def _corrected(
    body: ParametricBody, rows: I32, rest: F64, local: F64, turned: F64
) -> tuple[F64, F64 | None]:
    """Vertices with pose correctives, and (P, 3, J - 1, 3) their derivatives."""
    if not len(body.pose_dirs_m):
        return rest, None
    dirs = body.pose_dirs_m.reshape(len(local) - 1, 3, 3, -1, 3)[:, :, :, rows].astype(np.float64)
    moved = (local[1:] - np.eye(3)).ravel() @ dirs.reshape(9 * len(dirs), -1)
    point = rest + moved.reshape(-1, 3)
    # d R / d theta_a = [turned column a]_x R.
    turning = _cross_matrix(turned[1:].transpose(0, 2, 1)) @ local[1:, None]
    flat = turning.reshape(len(dirs), 3, 9) @ dirs.reshape(len(dirs), 9, -1)  # (K, 3, 3P)
    return point, flat.reshape(len(dirs), 3, -1, 3).transpose(2, 3, 0, 1)


def _places_by_shape(parents: I32, glob: F64, joint_shapes: F64) -> F64:
    """(J, 3, K)."""
    out = joint_shapes.transpose(1, 2, 0).copy()
    for n in range(1, len(parents)):
        p = parents[n]
        step = (joint_shapes[:, n] - joint_shapes[:, p]).T
        out[n] = out[p] + glob[p] @ step
    return out
