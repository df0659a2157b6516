"""From a few limb orientations to Anny's 104 joints.

A pose is a handful of *turns*: world rotations, each relative to the rest pose, of pelvis, chest,
head, upper and lower arms, hands, thighs, shins and feet. Every other joint follows from them: the
spine is shared between pelvis and chest, the neck between chest and head, forearm twist between
elbow and wrist. Scripts and motion capture both end in turns, so both drive the same body.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import quaternions as quat
from engine.avatar.topology import FusedAvatar
from engine.types import F32, F64, I32

Quaternion = NDArray[np.floating[Any]]
"""(4,) xyzw."""
Turns = dict[str, Quaternion]
"""Joint name (``pelvis``, ``chest``, ``head``, ``upperarm.L``, ...) to its world rotation."""

SIDES = (".L", ".R")
PARALLEL = 1e-6
"""Sine of an angle that is none."""
SPINE = ("spine05", "spine04", "spine03", "spine02", "spine01")
NECK = ("neck01", "neck02", "neck03")
CURLS_DEG = (70.0, 95.0, 55.0)
"""Bend of a finger's three joints when it is closed."""
THUMB_CURLS_DEG = (18.0, 35.0, 60.0)


def frame_of(along: F64, beside: F64) -> F64:
    """(3, 3) orthonormal columns: ``along``, then ``beside`` made perpendicular to it.

    Where they are parallel, which says nothing about the second, any perpendicular is taken.
    """
    first = along / np.linalg.norm(along)
    second = beside - first * (beside @ first)
    if np.linalg.norm(second) <= PARALLEL * np.linalg.norm(beside):
        second = np.cross(first, np.eye(3)[np.abs(first).argmin()])
    second = second / np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def turn_between(rest: F64, posed: F64) -> Quaternion:
    """The rotation that takes one orthonormal frame to another, as a quaternion."""
    return np.asarray(quat.from_matrix(posed @ rest.T), np.float64)


@dataclass(frozen=True)
class Skeleton:
    """Rest positions and directions of one avatar's joints."""

    names: tuple[str, ...]
    parents: I32
    joints_m: F64
    """(J, 3)."""

    @staticmethod
    def of(avatar: FusedAvatar) -> Skeleton:
        """Read an avatar's skeleton."""
        return Skeleton(avatar.joint_names, avatar.parents, avatar.joints_m.astype(np.float64))

    def __getitem__(self, name: str) -> F64:
        position: F64 = self.joints_m[self.names.index(name)]
        return position

    def bone(self, start: str, end: str) -> F64:
        """Unit direction between two joints at rest."""
        difference = self[end] - self[start]
        return np.asarray(difference / np.linalg.norm(difference))

    @cached_property
    def arm_frames(self) -> dict[str, tuple[F64, F64, F64]]:
        """By side: rest frames of upper arm and forearm (along, hinge), hand (fingers, palm)."""
        return {side: self._arm_frames(side) for side in SIDES}

    @cached_property
    def leg_frames(self) -> dict[str, tuple[F64, F64]]:
        """By side, the rest frames of thigh and shin (along, knee axis)."""
        return {side: self._leg_frames(side) for side in SIDES}

    @cached_property
    def finger_hinges(self) -> tuple[I32, F64]:
        """(2, 5, 3) rows of the finger joints, and (2, 5, 3, 3) axes about which they close."""
        names = [
            [[f"finger{f}-{k}{side}" for k in (1, 2, 3)] for f in range(1, 6)] for side in SIDES
        ]
        rows = np.vectorize(self.names.index)(np.array(names)).astype(np.int32)
        axes = np.stack([self._finger_axes(side) for side in SIDES])
        return rows, np.repeat(axes[:, :, None], 3, axis=2)

    def _arm_frames(self, side: str) -> tuple[F64, F64, F64]:
        upper = self.bone("upperarm01" + side, "lowerarm01" + side)
        fore = self.bone("lowerarm01" + side, "wrist" + side)
        hinge = np.cross(upper, fore)
        fingers, palm = self.palm(side)
        return frame_of(upper, hinge), frame_of(fore, hinge), frame_of(fingers, palm)

    def palm(self, side: str) -> tuple[F64, F64]:
        """Rest directions along the fingers and out of the palm."""
        fingers = self.bone("wrist" + side, "finger3-1" + side)
        across = self.bone("finger5-1" + side, "finger2-1" + side)
        out = np.cross(fingers, across) * (1.0 if side == ".L" else -1.0)
        return fingers, np.asarray(out / np.linalg.norm(out))

    def _leg_frames(self, side: str) -> tuple[F64, F64]:
        knee = np.array([1.0, 0.0, 0.0])
        thigh = self.bone("upperleg01" + side, "lowerleg01" + side)
        shin = self.bone("lowerleg01" + side, "foot" + side)
        return frame_of(thigh, knee), frame_of(shin, knee)

    def _finger_axes(self, side: str) -> F64:
        """(5, 3) hinges from the thumb to the little finger."""
        fingers, palm = self.palm(side)
        thumb = self.bone(f"finger1-1{side}", f"finger1-3{side}")
        across = self.bone(f"finger2-1{side}", f"finger5-1{side}")
        axes = [np.cross(thumb, across + 0.5 * palm - 0.3 * fingers)]
        for finger in range(2, 6):
            along = self.bone(f"finger{finger}-1{side}", f"finger{finger}-2{side}")
            axes.append(np.cross(along, palm))
        stacked = np.stack(axes)
        return np.asarray(stacked / np.linalg.norm(stacked, axis=1, keepdims=True))


def local_rotations(skeleton: Skeleton, turns: Turns, curls: F64 | None = None) -> F32:
    """Joint rotations relative to their parents.

    Args:
        skeleton: of the avatar to pose.
        turns: must hold pelvis, chest and head; limbs that are missing hang on unbent.
        curls: (2, 5) how far the left and right thumb to little finger are closed, 0 to 1.

    Returns:
        (J, 4) unit quaternions xyzw in avatar axes: the ``AvatarState`` convention.
    """
    world = _spine(turns)
    for side in SIDES:
        world.update(_arm(skeleton, turns, side))
        world.update(_leg(turns, side))
    globals_ = np.zeros((len(skeleton.names), 4))
    none = np.array([0.0, 0.0, 0.0, 1.0])
    for j, name in enumerate(skeleton.names):
        globals_[j] = world.get(name, globals_[skeleton.parents[j]] if j else none)
    carriers = globals_[np.maximum(skeleton.parents, 0)]
    carriers[skeleton.parents < 0] = none
    rotations = quat.multiply(quat.conjugate(carriers), globals_)
    if curls is not None:
        rows, hinges = skeleton.finger_hinges
        rotations[rows] = quat.from_rotation_vector(hinges * _bends(curls)[..., None])
    return np.asarray(quat.normalize(rotations), np.float32)


def _bends(curls: F64) -> F64:
    """(2, 5, 3) radians of every finger joint."""
    full = np.radians([THUMB_CURLS_DEG, *[CURLS_DEG] * 4])
    return np.asarray(curls[:, :, None] * full)


def _spine(turns: Turns) -> dict[str, Quaternion]:
    world = {"root": turns["pelvis"]}
    for k, name in enumerate(SPINE, start=1):
        world[name] = quat.slerp(turns["pelvis"], turns["chest"], k / len(SPINE))
    for k, name in enumerate(NECK, start=1):
        world[name] = quat.slerp(turns["chest"], turns["head"], k / (len(NECK) + 1))
    world["head"] = turns["head"]
    return world


def _arm(skeleton: Skeleton, turns: Turns, side: str) -> Turns:
    """Upper arm, forearm and hand; the hand's twist about the forearm is shared by its bones."""
    if "upperarm" + side not in turns:
        return {}
    upper, fore = turns["upperarm" + side], turns["forearm" + side]
    hand = turns.get("hand" + side, fore)
    axis = skeleton.bone("lowerarm01" + side, "wrist" + side)
    _, twist = quat.swing_twist(quat.multiply(quat.conjugate(fore), hand), axis)
    none = np.array([0.0, 0.0, 0.0, 1.0])
    return {
        "upperarm01" + side: upper,
        "upperarm02" + side: upper,
        "lowerarm01" + side: quat.multiply(fore, quat.slerp(none, twist, 0.3)),
        "lowerarm02" + side: quat.multiply(fore, quat.slerp(none, twist, 0.85)),
        "wrist" + side: hand,
    }


def _leg(turns: Turns, side: str) -> Turns:
    if "thigh" + side not in turns:
        return {}
    thigh, shin = turns["thigh" + side], turns["shin" + side]
    return {
        "upperleg01" + side: thigh,
        "upperleg02" + side: thigh,
        "lowerleg01" + side: shin,
        "lowerleg02" + side: shin,
        "foot" + side: turns.get("foot" + side, shin),
    }
