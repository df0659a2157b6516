"""Unit quaternions, xyzw, as batches: the rotation algebra that every fit shares.

All functions take and return arrays whose last axis is the quaternion (4), vector (3) or matrix
(3, 3); leading axes broadcast. ``multiply(a, b)`` rotates by ``b`` first, as matrices do.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.small_matrices import quaternion_of

Floats: TypeAlias = NDArray[np.floating[Any]]

IDENTITY_XYZW = (0.0, 0.0, 0.0, 1.0)
_SMALL = 1e-8


def identity(count: int) -> NDArray[np.float32]:
    """(count, 4) identity rotations."""
    return np.tile(np.array(IDENTITY_XYZW, np.float32), (count, 1))


def normalize(q: Floats) -> Floats:
    """Scale to unit length; a zero quaternion becomes the identity."""
    length = np.linalg.norm(q, axis=-1, keepdims=True)
    unit = q / np.maximum(length, _SMALL)
    return np.where(length > _SMALL, unit, np.array(IDENTITY_XYZW, q.dtype))


def conjugate(q: Floats) -> Floats:
    """The inverse rotation of a unit quaternion."""
    return q * np.array([-1, -1, -1, 1], q.dtype)


def multiply(a: Floats, b: Floats) -> Floats:
    """Hamilton product ``a b``: rotate by ``b``, then by ``a``."""
    av, aw = a[..., :3], a[..., 3:]
    bv, bw = b[..., :3], b[..., 3:]
    vector = aw * bv + bw * av + np.cross(av, bv)
    scalar = aw * bw - np.sum(av * bv, axis=-1, keepdims=True)
    return np.concatenate([vector, scalar], axis=-1)


def rotate(q: Floats, v: Floats) -> Floats:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    axis, w = q[..., :3], q[..., 3:]
    t = 2.0 * np.cross(axis, v)
    return v + w * t + np.cross(axis, t)


def to_matrix(q: Floats) -> Floats:
    """Rotation matrices (..., 3, 3) of unit quaternions."""
    x, y, z, w = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def from_matrix(matrix: Floats) -> Floats:
    """Unit quaternions of rotation matrices (..., 3, 3), with w >= 0 (Shepperd's method)."""
    flat = np.ascontiguousarray(matrix, np.float64).reshape(-1, 3, 3)
    out = np.empty((len(flat), 4))
    _quaternions_of(flat, out)
    return out.reshape(*matrix.shape[:-2], 4).astype(matrix.dtype, copy=False)


@njit(cache=True, nogil=True)
def _quaternions_of(matrices: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    for i in range(len(matrices)):
        quaternion_of(matrices[i], out[i])


def from_rotation_vector(rotation: Floats) -> Floats:
    """Exponential map: axis times angle in radians (..., 3) to unit quaternions."""
    angle = np.linalg.norm(rotation, axis=-1, keepdims=True)
    half = 0.5 * angle
    # sinc keeps full accuracy at zero: sin(a/2)/a = sinc(a/2 / pi) / 2.
    scale = 0.5 * np.sinc(half / np.pi)
    return np.concatenate([rotation * scale, np.cos(half)], axis=-1)


def to_rotation_vector(q: Floats) -> Floats:
    """Logarithm: unit quaternions to axis times angle, angle in [0, pi]."""
    q = np.where(q[..., 3:] < 0, -q, q)
    sine = np.linalg.norm(q[..., :3], axis=-1, keepdims=True)
    angle = 2.0 * np.arctan2(sine, q[..., 3:])
    scale = np.where(sine > _SMALL, angle / np.maximum(sine, _SMALL), 2.0)
    return q[..., :3] * scale


def slerp(a: Floats, b: Floats, t: float | Floats) -> Floats:
    """Constant-speed interpolation from ``a`` (t = 0) to ``b`` (t = 1), the short way round."""
    difference = to_rotation_vector(multiply(conjugate(a), b))
    return multiply(a, from_rotation_vector(difference * np.asarray(t, difference.dtype)))


def between_vectors(source: Floats, target: Floats) -> Floats:
    """The smallest rotation that brings each direction ``source`` onto ``target``.

    Opposite directions have no smallest rotation; they turn about some perpendicular axis.
    """
    u = source / np.maximum(np.linalg.norm(source, axis=-1, keepdims=True), _SMALL)
    v = target / np.maximum(np.linalg.norm(target, axis=-1, keepdims=True), _SMALL)
    w = 1.0 + np.sum(u * v, axis=-1, keepdims=True)
    smallest = np.eye(3, dtype=u.dtype)[np.argmin(np.abs(u), axis=-1)]
    opposite = np.concatenate([np.cross(u, smallest), np.zeros_like(w)], axis=-1)
    regular = np.concatenate([np.cross(u, v), w], axis=-1)
    return normalize(np.where(w > 1e-6, regular, opposite))


def swing_twist(q: Floats, axis: Floats) -> tuple[Floats, Floats]:
    """Split ``q = swing * twist`` with ``twist`` about the unit ``axis``.

    Where the rotation is half a turn about a perpendicular axis the twist is the identity.
    """
    along = np.sum(q[..., :3] * axis, axis=-1, keepdims=True)
    twist = normalize(np.concatenate([along * axis, q[..., 3:]], axis=-1))
    return multiply(q, conjugate(twist)), twist
