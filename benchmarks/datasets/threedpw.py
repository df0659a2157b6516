"""``sars eval 3dpw``: 3D Poses in the Wild (von Marcard et al. 2018) as distributed.

    sequenceFiles/{train,validation,test}/SEQUENCE.pkl      imageFiles/SEQUENCE/image_00000.jpg

Joints are compared in the camera's axes about the middle of the hips, at the size that was found:
MPJPE, and after Procrustes in every frame PA-MPJPE. What counts is 14 joints, twelve of the limbs,
neck and head, each a joint of SMPL against the joint of ours that lies in its place. The published
figures of others use joints that a matrix regresses from SMPL's vertices instead, so the two differ
by what joints are called; a table says so. The engine follows one person: each is followed alone,
with the others painted over. Frames whose camera is marked invalid are run and not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.datasets.paper import TABLE_3_3DPW_MM, beside
from benchmarks.datasets.pictures import PictureFrames
from benchmarks.joint_errors import acceleration_error_mm, procrustes_errors_mm
from engine.avatar.joint_names import ANNY_CHAINS, SMPL_FAMILY
from engine.avatar.topology import FusedAvatar
from engine.body.kinematics import forward_kinematics, posed_joints
from engine.engine import Engine, EngineOptions
from engine.errors import AvatarError, ModelFileError, SourceError
from engine.slot import Policy
from engine.sources.picture import read_picture
from engine.types import F64, AvatarState
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import as_array

SPLITS = ("test", "validation", "train")
JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist",
    "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head",
)  # fmt: skip
HIPS = [JOINTS.index("right_hip"), JOINTS.index("left_hip")]
FPS = 30.0
MOST_FRAMES, MOST_PEOPLE = 20_000, 10
_CURE = "give the folder that holds 3DPW's sequenceFiles and imageFiles"


@dataclass(frozen=True, slots=True)
class Person:
    """One person's truth over a sequence of N frames."""

    joints_m: F64
    """(N, 14, 3) of JOINTS in glTF's camera axes."""
    boxes: F64
    """(N, 4) x, y, x, y pixels; nan where 2D joints are missing."""
    valid: F64
    """(N,) True where the camera is known."""


@dataclass(frozen=True, slots=True)
class Sequence:
    """One recording."""

    name: str
    pictures: list[Path]
    focal_px: float
    people: list[Person]


def sequences_of(folder: Path, split: str) -> list[Path]:
    """The sequence files of a split, in order.

    Raises:
        SourceError: the folder is not 3DPW's.
    """
    inside = folder / "sequenceFiles" / split
    found = sorted(inside.glob("*.pkl")) if inside.is_dir() else []
    if not found or not (folder / "imageFiles").is_dir():
        raise SourceError(f"expected {inside}/*.pkl and {folder / 'imageFiles'}; {_CURE}")
    return found


def read_sequence(folder: Path, path: Path) -> Sequence:
    """One sequence, its pickle read as data: nothing in it can run.

    Raises:
        ModelFileError: the file is damaged or hostile.
        SourceError: it is not laid out as 3DPW's are, or its pictures are missing.
    """
    content = read_pickle(path)
    try:
        cameras = as_array(content["cam_poses"]).astype(np.float64)
        focal = float(as_array(content["cam_intrinsics"])[0, 0])
        count = len(cameras)
        if cameras.shape[1:] != (4, 4) or not 0 < count <= MOST_FRAMES or not focal > 0.0:
            raise ValueError(f"cam_poses of shape {cameras.shape}")
        lists = [content[n] for n in ("jointPositions", "poses2d", "campose_valid")]
        people = [
            _person(cameras, *one) for one in zip(*(x[:MOST_PEOPLE] for x in lists), strict=True)
        ]
    except (ValueError, TypeError, LookupError) as error:
        raise SourceError(
            f"{path} is not laid out as 3DPW's sequences are ({error!r}); {_CURE}"
        ) from error
    pictures = [folder / "imageFiles" / path.stem / f"image_{n:05}.jpg" for n in range(count)]
    missing = next((picture for picture in pictures if not picture.is_file()), None)
    if missing is not None:
        raise SourceError(f"expected the picture {missing}, found none; {_CURE}")
    return Sequence(path.stem, pictures, focal, people)


def _person(cameras: F64, joints: Any, points: Any, valid: Any) -> Person:
    """Raises ValueError where the arrays do not belong to the cameras."""
    world = as_array(joints).astype(np.float64).reshape(len(cameras), 24, 3)
    drawn = as_array(points).astype(np.float64).reshape(len(cameras), 3, 18)
    names = SMPL_FAMILY["SMPL"]
    picked = world[:, [names.index(name) for name in JOINTS]]
    seen = np.einsum("nab,njb->nja", cameras[:, :3, :3], picked) + cameras[:, None, :3, 3]
    if not np.isfinite(seen).all():
        raise ValueError("joints or cameras that are not finite")
    # OpenCV's axes to glTF's: half a turn about x.
    return Person(
        seen * np.array([1.0, -1.0, -1.0]),
        np.array([_box(frame) for frame in drawn]),
        as_array(valid).reshape(len(cameras)).astype(bool),
    )


def _box(points: F64) -> F64:
    """(4,) around the 2D joints (3, 18) that were seen."""
    seen = points[:2, points[2] > 0.1]
    if seen.shape[1] < 4:
        return np.full(4, np.nan)
    return np.concatenate([seen.min(axis=1), seen.max(axis=1)])


async def eval_3dpw(
    folder: Path,
    options: EngineOptions,
    split: str = "test",
    most_frames: int | None = None,
    on_sequence: Callable[[int, str], None] = lambda _done, _name: None,
) -> dict[str, Any]:
    """Run a split and compare: Table III.

    Args:
        folder: of the data set.
        options: of the engine.
        split: test, validation or train.
        most_frames: of each sequence; all without it.
        on_sequence: told how many are done, and the next one's name.

    Raises:
        SourceError: the folder is not 3DPW's, or not one sequence of it could be run.
    """
    people: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    errors: list[tuple[F64, F64]] = []
    for done, path in enumerate(sequences_of(folder, split)):
        on_sequence(done, path.stem)
        try:
            sequence = read_sequence(folder, path)
            for n, found in enumerate(
                [await _run(sequence, p, options, most_frames) for p in sequence.people]
            ):
                errors.append(found[:2])
                people[f"{sequence.name}.{n}"] = found[2]
        except (ModelFileError, SourceError) as error:
            failed[path.stem] = str(error)
    if not errors:
        raise SourceError(next(iter(failed.values()), f"no sequence of {folder} could be run"))
    plain, aligned = (np.concatenate([one[k] for one in errors]) for k in (0, 1))
    ours = {
        "mpjpe_mm": round(float(plain.mean()), 2),
        "pa_mpjpe_mm": round(float(aligned.mean()), 2),
    }
    return {
        "joints": "14 of SMPL's, not regressed",
        "table_3": beside(TABLE_3_3DPW_MM, ours),
        "frames": len(plain),
        "people": people,
        "failed": failed,
    } | ours


async def _run(
    sequence: Sequence, person: Person, options: EngineOptions, most: int | None
) -> tuple[F64, F64, dict[str, Any]]:
    """(N, 14) errors plain and aligned of the frames that count, and what they amount to."""
    count = min(len(sequence.pictures), most or MOST_FRAMES)
    first = read_picture(sequence.pictures[0])
    view = float(np.degrees(2.0 * np.arctan(0.5 * _longest(sequence) / sequence.focal_px)))
    scale = max(first.shape[:2]) / _longest(sequence)
    frames = PictureFrames(sequence.pictures[:count], FPS, view, scale * person.boxes[:count])
    with Engine.open(options) as engine, frames:
        async with engine.pipeline.run(frames, Policy.BLOCK, pose=False) as results:
            joints = [
                joints_of(engine.reconstructor.fitted_avatar, result.state)
                async for result in results
            ]
    if len(joints) != count:
        raise AvatarError(
            f"expected {count} frames of {sequence.name}, the engine gave {len(joints)}"
        )
    counted = np.asarray(person.valid[:count], bool)
    found, true = np.array(joints)[counted], person.joints_m[:count][counted]
    if not len(found):
        raise SourceError(f"no frame of {sequence.name} has a camera that is known")
    found, true = (p - p[:, HIPS].mean(axis=1, keepdims=True) for p in (found, true))
    plain = 1e3 * np.linalg.norm(found - true, axis=2)
    aligned = procrustes_errors_mm(found, true)
    return plain, aligned, {
        "frames": len(found),
        "mpjpe_mm": round(float(plain.mean()), 2),
        "pa_mpjpe_mm": round(float(aligned.mean()), 2),
        "jitter_mm": round(acceleration_error_mm(found, true), 2),
    }  # fmt: skip


def _longest(sequence: Sequence) -> int:
    """Pixels of the longer side of the pictures as distributed."""
    from PIL import Image

    with Image.open(sequence.pictures[0]) as picture:
        return max(picture.size)


def joints_of(avatar: FusedAvatar, state: AvatarState) -> F64:
    """(14, 3) of JOINTS in camera space, of ours that lie in their places."""
    transforms = np.empty((len(avatar.parents), 3, 4), np.float32)
    forward_kinematics(state.rotations_xyzw, avatar.joints_m, avatar.parents, transforms)
    placed = posed_joints(transforms, avatar.joints_m) + state.translation_m
    rows = [avatar.joint_names.index(ANNY_CHAINS[name][0]) for name in JOINTS]
    return np.asarray(placed[rows], np.float64)
