"""Matrices of a handful of rows, for kernels.

Numba's ``@`` and ``np.linalg`` call BLAS through SciPy: slower than loops at this size, and the
first call would import SciPy's linear algebra, 60 MB of it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.types import F64


@njit(cache=True, nogil=True)
def exponential(phi: F64, rotation: F64, left: F64) -> None:
    """Rodrigues' formula and the left Jacobian of SO(3), for a rotation vector (3,) in radians.

    Written into ``rotation`` and ``left``, (3, 3) each.
    """
    x, y, z = phi[0], phi[1], phi[2]
    t2 = x * x + y * y + z * z
    if t2 < 1e-10:
        a, b, c = 1.0 - t2 / 6.0, 0.5 - t2 / 24.0, 1.0 / 6.0 - t2 / 120.0
    else:
        t = np.sqrt(t2)
        a, b, c = np.sin(t) / t, (1.0 - np.cos(t)) / t2, (t - np.sin(t)) / (t2 * t)
    for i in range(3):
        for k in range(3):
            rotation[i, k] = b * phi[i] * phi[k]
            left[i, k] = c * phi[i] * phi[k]
        rotation[i, i] += 1.0 - b * t2
        left[i, i] += a
    for i, k, value in ((2, 1, x), (0, 2, y), (1, 0, z)):
        rotation[i, k] += a * value
        rotation[k, i] -= a * value
        left[i, k] += b * value
        left[k, i] -= b * value


@njit(cache=True, nogil=True)
def multiply(a: F64, b: F64, out: F64) -> None:
    """``out = a b``, all (3, 3); ``out`` is neither of the two."""
    for i in range(3):
        for k in range(3):
            out[i, k] = a[i, 0] * b[0, k] + a[i, 1] * b[1, k] + a[i, 2] * b[2, k]


@njit(cache=True, nogil=True)
def transform(matrix: F64, x: F64, out: F64) -> None:
    """``out = matrix x``, (3, 3) and (3,); ``out`` is not ``x``."""
    for i in range(3):
        out[i] = matrix[i, 0] * x[0] + matrix[i, 1] * x[1] + matrix[i, 2] * x[2]


@njit(cache=True, nogil=True)
def quaternion_of(m: F64, q: F64) -> None:
    """Unit quaternion (4,) xyzw of a rotation (3, 3), w >= 0.

    Shepperd's method: divide by the largest component, so that nothing cancels.
    """
    trace = m[0, 0] + m[1, 1] + m[2, 2]
    largest, best = 3, trace
    for i in range(3):
        if m[i, i] > best:
            largest, best = i, m[i, i]
    if largest == 3:
        q[0], q[1], q[2] = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
        q[3] = 1.0 + trace
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        q[i] = 1.0 + 2.0 * m[i, i] - trace
        q[j] = m[i, j] + m[j, i]
        q[k] = m[i, k] + m[k, i]
        q[3] = m[k, j] - m[j, k]
    scale = 1.0 / np.sqrt(q[0] ** 2 + q[1] ** 2 + q[2] ** 2 + q[3] ** 2)
    if q[3] < 0.0:
        scale = -scale
    for i in range(4):
        q[i] *= scale


@njit(cache=True, nogil=True)
def rotation_of(q: F64, m: F64) -> None:
    """Rotation (3, 3) of a unit quaternion (4,) xyzw."""
    x, y, z, w = q[0], q[1], q[2], q[3]
    m[0, 0], m[0, 1], m[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
    m[1, 0], m[1, 1], m[1, 2] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
    m[2, 0], m[2, 1], m[2, 2] = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)


@njit(cache=True, nogil=True)
def logarithm(rotation: F64, phi: F64) -> None:
    """The rotation vector (3,) in radians of a rotation (3, 3), at most half a turn."""
    q = np.empty(4)
    quaternion_of(rotation, q)
    sine = np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
    scale = 2.0 * np.arctan2(sine, q[3]) / sine if sine > 1e-8 else 2.0
    for i in range(3):
        phi[i] = scale * q[i]


@njit(cache=True, nogil=True)
def turn_by(phi: F64, rotation: F64) -> None:
    """Turn a rotation (3, 3), in place, by a rotation vector (3,) in radians."""
    turn, left, turned = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    exponential(phi, turn, left)
    multiply(turn, rotation, turned)
    rotation[:] = turned


@njit(cache=True, nogil=True)
def nearest_rotation(covariance: F64, rotation: F64) -> None:
    """The rotation (3, 3) that best turns points a_i onto b_i, for ``covariance = sum a_i b_i'``.

    Horn, *Closed-form solution of absolute orientation using unit quaternions* (1987): the
    quaternion is the eigenvector of a symmetric matrix that belongs to its largest eigenvalue,
    here found by Jacobi's rotations. It never mirrors.
    """
    c = covariance
    n, vectors, q = np.empty((4, 4)), np.eye(4), np.empty(4)
    n[3, 3] = c[0, 0] + c[1, 1] + c[2, 2]
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        n[i, i] = c[i, i] - c[j, j] - c[k, k]
        n[i, j] = n[j, i] = c[i, j] + c[j, i]
        n[i, 3] = n[3, i] = c[j, k] - c[k, j]
    for _ in range(8):
        for a in range(3):
            for b in range(a + 1, 4):
                _annihilate(n, vectors, a, b)
    best = 0
    for i in range(1, 4):
        if n[i, i] > n[best, best]:
            best = i
    q[:] = vectors[:, best]
    rotation_of(q, rotation)


@njit(cache=True, nogil=True)
def _annihilate(matrix: F64, vectors: F64, a: int, b: int) -> None:
    """Jacobi's rotation that makes entry (a, b) of a symmetric matrix zero, in place."""
    if matrix[a, b] == 0.0:
        return
    half = 0.5 * (matrix[b, b] - matrix[a, a]) / matrix[a, b]
    tangent = 1.0 / (abs(half) + np.sqrt(half * half + 1.0))
    tangent = tangent if half >= 0.0 else -tangent
    cosine = 1.0 / np.sqrt(tangent * tangent + 1.0)
    sine = tangent * cosine
    for k in range(len(matrix)):
        x, y = matrix[k, a], matrix[k, b]
        matrix[k, a], matrix[k, b] = cosine * x - sine * y, sine * x + cosine * y
        x, y = vectors[k, a], vectors[k, b]
        vectors[k, a], vectors[k, b] = cosine * x - sine * y, sine * x + cosine * y
    for k in range(len(matrix)):
        x, y = matrix[a, k], matrix[b, k]
        matrix[a, k], matrix[b, k] = cosine * x - sine * y, sine * x + cosine * y


@njit(cache=True, nogil=True)
def solve_cholesky(hessian: F64, damping: float, factor: F64, gradient: F64, step: F64) -> bool:
    """Solve ``(H + damping diag(H)) step = -gradient``; False when not positive definite.

    ``hessian`` and ``factor`` (scratch) are (N, N), of which the lower triangle is used;
    ``gradient`` and ``step`` are (N,).
    """
    n = len(gradient)
    for i in range(n):
        for j in range(i + 1):
            value = hessian[i, j] if i != j else hessian[i, i] * (1.0 + damping) + 1e-9
            for k in range(j):
                value -= factor[i, k] * factor[j, k]
            if i == j:
                if value <= 0.0:
                    return False
                factor[i, i] = np.sqrt(value)
            else:
                factor[i, j] = value / factor[j, j]
    for i in range(n):
        value = -gradient[i]
        for k in range(i):
            value -= factor[i, k] * step[k]
        step[i] = value / factor[i, i]
    for i in range(n - 1, -1, -1):
        value = step[i]
        for k in range(i + 1, n):
            value -= factor[k, i] * step[k]
        step[i] = value / factor[i, i]
    return True
