"""Biovision Hierarchy: the skeleton at rest, then angles frame by frame; centimetres, degrees.

The rest pose's bones keep their directions, and a joint's rotation is relative to its parent in
the same axes, so that angles of zero are Anny's own rest pose. Expressions have no place here.
"""

from __future__ import annotations

import io

import numpy as np

from engine import quaternions
from engine.types import F64
from exporters.motion.clip import MotionClip

CENTIMETRES = 100.0
_CHANNELS = "Zrotation Xrotation Yrotation"


def write_bvh(clip: MotionClip) -> bytes:
    """The file's bytes."""
    clip = clip.evenly_timed()
    avatar = clip.avatar
    text = io.StringIO()
    text.write("HIERARCHY\n")
    order: list[int] = []
    _write_joint(text, clip, 0, 0, order)
    text.write(f"MOTION\nFrames: {len(clip.times_s)}\nFrame Time: {1.0 / clip.fps:.8f}\n")
    turns = quaternions.to_matrix(clip.rotations_xyzw.astype(np.float64))
    angles = euler_zxy(np.asarray(turns, np.float64))
    place = CENTIMETRES * (clip.translation_m + avatar.joints_m[0])
    rows = np.concatenate([place, np.degrees(angles[:, order]).reshape(len(place), -1)], axis=1)
    np.savetxt(text, rows, fmt="%.4f")
    return text.getvalue().encode("ascii")


def euler_zxy(matrices: F64) -> F64:
    """(..., 3) radians about z, then x, then y, with ``R = Rz Rx Ry``.

    At the poles, where x is a quarter turn, y is taken as zero.
    """
    sine = np.clip(matrices[..., 2, 1], -1.0, 1.0)
    x, pole = np.arcsin(sine), np.abs(sine) > 1.0 - 1e-9
    z = np.arctan2(-matrices[..., 0, 1], matrices[..., 1, 1])
    y = np.arctan2(-matrices[..., 2, 0], matrices[..., 2, 2])
    at_pole = np.arctan2(matrices[..., 1, 0], matrices[..., 0, 0])
    return np.stack([np.where(pole, at_pole, z), x, np.where(pole, 0.0, y)], axis=-1)


def _write_joint(
    text: io.StringIO, clip: MotionClip, joint: int, depth: int, order: list[int]
) -> None:
    avatar, tab = clip.avatar, "\t" * depth
    order.append(joint)
    parent = avatar.parents[joint]
    offset = avatar.joints_m[joint] - (avatar.joints_m[parent] if parent >= 0 else 0.0)
    if parent < 0:
        offset = np.zeros(3)
    text.write(f"{tab}{'ROOT' if parent < 0 else 'JOINT'} {avatar.joint_names[joint]}\n{tab}{{\n")
    text.write(f"{tab}\tOFFSET {_numbers(CENTIMETRES * offset)}\n")
    if parent < 0:
        text.write(f"{tab}\tCHANNELS 6 Xposition Yposition Zposition {_CHANNELS}\n")
    else:
        text.write(f"{tab}\tCHANNELS 3 {_CHANNELS}\n")
    children = np.flatnonzero(avatar.parents == joint)
    for child in children.tolist():
        _write_joint(text, clip, child, depth + 1, order)
    if not len(children):
        end = CENTIMETRES * 0.5 * offset
        text.write(f"{tab}\tEnd Site\n{tab}\t{{\n{tab}\t\tOFFSET {_numbers(end)}\n{tab}\t}}\n")
    text.write(f"{tab}}}\n")


def _numbers(vector: F64) -> str:
    return " ".join(f"{value:.6f}" for value in vector)
