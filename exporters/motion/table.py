"""A spreadsheet: one row a frame, the times as they were."""

from __future__ import annotations

import csv
import io

import numpy as np

from engine.types import ARKIT_NAMES
from exporters.motion.clip import MotionClip


def write_csv(clip: MotionClip) -> bytes:
    """Time, translation, a quaternion for each joint, 52 actions by their ARKit names."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    joints = [f"{name}.q{axis}" for name in clip.avatar.joint_names for axis in "xyzw"]
    writer.writerow(["time_s", "x_m", "y_m", "z_m", *joints, *ARKIT_NAMES])
    count = len(clip.times_s)
    rows = np.concatenate(
        [
            clip.times_s[:, None],
            clip.translation_m,
            clip.rotations_xyzw.reshape(count, -1),
            clip.expression,
        ],
        axis=1,
    )
    np.savetxt(text, rows, fmt="%.6g", delimiter=",")
    return text.getvalue().encode("ascii")
