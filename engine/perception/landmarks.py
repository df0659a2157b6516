"""Names of the landmarks that perception itself needs, and the change into glTF axes."""

from __future__ import annotations

import numpy as np

from engine.types import F32, PoseLandmarks

NOSE, RIGHT_EYE, LEFT_EYE = 0, 5, 2
LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP = 11, 12, 23, 24
LEFT_WRIST, LEFT_PINKY, LEFT_INDEX = 15, 17, 19
RIGHT_WRIST, RIGHT_PINKY, RIGHT_INDEX = 16, 18, 20
FACE_POINTS = slice(0, 11)

_TO_GLTF = np.array([1.0, -1.0, -1.0], np.float32)


def to_gltf_axes(world: F32) -> F32:
    """From the networks' axes (x right, y down, z away) to glTF's (x right, y up, z to the camera).

    Half a turn about x, so handedness is kept. (N, 3) metres in and out.
    """
    turned: F32 = world * _TO_GLTF
    return turned


def sigmoid(logits: F32) -> F32:
    """``1 / (1 + exp(-x))``, safe for large logits."""
    probability: F32 = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return probability


def torso_size(pose: PoseLandmarks) -> float:
    """Shoulder width or trunk height, whichever shows longer: a scale in pixels for the body."""
    points = pose.points_px[:, :2]
    width = np.linalg.norm(points[LEFT_SHOULDER] - points[RIGHT_SHOULDER])
    top = (points[LEFT_SHOULDER] + points[RIGHT_SHOULDER]) / 2.0
    bottom = (points[LEFT_HIP] + points[RIGHT_HIP]) / 2.0
    return float(max(width, 0.7 * np.linalg.norm(top - bottom)))
