"""``sars eval 3dpw``: 3D Poses in the Wild (von Marcard et al. 2018) as distributed.

    sequenceFiles/{train,validation,test}/SEQUENCE.pkl      imageFiles/SEQUENCE/image_00000.jpg

Joints are compared in the camera's axes about the middle of the hips, at the size that was found:
MPJPE, and after Procrustes in every frame PA-MPJPE. What counts is 14 joints, twelve of the limbs,
neck and head, each a joint of SMPL against the joint of ours that lies in its place. The published
figures use joints that a matrix regresses from SMPL's vertices instead, so the two differ by what
joints are called: with the user's SMPL files and that matrix, they are measured too, and V2V
(:mod:`benchmarks.datasets.smpl_meshes`). The engine follows one person: each is followed alone,
with everything outside of their own 2D joints' box painted over; who stands inside that box stays
visible, and may be taken for them. Frames whose camera is marked invalid are run and not counted,
nor are accelerations across them. Frames in which the engine sees nobody count as it answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.paper import TABLE_3_3DPW_MM, beside
from benchmarks.datasets.pictures import PictureFrames
from benchmarks.datasets.smpl_meshes import SmplFiles, SmplPerson
from benchmarks.joint_errors import procrustes_errors_mm
from engine.avatar.joint_names import ANNY_CHAINS, SMPL_FAMILY
from engine.avatar.topology import FusedAvatar
from engine.body.kinematics import forward_kinematics, posed_joints
from engine.engine import Engine, EngineOptions
from engine.errors import AvatarError, SourceError
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
_OF_A_PERSON = (
    "jointPositions", "poses2d", "campose_valid", "poses", "betas", "trans", "genders",
)  # fmt: skip
"""The lists of a sequence with one entry for each person."""
_CURE = "give the folder that holds 3DPW's sequenceFiles and imageFiles"


@dataclass(frozen=True, slots=True)
class Person:
    """One person's truth over a sequence of N frames."""

    joints_m: F64
    """(N, 14, 3) of JOINTS in glTF's camera axes."""
    boxes: F64
    """(N, 4) x, y, x, y pixels; the nearest frame's where 2D joints are missing."""
    valid: F64
    """(N,) True where the camera is known."""
    smpl: SmplPerson


@dataclass(frozen=True, slots=True)
class Sequence:
    """One recording."""

    name: str
    pictures: list[Path]
    focal_px: float
    people: dict[int, Person]
    """By their number in the file."""
    damaged: dict[int, str]
    """What is wrong with the others."""


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
        SourceError: it is not laid out as 3DPW's are, its pictures are missing, or nobody in it
            is whole.
    """
    content = read_pickle(path)
    try:
        cameras = as_array(content["cam_poses"]).astype(np.float64)
        focal = float(as_array(content["cam_intrinsics"])[0, 0])
        count = len(cameras)
        if cameras.shape[1:] != (4, 4) or not 0 < count <= MOST_FRAMES or not focal > 0.0:
            raise ValueError(f"cam_poses of shape {cameras.shape}")
        if not np.isfinite(cameras).all():
            raise ValueError("cam_poses that are not finite")
        rows = list(zip(*(content[name] for name in _OF_A_PERSON), strict=True))
        if not 0 < len(rows) <= MOST_PEOPLE:
            raise ValueError(f"{len(rows)} people")
    except (ValueError, TypeError, LookupError) as error:
        raise SourceError(
            f"{path} is not laid out as 3DPW's sequences are ({error!r}); {_CURE}"
        ) from error
    people, damaged = dict[int, Person](), dict[int, str]()
    for number, row in enumerate(rows):
        try:
            people[number] = _person(cameras, *row)
        except (ValueError, TypeError, LookupError) as error:
            damaged[number] = (
                f"person {number} of {path} is not laid out as 3DPW's are ({error!r}); {_CURE}"
            )
    if not people:
        raise SourceError(damaged[0])
    pictures = [folder / "imageFiles" / path.stem / f"image_{n:05}.jpg" for n in range(count)]
    missing = next((picture for picture in pictures if not picture.is_file()), None)
    if missing is not None:
        raise SourceError(f"expected the picture {missing}, found none; {_CURE}")
    return Sequence(path.stem, pictures, focal, people, damaged)


def _person(
    cameras: F64,
    joints: Any,
    points: Any,
    valid: Any,
    poses: Any,
    betas: Any,
    trans: Any,
    gender: Any,
) -> Person:
    """Raises ValueError where the arrays do not belong to the cameras."""
    world = as_array(joints).astype(np.float64).reshape(len(cameras), 24, 3)
    drawn = as_array(points).astype(np.float64).reshape(len(cameras), 3, 18)
    names = SMPL_FAMILY["SMPL"]
    picked = world[:, [names.index(name) for name in JOINTS]]
    seen = np.einsum("nab,njb->nja", cameras[:, :3, :3], picked) + cameras[:, None, :3, 3]
    smpl = SmplPerson(
        gender if isinstance(gender, str) else "",
        as_array(poses).astype(np.float64).reshape(len(cameras), 72),
        as_array(betas).astype(np.float64).ravel()[:10],
        as_array(trans).astype(np.float64).reshape(len(cameras), 3),
        cameras,
    )
    if len(smpl.betas) != 10:
        raise ValueError(f"{len(smpl.betas)} betas")
    for name, numbers in (
        ("jointPositions", seen), ("poses", smpl.poses), ("betas", smpl.betas),
        ("trans", smpl.trans),
    ):  # fmt: skip
        if not np.isfinite(numbers).all():
            raise ValueError(f"{name} that are not finite")
    # OpenCV's axes to glTF's: half a turn about x.
    return Person(
        seen * np.array([1.0, -1.0, -1.0]),
        _from_nearest(np.array([_box(frame) for frame in drawn])),
        as_array(valid).reshape(len(cameras)).astype(bool),
        smpl,
    )


def _box(points: F64) -> F64:
    """(4,) around the 2D joints (3, 18) that were seen."""
    seen = points[:2, points[2] > 0.1]
    if seen.shape[1] < 4:
        return np.full(4, np.nan)
    return np.concatenate([seen.min(axis=1), seen.max(axis=1)])


def _from_nearest(boxes: F64) -> F64:
    """(N, 4) with the nearest frame's box where there is none: else the others would be seen."""
    known = np.flatnonzero(np.isfinite(boxes).all(axis=1))
    if not len(known):
        return boxes
    nearest = np.rint(np.interp(np.arange(len(boxes)), known, np.arange(len(known)))).astype(int)
    return np.asarray(boxes[known[nearest]], np.float64)


async def eval_3dpw(
    folder: Path,
    options: EngineOptions,
    split: str = "test",
    most_frames: int | None = None,
    smpl: SmplFiles | None = None,
    on_sequence: Callable[[int, str], None] = lambda _done, _name: None,
) -> dict[str, Any]:
    """Run a split and compare: Table III.

    Args:
        folder: of the data set.
        options: of the engine.
        split: test, validation or train.
        most_frames: of each sequence; all without it.
        smpl: the user's files, for V2V and regressed joints.
        on_sequence: told how many are done, and the next one's name.

    Raises:
        SourceError: the folder is not 3DPW's, or not one sequence of it could be run.
    """
    people: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    errors: list[dict[str, F64]] = []
    for done, path in enumerate(sequences_of(folder, split)):
        on_sequence(done, path.stem)
        try:
            sequence = read_sequence(folder, path)
        except AvatarError as error:
            failed[path.stem] = str(error)
            continue
        failed |= {f"{path.stem}.{n}": why for n, why in sequence.damaged.items()}
        for n, person in sequence.people.items():
            try:
                found = await _run(sequence, person, options, most_frames, smpl)
            except AvatarError as error:
                failed[f"{path.stem}.{n}"] = str(error)
                continue
            errors.append(found)
            people[f"{path.stem}.{n}"] = _means([found])
    if not errors:
        raise SourceError(next(iter(failed.values()), f"no sequence of {folder} could be run"))
    ours = _means(errors)
    regressed = {
        name: ours[f"regressed_{name}"] for name in TABLE_3_3DPW_MM if f"regressed_{name}" in ours
    }
    return ours | {
        "ran": f"{len(people)} people, {ours['frames']} frames",
        "joints": "14 of SMPL's" + (", and those that a matrix regresses" if regressed else ""),
        "table_3": beside(TABLE_3_3DPW_MM, regressed or ours),
        "people": people,
        "failed": failed,
    }


def _means(errors: list[dict[str, F64]]) -> dict[str, Any]:
    """Over all frames of all people, and how many frames those are."""
    joined = {name: np.concatenate([one[name] for one in errors]) for name in errors[0]}
    means = {n: round(float(v.mean()), 2) if len(v) else None for n, v in joined.items()}
    return means | {"frames": len(joined["mpjpe_mm"])}


async def _run(
    sequence: Sequence,
    person: Person,
    options: EngineOptions,
    most: int | None,
    smpl: SmplFiles | None,
) -> dict[str, F64]:
    """Every counted frame's errors in millimetres, and whether nobody was seen in it."""
    count = min(len(sequence.pictures), most or MOST_FRAMES)
    first = read_picture(sequence.pictures[0])
    view = float(np.degrees(2.0 * np.arctan(0.5 * _longest(sequence) / sequence.focal_px)))
    scale = max(first.shape[:2]) / _longest(sequence)
    frames = PictureFrames(sequence.pictures[:count], FPS, view, scale * person.boxes[:count])
    with Engine.open(options) as engine, frames:
        async with engine.pipeline.run(frames, Policy.BLOCK, pose=False) as results:
            followed = [(r.state, joints_of(r.avatar, r.state)) async for r in results]
        _, avatar = engine.reconstructor.base.avatars_of(engine.reconstructor.identity)
    if len(followed) != count:
        raise AvatarError(
            f"expected {count} frames of {sequence.name}, the engine gave {len(followed)}"
        )
    states = [state for state, _ in followed]
    counted = np.flatnonzero(person.valid[:count])
    if not len(counted):
        raise SourceError(f"no frame of {sequence.name} has a camera that is known")
    joints = np.array([places for _, places in followed])
    errors = joint_errors_mm(joints, person.joints_m[:count], counted) | {
        "unseen_share": np.array([float(states[n].body_confidence <= 0.0) for n in counted])
    }
    if smpl is not None:
        meshes = smpl.ours(avatar, states), smpl.truth(person.smpl)
        errors |= smpl.compared(*meshes, counted.tolist())
    return errors


def joint_errors_mm(found: F64, true: F64, counted: NDArray[np.intp]) -> dict[str, F64]:
    """Of the frames that count: ``mpjpe_mm``, ``pa_mpjpe_mm`` (C,) and ``jitter_mm`` (<= C,).

    Args:
        found: (N, 14, 3) of JOINTS.
        true: (N, 14, 3), the same axes.
        counted: (C,) rows of frames, ascending. An acceleration counts where it and both of its
            neighbours do.
    """
    found, true = (p - p[:, HIPS].mean(axis=1, keepdims=True) for p in (found, true))
    moves = np.linalg.norm(np.diff(found - true, 2, axis=0), axis=2).mean(axis=1)
    counts = np.zeros(len(found), bool)
    counts[counted] = True
    found, true = found[counted], true[counted]
    return {
        "mpjpe_mm": 1e3 * np.linalg.norm(found - true, axis=2).mean(axis=1),
        "pa_mpjpe_mm": procrustes_errors_mm(found, true).mean(axis=1),
        "jitter_mm": 1e3 * moves[counts[:-2] & counts[1:-1] & counts[2:]],
    }


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
