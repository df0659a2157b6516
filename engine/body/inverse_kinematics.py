"""A first pose from nothing: limbs by inverse kinematics, depth by linear least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine import quaternions
from engine.body.joint_angles import AngleModel, RestJoints, unit
from engine.types import F64, Camera

TORSO = (11, 12, 23, 24)
STRAIGHT = 0.25
"""Below this sine of the bend a limb's plane says nothing about its twist."""


@dataclass(frozen=True, slots=True)
class Limb:
    """Two bones, the angles that drive them, and their landmarks on the left side."""

    carrier: str
    """The bone whose rotation the limb starts from; its side is appended."""
    joints: tuple[str, str, str]
    swing: tuple[str, str]
    twist: str
    hinge: str
    landmarks: tuple[int, int, int]


ARM = Limb(
    "shoulder01", ("upperarm01", "lowerarm01", "wrist"),
    ("arm_raise", "arm_forward"), "arm_twist", "elbow", (11, 13, 15),
)  # fmt: skip
LEG = Limb(
    "pelvis", ("upperleg01", "lowerleg01", "foot"),
    ("leg_forward", "leg_out"), "leg_twist", "knee", (23, 25, 27),
)  # fmt: skip


def torso_rotation(rest_points_m: F64, world_m: F64, weights: F64) -> F64:
    """(3, 3) rotation of the torso: weighted Procrustes (Kabsch) over shoulders and hips.

    Args:
        rest_points_m: (33, 3) landmarks on the rest pose.
        world_m: (33, 3) observed, glTF axes.
        weights: (33,).
    """
    rows = list(TORSO)
    w = np.maximum(weights[rows], 0.05)[:, None]
    source, target = rest_points_m[rows], world_m[rows]
    source = source - (w * source).sum(0) / w.sum()
    target = target - (w * target).sum(0) / w.sum()
    # Four nearly coplanar points: the normal must be explicit or noise may mirror it.
    source = np.vstack([source, np.cross(source[0] - source[3], source[1] - source[2])])
    target = np.vstack([target, np.cross(target[0] - target[3], target[1] - target[2])])
    u, _, vt = np.linalg.svd((source * np.vstack([w, [[1.0]]])).T @ target)
    sign = np.sign(np.linalg.det(vt.T @ u.T))
    return np.asarray(vt.T @ np.diag([1.0, 1.0, sign]) @ u.T)


def limb_angles(
    model: AngleModel, rest: RestJoints, limb: Limb, side: str, parent: F64, bones: F64
) -> dict[str, float]:
    """Angles that point a limb's two bones along the observed ones.

    Args:
        model: the unknowns.
        rest: rest positions.
        limb: which limb, on which ``side`` (".L" or ".R").
        side: see above.
        parent: (3, 3) global rotation of the bone that carries the limb.
        bones: (2, 3) observed directions, upper then lower.
    """
    local = bones @ parent
    return _two_bones(model, rest, limb, side, unit(local[0]), unit(local[1]))


def _axis(model: AngleModel, name: str) -> F64:
    """The rest axis of an angle, whatever share its first term has."""
    chain = model.chain
    term = int(np.flatnonzero(chain.term_angles == model.index[name])[0])
    return unit(chain.term_axes[term])


def _two_bones(
    model: AngleModel, rest: RestJoints, limb: Limb, side: str, upper: F64, lower: F64
) -> dict[str, float]:
    start, middle, end = (rest[name + side] for name in limb.joints)
    rest_upper, rest_lower = unit(middle - start), unit(end - middle)
    swing = quaternions.between_vectors(rest_upper, upper)
    vector = quaternions.to_rotation_vector(swing)
    names = [name + side for name in limb.swing]
    angles = {name: float(vector @ _axis(model, name)) for name in names}
    hinge = _axis(model, limb.hinge + side)
    rest_bend = np.arctan2(np.cross(rest_upper, rest_lower) @ hinge, rest_upper @ rest_lower)
    plane = np.cross(upper, lower)
    sine = float(np.linalg.norm(plane))
    angles[limb.hinge + side] = float(np.arctan2(sine, upper @ lower) - rest_bend)
    angles[limb.twist + side] = 0.0
    if sine > STRAIGHT:
        turned = quaternions.rotate(swing, hinge)
        turned = unit(turned - upper * float(turned @ upper))
        twist = np.arctan2(np.cross(turned, plane) @ upper, turned @ plane)
        # The twist axis is the bone's own direction, mirrored or not.
        sign = float(np.sign(_axis(model, limb.twist + side) @ rest_upper))
        angles[limb.twist + side] = float(twist) * sign
    return angles


def translation(points_m: F64, points_px: F64, weights: F64, camera: Camera) -> F64:
    """(3,) shift that best reprojects points, by linear least squares.

    From ``(u - cx) / f (-z - t_z) = x + t_x`` and its twin for v, each row weighted.

    Args:
        points_m: (P, 3) posed points before the shift.
        points_px: (P, 2).
        weights: (P,), at least two of them positive.
        camera: the pinhole camera.
    """
    a = (points_px[:, 0] - camera.cx) / camera.focal_px
    b = (camera.cy - points_px[:, 1]) / camera.focal_px
    w = np.sqrt(np.maximum(weights, 0.0))
    zero, one = np.zeros_like(a), np.ones_like(a)
    matrix = np.concatenate(
        [
            np.stack([one, zero, a], axis=1) * w[:, None],
            np.stack([zero, one, b], axis=1) * w[:, None],
        ]
    )
    right = np.concatenate(
        [(-points_m[:, 0] - a * points_m[:, 2]) * w, (-points_m[:, 1] - b * points_m[:, 2]) * w]
    )
    shift, *_ = np.linalg.lstsq(matrix, right, rcond=None)
    nearest = -0.3 - float(points_m[:, 2].max())
    shift[2] = min(float(shift[2]), nearest)
    return np.asarray(shift)
