"""Motions of a body model as files: AMASS's and SMPL-X's ``.npz`` (Mahmood et al. 2019).

``poses`` (N, 3J) axis-angle, ``trans`` (N, 3) m, ``betas`` (B,) and the frame rate; no pickle. For
Anny the same arrays with her own 104 joints and her basis' coefficients.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.array_file import ArrayFile, open_arrays
from engine.avatar.joint_names import SMPL_FAMILY
from engine.avatar.parametric_body import ParametricBody
from engine.body.model_conversion import BodyMotion
from engine.errors import ModelFileError
from engine.types import F32

MAX_BYTES = 1 << 30
MAX_FRAMES = 1_000_000
MAX_FPS = 1000.0
FARTHEST_M, LARGEST_TURN = 1e4, 1e3
PELVIS = "pelvis"
"""Our ``trans_origin`` where ``trans`` is the pelvis' place: AMASS's is that of the model's origin,
which only a model can tell."""
_RATES = ("mocap_framerate", "mocap_frame_rate")
"""As AMASS spells it for SMPL+H, and for SMPL-X."""
_TYPES = {"SMPL": "smpl", "SMPL+H": "smplh", "SMPL-X": "smplx", "anny": "anny"}
_CURE = "name a motion in AMASS's layout, with poses, trans, betas and mocap_framerate"


@dataclass(frozen=True, slots=True)
class MotionFile:
    """A motion, and what else the file says."""

    motion: BodyMotion
    fps: float


def read_motion(path: Path, body: ParametricBody) -> MotionFile:
    """Read a motion of this model.

    Raises:
        ModelFileError: the file is missing, cut short, of another model, or its numbers are none.
    """
    with open_arrays(path, MAX_BYTES, _CURE) as file:
        _check_type(path, file, body)
        shape, joints = file.shape("poses"), len(body.parents)
        if len(shape) != 2 or shape[1] != 3 * joints or not 0 < shape[0] <= MAX_FRAMES:
            raise ModelFileError(
                f"{path}: expected poses (N, {3 * joints}) of {body.name}, found {shape}"
                f"{_whose(shape)}; name the model that the motion is of"
            )
        poses = _numbers(path, file, "poses", shape, LARGEST_TURN)
        trans = _numbers(path, file, "trans", (shape[0], 3), FARTHEST_M)
        betas = _betas(path, file, body)
        if "trans_origin" in file.names and _word(file, "trans_origin") == PELVIS:
            shaped = np.zeros(len(body.shape_dirs_m), np.float32)
            shaped[: len(betas)] = betas
            trans = trans - (body.joint_template_m[0] + (shaped @ body.joint_dirs_m)[:3])
        fps = _rate(path, file)
    return MotionFile(BodyMotion(betas, poses.reshape(len(poses), joints, 3), trans), fps)


def motion_bytes(
    body: ParametricBody, motion: BodyMotion, fps: float, more: dict[str, NDArray[Any]]
) -> bytes:
    """The file's bytes, with ``more`` arrays where they say something of their own."""
    rate = _RATES[body.name == "SMPL-X"]
    arrays: dict[str, NDArray[Any]] = {
        "poses": motion.rotations.reshape(len(motion.rotations), -1).astype(np.float32),
        "trans": motion.translation_m.astype(np.float32),
        "betas": motion.betas.astype(np.float32),
        rate: np.array(fps),
        "gender": np.array("neutral"),
        "surface_model_type": np.array(_TYPES.get(body.name, body.name)),
        "joint_names": np.array(body.joint_names),
    }
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **(arrays | more))
    return content.getvalue()


def gender_of(model: Path | str) -> NDArray[Any]:
    """What the name of a model's file says, such as SMPLX_FEMALE.npz; else neutral."""
    name = Path(model).name.lower()
    return np.array("female" if "female" in name else "male" if "male" in name else "neutral")


def _check_type(path: Path, file: ArrayFile, body: ParametricBody) -> None:
    if "surface_model_type" in file.names:
        said = _word(file, "surface_model_type")
        if said in _TYPES.values() and said != _TYPES.get(body.name):
            raise ModelFileError(
                f"{path} is a motion of {said}, found {body.name} as its model; name the model "
                "that the motion is of"
            )


def _word(file: ArrayFile, name: str) -> str:
    return str(file.read(name).reshape(-1)[0]) if file.shape(name) in ((), (1,)) else ""


def _whose(shape: tuple[int, ...]) -> str:
    for name, joints in SMPL_FAMILY.items():
        if len(shape) == 2 and shape[1] == 3 * len(joints):
            return f", which is {name}'s"
    return ""


def _numbers(path: Path, file: ArrayFile, name: str, shape: tuple[int, ...], most: float) -> F32:
    found = file.read(name)
    if found.shape != shape or found.dtype.kind not in "fiu":
        raise ModelFileError(
            f"{path}: expected numbers {name} {shape}, found {found.dtype} {found.shape}; {_CURE}"
        )
    bad = ~(np.abs(found.astype(np.float64)) <= most)
    if bad.any():
        row = int(np.argwhere(bad)[0][0])
        raise ModelFileError(
            f"{path}: {name} in row {row} is not finite, or beyond {most:g}; mend the motion"
        )
    return found.astype(np.float32)


def _betas(path: Path, file: ArrayFile, body: ParametricBody) -> F32:
    if "betas" not in file.names:
        return np.zeros(0, np.float32)
    shape = file.shape("betas")
    if len(shape) != 1:
        raise ModelFileError(f"{path}: expected betas (B,) of one person, found {shape}; {_CURE}")
    betas = _numbers(path, file, "betas", shape, 1e3)
    if betas[body.betas :].any():
        raise ModelFileError(
            f"{path} has {len(betas)} betas, {body.name}'s file only {body.betas}; name the "
            "model's file with all of its shapes"
        )
    return betas[: body.betas]


def _rate(path: Path, file: ArrayFile) -> float:
    name = next((rate for rate in _RATES if rate in file.names), None)
    found = file.read(name).reshape(-1) if name else np.zeros(0)
    if found.size != 1 or found.dtype.kind not in "fiu" or not 0.0 < float(found[0]) <= MAX_FPS:
        raise ModelFileError(f"{path}: expected one frame rate {_RATES[0]}, found {found}; {_CURE}")
    return float(found[0])
