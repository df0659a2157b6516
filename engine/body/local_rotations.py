"""From global joint rotations to the quaternions relative to the parent that an avatar carries."""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.types import F64, I32


def local_rotations(parents: I32, rotations: F64) -> F64:
    """Rotations relative to the parent.

    Args:
        parents: (J,), -1 for the root.
        rotations: (J, 3, 3) global.

    Returns:
        (J, 4) unit quaternions xyzw, w not negative.
    """
    out = np.empty((len(parents), 4))
    _local_quaternions(parents, rotations, out)
    return out


@njit(cache=True, nogil=True)
def _local_quaternions(parents: I32, rotations: F64, out: F64) -> None:
    local = np.empty((3, 3))
    for j in range(len(parents)):
        for i in range(3):
            for k in range(3):
                if parents[j] < 0:
                    local[i, k] = rotations[j, i, k]
                else:
                    p = rotations[parents[j]]
                    g = rotations[j]
                    local[i, k] = p[0, i] * g[0, k] + p[1, i] * g[1, k] + p[2, i] * g[2, k]
        _quaternion(local, out[j])


@njit(cache=True, nogil=True)
def _quaternion(m: F64, q: F64) -> None:
    """Shepperd's method: divide by the largest component, so that nothing cancels."""
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
