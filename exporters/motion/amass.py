"""AMASS's layout (Mahmood et al. 2019): SMPL-X's 55 joints as axis-angle, Z up.

A joint of SMPL-X takes the global rotation of the last of our joints in its place (Anny has two
bones in each upper and lower limb, five in the spine). Anny rests with hanging arms, SMPL-X with
arms straight out: what turns one into the other is taken off, bone by bone, by the shortest turn.
Betas are zero, for Anny's shape is not SMPL-X's: who has a model's file gets true ones from
:func:`exporters.motion.converting.convert_clip`. ``trans`` is the pelvis' place as if SMPL-X's
pelvis lay in its origin, which ``trans_origin`` says: add ``-J[0]`` of a model.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine import quaternions
from engine.avatar.joint_names import ANNY_CHAINS, SMPL_FAMILY, SMPLX_PARENTS
from engine.types import F64
from exporters.motion.body_files import PELVIS
from exporters.motion.clip import MotionClip

BETAS = 16
JOINTS = tuple(
    (name, ANNY_CHAINS.get(name, ANNY_CHAINS["head"])[-1]) for name in SMPL_FAMILY["SMPL-X"]
)
"""SMPL-X's joints in its order, and which of ours gives each one's rotation; the jaw the head's."""
_BONES = {
    "shoulder": ("upperarm01", "lowerarm01"), "elbow": ("lowerarm01", "wrist"),
    "wrist": ("wrist", "finger3-1"),
}  # fmt: skip
Z_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""From glTF's axes to AMASS's."""


def write_amass(clip: MotionClip) -> bytes:
    """The ``.npz``'s bytes; it loads without pickle."""
    clip = clip.evenly_timed()
    turns = smplx_rotations(clip)
    place = (clip.translation_m + clip.avatar.joints_m[0]) @ Z_UP.T
    arrays: dict[str, Any] = {
        "poses": turns.reshape(len(turns), -1).astype(np.float32),
        "trans": place.astype(np.float32),
        "betas": np.zeros(BETAS, np.float32),
        "mocap_frame_rate": np.array(clip.fps),
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smplx"),
        "joint_names": np.array([name for name, _ in JOINTS]),
        "trans_origin": np.array(PELVIS),
        "expression_arkit": clip.expression,
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def smplx_rotations(clip: MotionClip, axes: F64 = Z_UP) -> F64:
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
    for n, parent in enumerate(SMPLX_PARENTS):
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
