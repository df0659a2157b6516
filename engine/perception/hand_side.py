"""Whose hand is it: the person's left, the person's right, or the one the other tracker holds."""

from __future__ import annotations

import numpy as np

from engine.perception.hand_region import Side, from_landmarks, wrist_of, wrist_visibility
from engine.perception.region import Region
from engine.types import F32, HandLandmarks, PoseLandmarks

REACH = 1.0
"""How far, in crop sides (about two hand lengths), a hand may be from the body's wrist."""
CLEAR = 0.15
"""A hand that is nearer to one body wrist than to the other by this many crop sides is its own."""
SAME = 0.25
"""Two readings whose points are on average this close, in crop sides, show one hand."""
VISIBLE = 0.5


def is_same_hand(points: F32, others: F32) -> bool:
    """Whether two sets of (21, 3) landmarks lie on one physical hand."""
    distance = np.hypot(points[:, 0] - others[:, 0], points[:, 1] - others[:, 1]).mean()
    return bool(distance < SAME * from_landmarks(points).side)


def is_at(region: Region, points: F32) -> bool:
    """Whether a region shows the hand that has these (21, 3) landmarks."""
    around = from_landmarks(points)
    away = float(np.hypot(region.cx - around.cx, region.cy - around.cy))
    return away < SAME * around.side


def distinct(
    left: HandLandmarks | None, right: HandLandmarks | None, pose: PoseLandmarks | None
) -> tuple[HandLandmarks | None, HandLandmarks | None]:
    """Of two trackers that met on one hand in this frame, keep the better one.

    Args:
        left: what the left tracker found.
        right: what the right tracker found.
        pose: the body in the same frame.

    Returns:
        Both, or one of them with ``None`` for the other: the one nearer to its own body wrist,
        without a body the surer one.
    """
    if left is None or right is None or not is_same_hand(left.points_px, right.points_px):
        return left, right
    if pose is None:
        left_is_better = left.presence >= right.presence
    else:
        left_is_better = _from_wrist(left, pose, "left") <= _from_wrist(right, pose, "right")
    return (left, None) if left_is_better else (None, right)


def _from_wrist(hand: HandLandmarks, pose: PoseLandmarks, side: Side) -> float:
    return float(np.hypot(*(hand.points_px[0, :2] - wrist_of(pose, side))))


def belongs(
    points: F32, side: Side, pose: PoseLandmarks | None, own_side: float, least: float
) -> bool:
    """Decide whether a reading is the hand of ``side``.

    Where one of the body's wrists is clearly nearer, it decides; otherwise the hand's own looks
    do. Of two trackers on one hand exactly one is therefore right.

    Args:
        points: (21, 3) pixels; 0 is the wrist.
        side: the side asked for.
        pose: the body in the frame before.
        own_side: probability, by its looks, that the hand is of that side.
        least: the smallest such probability to believe.
    """
    looks_right = own_side >= least
    if pose is None or wrist_visibility(pose, side) < VISIBLE:
        return looks_right
    scale = from_landmarks(points).side
    distance = float(np.hypot(*(points[0, :2] - wrist_of(pose, side))))
    if distance > REACH * scale:
        return False
    opposite: Side = "right" if side == "left" else "left"
    if wrist_visibility(pose, opposite) < VISIBLE:
        return looks_right
    to_theirs = float(np.hypot(*(points[0, :2] - wrist_of(pose, opposite))))
    if abs(distance - to_theirs) < CLEAR * scale:
        return looks_right
    return distance < to_theirs
