"""Forward kinematics of a joint tree: local rotations to global joint transforms.

The convention is SMPL's: rotations are relative to the parent and written in avatar axes, so that
identity everywhere is the rest pose. With ``h_j`` the joint's rest position,

    T_j = T_parent [R_j | h_j - R_j h_j]

maps a point of the rest pose to the posed one (``G'`` of SMPL's eq. 4). A joint's own posed
position is ``T_j h_j``; its global rotation is the left 3x3 block of ``T_j``.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.types import F32, I32


@njit(cache=True, nogil=True, fastmath=True)
def forward_kinematics(rotations_xyzw: F32, joints_m: F32, parents: I32, out: F32) -> None:
    """Global rest-to-posed transforms of all joints.

    Args:
        rotations_xyzw: (J, 4) unit quaternions relative to the parent, avatar axes.
        joints_m: (J, 3) rest positions.
        parents: (J,), -1 for the root; parents come before children.
        out: (J, 3, 4), filled with ``T_j``. The root turns about its own rest position.
    """
    for j in range(parents.shape[0]):
        x, y, z, w = (
            rotations_xyzw[j, 0],
            rotations_xyzw[j, 1],
            rotations_xyzw[j, 2],
            rotations_xyzw[j, 3],
        )
        hx, hy, hz = joints_m[j, 0], joints_m[j, 1], joints_m[j, 2]
        r00, r01, r02 = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
        r10, r11, r12 = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
        r20, r21, r22 = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)
        tx = hx - (r00 * hx + r01 * hy + r02 * hz)
        ty = hy - (r10 * hx + r11 * hy + r12 * hz)
        tz = hz - (r20 * hx + r21 * hy + r22 * hz)
        p = parents[j]
        for row in range(3):
            if p < 0:
                a, b, c, d = (
                    np.float32(row == 0),
                    np.float32(row == 1),
                    np.float32(row == 2),
                    np.float32(0),
                )
            else:
                a, b, c, d = out[p, row, 0], out[p, row, 1], out[p, row, 2], out[p, row, 3]
            out[j, row, 0] = a * r00 + b * r10 + c * r20
            out[j, row, 1] = a * r01 + b * r11 + c * r21
            out[j, row, 2] = a * r02 + b * r12 + c * r22
            out[j, row, 3] = a * tx + b * ty + c * tz + d


def posed_joints(transforms: F32, joints_m: F32) -> F32:
    """(J, 3) posed joint positions ``T_j h_j``, before the avatar's translation."""
    rotated = np.einsum("jab,jb->ja", transforms[:, :, :3], joints_m)
    return np.asarray(rotated + transforms[:, :, 3], np.float32)
