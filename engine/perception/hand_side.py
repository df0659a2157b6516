"""Whose hand is it: the person's left, the person's right, or the one the other tracker holds."""

from __future__ import annotations

import numpy as np

from engine.perception.hand_region import Side, from_landmarks, wrist_of, wrist_visibility
from engine.types import F32, PoseLandmarks

REACH = 1.0
"""How far, in crop sides (about two hand lengths), a hand may be from the body's wrist."""
APART = 0.5
"""Wrists that are further apart than this many crop sides tell the hands from each other."""
SAME = 0.25
"""Two readings whose points are on average this close, in crop sides, show one hand."""
VISIBLE = 0.5


def is_same_hand(points: F32, others: F32) -> bool:
    """Whether two sets of (21, 3) landmarks lie on one physical hand."""
    distance = np.hypot(points[:, 0] - others[:, 0], points[:, 1] - others[:, 1]).mean()
    return bool(distance < SAME * from_landmarks(points).side)


def belongs(
    points: F32, side: Side, pose: PoseLandmarks | None, own_side: float, least: float
) -> bool:
    """Decide whether a reading is the hand of ``side``.

    Where the body's two wrists are seen apart, the nearer one decides. Otherwise the hand's own
    looks decide. Of two trackers on one hand exactly one is therefore right.

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
    mine = wrist_of(pose, side)
    distance = float(np.hypot(*(points[0, :2] - mine)))
    if distance > REACH * scale:
        return False
    opposite: Side = "right" if side == "left" else "left"
    if wrist_visibility(pose, opposite) < VISIBLE:
        return looks_right
    theirs = wrist_of(pose, opposite)
    if float(np.hypot(*(mine - theirs))) < APART * scale:
        return looks_right
    return distance <= float(np.hypot(*(points[0, :2] - theirs)))
