"""Where a hand's crop lies: from its own landmarks, from the body's, or from a palm."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from engine.perception.detection import Detection
from engine.perception.landmarks import (
    LEFT_INDEX,
    LEFT_PINKY,
    LEFT_WRIST,
    RIGHT_INDEX,
    RIGHT_PINKY,
    RIGHT_WRIST,
    torso_size,
)
from engine.perception.region import UPRIGHT, Region, axis_rotation, from_turned_box, square
from engine.types import F32, PoseLandmarks

Side = Literal["left", "right"]

STABLE = np.array([0, 1, 2, 3, 5, 6, 9, 10, 13, 14, 17, 18])
"""Landmarks that move least against each other: no finger tips."""
LANDMARK_SCALE, LANDMARK_SHIFT = 2.0, -0.1
POSE_SCALE, POSE_SHIFT, POSE_FLOOR = 1.7, -0.1, 0.8
"""MediaPipe crops 2.7 and needs one more network to refine that; 1.7 reads at once (measured on
the signing clips: the hand is found in 85 % of the crops, with 2.7 in 77 %)."""
PALM_SCALE, PALM_SHIFT = 2.6, -0.5

_BODY_POINTS = {
    "left": (LEFT_WRIST, LEFT_INDEX, LEFT_PINKY),
    "right": (RIGHT_WRIST, RIGHT_INDEX, RIGHT_PINKY),
}


def from_landmarks(points: F32) -> Region:
    """MediaPipe's HandLandmarksToRect: the hand points up in its crop. (21, 2 or more) pixels."""
    knuckles = (points[5, :2] + points[13, :2]) / 2.0
    rotation = axis_rotation(points[0], (knuckles + points[9, :2]) / 2.0, UPRIGHT)
    return from_turned_box(points[STABLE], rotation, LANDMARK_SCALE, LANDMARK_SHIFT)


def from_pose(pose: PoseLandmarks, side: Side) -> Region:
    """MediaPipe's HandDetectionsFromPoseToRects: wrist to middle finger, guessed by the body.

    The body network shortens hands that point at the camera, so the side has a floor.
    """
    wrist, index, pinky = (pose.points_px[i, :2] for i in _BODY_POINTS[side])
    middle = (2.0 * index + pinky) / 3.0
    box = 2.0 * math.hypot(float(middle[0] - wrist[0]), float(middle[1] - wrist[1]))
    region = square(
        (float(middle[0]), float(middle[1])),
        (box, box),
        axis_rotation(wrist, middle, UPRIGHT),
        POSE_SCALE,
        POSE_SHIFT,
    )
    floor = POSE_FLOOR * torso_size(pose)
    return Region(region.cx, region.cy, max(region.side, floor), region.rotation)


def from_palm(palm: Detection) -> Region:
    """Keypoint 0 is the wrist, keypoint 2 the middle knuckle."""
    left, top, right, bottom = (float(v) for v in palm.box)
    return square(
        ((left + right) / 2.0, (top + bottom) / 2.0),
        (right - left, bottom - top),
        axis_rotation(palm.keypoints[0], palm.keypoints[2], UPRIGHT),
        PALM_SCALE,
        PALM_SHIFT,
    )


def wrist_of(pose: PoseLandmarks, side: Side) -> F32:
    """(2,): the body's wrist in pixels."""
    wrist: F32 = pose.points_px[_BODY_POINTS[side][0], :2]
    return wrist


def wrist_visibility(pose: PoseLandmarks, side: Side) -> float:
    """Probability that the body's wrist is seen."""
    return float(pose.visibility[_BODY_POINTS[side][0]])


def hand_visibility(pose: PoseLandmarks, side: Side) -> float:
    """Probability that the body's wrist, index finger and little finger are all seen."""
    return float(min(pose.visibility[i] for i in _BODY_POINTS[side]))
