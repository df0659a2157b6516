"""From global joint rotations to the quaternions relative to the parent that an avatar carries."""

from __future__ import annotations

import numpy as np

from engine.body import quaternions
from engine.types import F64, I32


def local_rotations(parents: I32, rotations: F64) -> F64:
    """Rotations relative to the parent.

    Args:
        parents: (J,), -1 for the root.
        rotations: (J, 3, 3) global.

    Returns:
        (J, 4) unit quaternions xyzw.
    """
    local = rotations.copy()
    local[1:] = np.swapaxes(rotations[parents[1:]], 1, 2) @ rotations[1:]
    return np.asarray(quaternions.from_matrix(local), np.float64)
