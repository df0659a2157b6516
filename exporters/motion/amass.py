"""AMASS's layout (Mahmood et al. 2019): SMPL-X's 55 joints as axis-angle, Z up.

A joint of SMPL-X takes the global rotation of the last of our joints in its place (Anny has two
bones in each upper and lower limb, five in the spine). Anny rests with hanging arms, SMPL-X with
arms straight out: what turns one into the other is taken off, bone by bone, by the shortest turn.
Betas are zero, for Anny's shape is not SMPL-X's; ``sars`` has no licensed model to convert to.
``trans`` is the pelvis' place as if SMPL-X's pelvis lay in its origin: add ``-J[0]`` of a model.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine import quaternions
from engine.types import F64
from exporters.motion.clip import MotionClip

BETAS = 16
_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_OUR_FINGERS = {"thumb": 1, "index": 2, "middle": 3, "ring": 4, "pinky": 5}
_BODY = (
    ("pelvis", "root"), ("left_hip", "upperleg02.L"), ("right_hip", "upperleg02.R"),
    ("spine1", "spine04"), ("left_knee", "lowerleg02.L"), ("right_knee", "lowerleg02.R"),
    ("spine2", "spine02"), ("left_ankle", "foot.L"), ("right_ankle", "foot.R"),
    ("spine3", "spine01"), ("left_foot", "toe2-1.L"), ("right_foot", "toe2-1.R"),
    ("neck", "neck03"), ("left_collar", "shoulder01.L"), ("right_collar", "shoulder01.R"),
    ("head", "head"), ("left_shoulder", "upperarm02.L"), ("right_shoulder", "upperarm02.R"),
    ("left_elbow", "lowerarm02.L"), ("right_elbow", "lowerarm02.R"), ("left_wrist", "wrist.L"),
    ("right_wrist", "wrist.R"), ("jaw", "head"), ("left_eye", "eye.L"), ("right_eye", "eye.R"),
)  # fmt: skip
_HANDS = tuple(
    (f"{word}_{finger}{k}", f"finger{_OUR_FINGERS[finger]}-{k}{side}")
    for word, side in (("left", ".L"), ("right", ".R"))
    for finger in _FINGERS
    for k in (1, 2, 3)
)
JOINTS = _BODY + _HANDS
"""SMPL-X's joints in its order, and which of ours gives each one's rotation."""
PARENTS = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15,
    20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38,
    21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53,
)  # fmt: skip
_BONES = {
    "shoulder": ("upperarm01", "lowerarm01"), "elbow": ("lowerarm01", "wrist"),
    "wrist": ("wrist", "finger3-1"),
}  # fmt: skip
_Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


def write_amass(clip: MotionClip) -> bytes:
    """The ``.npz``'s bytes; it loads without pickle."""
    clip = clip.evenly_timed()
    turns = smplx_rotations(clip)
    place = (clip.translation_m + clip.avatar.joints_m[0]) @ _Z_UP.T
    arrays: dict[str, Any] = {
        "poses": turns.reshape(len(turns), -1).astype(np.float32),
        "trans": place.astype(np.float32),
        "betas": np.zeros(BETAS, np.float32),
        "mocap_frame_rate": np.array(clip.fps),
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smplx"),
        "joint_names": np.array([name for name, _ in JOINTS]),
        "expression_arkit": clip.expression,
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def smplx_rotations(clip: MotionClip, axes: F64 = _Z_UP) -> F64:
    """(N, 55, 3) axis-angle relative to the parent.

    Args:
        clip: of an avatar.
        axes: (3, 3) from glTF's to those in which the root is told; by default AMASS's, Z up.
    """
    avatar = clip.avatar
    local = quaternions.to_matrix(clip.rotations_xyzw.astype(np.float64))
    turned = np.empty_like(local)
    for j, parent in enumerate(avatar.parents):
        turned[:, j] = local[:, j] if parent < 0 else turned[:, parent] @ local[:, j]
    rows = [avatar.joint_names.index(ours) for _, ours in JOINTS]
    joints = avatar.joints_m.astype(np.float64)
    rest = np.stack([rest_turn(avatar.joint_names, joints, *pair) for pair in JOINTS])
    whole = turned[:, rows] @ rest
    out = np.empty_like(whole)
    for n, parent in enumerate(PARENTS):
        above = whole[:, parent].transpose(0, 2, 1) if parent >= 0 else axes
        out[:, n] = above @ whole[:, n]
    return np.asarray(quaternions.to_rotation_vector(quaternions.from_matrix(out)), np.float64)


def rest_turn(names: Sequence[str], joints: F64, name: str, ours: str) -> F64:
    """What turns SMPL-X's rest bone into Anny's; the identity but for arms and fingers.

    Args:
        names: of Anny's joints.
        joints: (J, 3) where they rest.
        name: SMPL-X's joint.
        ours: which of ours gives its rotation.
    """
    side = ours[-2:]
    part = name.rpartition("_")[2]
    if part in _BONES:
        start, end = (bone + side for bone in _BONES[part])
    elif ours.startswith("finger"):
        start, end = ours, ours.replace("-1", "-2") if "-1" in ours else ours
        if "-3" in ours or "-2" in ours:
            start, end = f"{ours[:7]}-2{side}", f"{ours[:7]}-3{side}"
    else:
        return np.eye(3)
    bone = joints[names.index(end)] - joints[names.index(start)]
    straight = np.array([1.0 if side == ".L" else -1.0, 0.0, 0.0])
    if ours.startswith("finger1"):  # SMPL-X's thumbs point half forward
        straight = (straight + np.array([0.0, 0.0, 1.0])) / np.sqrt(2.0)
    turn = quaternions.between_vectors(straight, bone / np.linalg.norm(bone))
    return np.asarray(quaternions.to_matrix(turn), np.float64)
