"""Turn one observation into weighted measurements for the body's fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from engine.body.gauss_newton import Residuals, Targets
from engine.body.hand_targets import PALM
from engine.body.landmark_embedding import BODY_POINTS, LandmarkEmbedding, PointSet
from engine.body.residuals import directions
from engine.small_matrices import rotation_of
from engine.types import F64, Camera, HandLandmarks, Observation, PoseLandmarks

POINT_SIGMA_M = 0.012
"""Standard deviation of a landmark in the picture, in metres at the body's depth."""
PALM_SIGMA_M = 0.008
PALM_DIRECTION_SIGMA = 0.2
WRIST_APART_M = 0.12
"""A hand that begins further than this from its arm's wrist is another hand."""
HAND_OVER_POSE = 0.05
"""What the pose network's own rough hand is still worth where the hand network sees one."""
HEAD_OVER_POSE = 0.2
HEAD_SIGMA = 0.06
HEAD_POSITION_SIGMA_M = 0.005

# (from, to, standard deviation in radians), BlazePose's numbers, left side; the right is + 1.
_PAIRS = (
    (23, 11, 0.12), (11, 13, 0.14), (13, 15, 0.14), (15, 17, 0.4), (15, 19, 0.35),
    (23, 25, 0.14), (25, 27, 0.14), (27, 31, 0.3), (29, 31, 0.3), (11, 7, 0.3),
)  # fmt: skip
_MIDDLE = ((11, 12, 0.12), (23, 24, 0.15), (7, 8, 0.2), (7, 0, 0.25), (8, 0, 0.25))
BODY_SEGMENTS = _MIDDLE + tuple(
    (a + side, b + side, sigma) for a, b, sigma in _PAIRS for side in (0, 1)
)
HEAD_POINTS = slice(0, 11)
HAND_POINTS_OF_POSE = {"left": (15, 17, 19, 21), "right": (16, 18, 20, 22)}
_ROOTS = {name: BODY_POINTS + len(PALM) * k for k, name in enumerate(("left", "right"))}
_PALM_PAIRS = ((0, 1), (0, 2), (0, 4), (1, 4))
"""Pairs of entries of PALM."""
_PALM_ROWS = list(PALM)
_PALM_SEGMENTS = np.array([(PALM[a], PALM[b]) for a, b in _PALM_PAIRS], np.int32)
SEGMENTS = tuple((a, b) for a, b, _ in BODY_SEGMENTS) + tuple(
    (root + a, root + b) for root in _ROOTS.values() for a, b in _PALM_PAIRS
)


@dataclass(frozen=True, slots=True)
class HeadPose:
    """The head as the face's fit has it."""

    rotation_xyzw: F64
    """(4,) global rotation of the head joint: rest pose to camera space."""
    confidence: float = 1.0
    position_m: F64 | None = None
    """(3,) of the head joint in camera space. Only its direction counts: its depth depends on the
    size that the face's fit gives the head."""


def body_points(embedding: LandmarkEmbedding, head: int) -> PointSet:
    """33 body points, then five of each palm, then the head joint itself.

    Args:
        embedding: of a person.
        head: the index of the head joint.
    """
    rows = list(PALM)
    sets = (embedding.left_hand, embedding.right_hand)
    return PointSet(
        np.concatenate([embedding.body.bones, *(s.bones[rows] for s in sets), [head]]),
        np.concatenate(
            [embedding.body.offsets_m, *(s.offsets_m[rows] for s in sets), np.zeros((1, 3))]
        ),
    )


_ENDS = [17, 19, 21, 18, 20, 22, 29, 31, 30, 32]
_ENDS_HANG_ON = [15, 15, 15, 16, 16, 16, 27, 27, 28, 28]


def certainty(pose: PoseLandmarks, width: int, height: int) -> F64:
    """(33,) trust in each landmark: from visibility, less beyond the picture's edge.

    The network answers for every point; those it cannot see it invents around visibility 0.
    """
    trust = np.clip((pose.visibility.astype(np.float64) - 0.35) / 0.5, 0.0, 1.0) ** 2
    # A hand or foot is worth no more than the joint it hangs on.
    trust[_ENDS] = np.minimum(trust[_ENDS], trust[_ENDS_HANG_ON])
    x, y = pose.points_px[:, 0], pose.points_px[:, 1]
    inside = (x > -0.02 * width) & (x < 1.02 * width) & (y > -0.02 * height) & (y < 1.02 * height)
    return np.asarray(trust * np.where(inside, 1.0, 0.15))


def clear(targets: Targets) -> None:
    """Nothing is seen."""
    targets.point_weights[:] = 0.0
    targets.segment_weights[:] = 0.0
    targets.aim_weights[:] = 0.0


def measure_pose(
    targets: Targets,
    residuals: Residuals,
    pose: PoseLandmarks,
    trust: F64,
    hands: Mapping[str, float],
    pixel_weight: float,
) -> None:
    """Pixels and world directions of the 33 points; hands known better give way.

    Args:
        targets: filled in place.
        residuals: the layout.
        pose: the 33 points.
        trust: (33,) from :func:`certainty`.
        hands: trust in each hand that is seen.
        pixel_weight: 1 / standard deviation of a trusted point, per pixel.
    """
    trust = trust.copy()
    for side, hand in hands.items():
        trust[list(HAND_POINTS_OF_POSE[side])] *= 1.0 + hand * (HAND_OVER_POSE - 1.0)
    root = np.sqrt(trust)
    targets.points_px[:BODY_POINTS] = pose.points_px[:, :2]
    targets.point_weights[:BODY_POINTS] = root * pixel_weight
    count = len(BODY_SEGMENTS)
    ends = residuals.segments[:count]
    targets.segment_directions[:count] = directions(pose.world_m.astype(np.float64), ends)
    targets.segment_weights[:count] = root[ends[:, 0]] * root[ends[:, 1]] / _SIGMAS


_SIGMAS = np.array([sigma for _, _, sigma in BODY_SEGMENTS])


def hand_trust(
    seen: Observation, side: str, hand: HandLandmarks, trust: F64, px_per_m: float
) -> float:
    """Trust in [0, 1] that a hand belongs to its arm: it begins where the pose has the wrist.

    Args:
        seen: has a pose.
        side: "left" or "right".
        hand: the hand in question.
        trust: (33,) of the pose's landmarks; a wrist that nobody sees contradicts nothing.
        px_per_m: pixels of a metre at the body's depth.
    """
    assert seen.pose is not None
    wrist = 15 if side == "left" else 16
    apart = hand.points_px[0, :2] - seen.pose.points_px[wrist, :2]
    agreement = np.exp(-((float(np.hypot(*apart)) / (px_per_m * WRIST_APART_M)) ** 2))
    return float(hand.presence * (1.0 - trust[wrist] * (1.0 - agreement)))


def measure_palm(
    targets: Targets, side: str, hand: HandLandmarks, trust: float, pixel_weight: float
) -> None:
    """Pixels and directions of the five palm points of one hand."""
    first = _ROOTS[side]
    rows = slice(first, first + len(PALM))
    targets.points_px[rows] = hand.points_px[_PALM_ROWS, :2]
    targets.point_weights[rows] = pixel_weight * POINT_SIGMA_M / PALM_SIGMA_M * trust
    start = len(BODY_SEGMENTS) + len(_PALM_PAIRS) * (side == "right")
    own = slice(start, start + len(_PALM_PAIRS))
    targets.segment_directions[own] = directions(hand.world_m.astype(np.float64), _PALM_SEGMENTS)
    targets.segment_weights[own] = trust / PALM_DIRECTION_SIGMA


def measure_head(targets: Targets, head: HeadPose, camera: Camera, weight: float) -> None:
    """The head's rotation as three directions, its joint as a pixel.

    The pose network's own head points give way as far as the face is believed.

    Args:
        targets: filled in place.
        head: from the face's fit.
        camera: the pinhole camera.
        weight: 1 / standard deviation of a trusted body landmark, per pixel.
    """
    rotation_of(np.asarray(head.rotation_xyzw, np.float64), targets.aim_directions[:3].T)
    targets.aim_weights[:3] = head.confidence / HEAD_SIGMA
    give_way = 1.0 + head.confidence * (HEAD_OVER_POSE - 1.0)
    targets.segment_weights[_HEAD_SEGMENTS] *= give_way
    if head.position_m is None or head.position_m[2] > -0.05:
        return
    scale = camera.focal_px / -head.position_m[2]
    targets.points_px[-1] = (
        camera.cx + scale * head.position_m[0],
        camera.cy - scale * head.position_m[1],
    )
    targets.point_weights[-1] = weight * head.confidence * POINT_SIGMA_M / HEAD_POSITION_SIGMA_M
    targets.point_weights[HEAD_POINTS] *= give_way


_HEAD_SEGMENTS = [k for k, (a, b, _) in enumerate(BODY_SEGMENTS) if a < 11 and b < 11]


def pixel_weight(camera: Camera, depth_m: float) -> float:
    """1 / standard deviation in pixels of a body landmark at a depth."""
    return max(depth_m, 0.2) / (camera.focal_px * POINT_SIGMA_M)


def hands_of(seen: Observation) -> dict[str, HandLandmarks]:
    """The hands that are seen, by side."""
    both = (("left", seen.left_hand), ("right", seen.right_hand))
    return {side: hand for side, hand in both if hand is not None}
