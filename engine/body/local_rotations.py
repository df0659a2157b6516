"""From global joint rotations to the quaternions relative to the parent that an avatar carries."""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.small_matrices import quaternion_of
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
        quaternion_of(local, out[j])
