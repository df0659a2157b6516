"""``sars eval multiview``: the live body on a real recording whose joints several cameras know.

The engine sees one camera's film. What counts as a joint is the landmark network's own point of
that name on the fitted body, and for the peer its own metric landmark; both against joints that
were triangulated from all cameras, which is true to about two centimetres.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.joint_errors import JointErrors, joint_errors, procrustes_errors_mm
from benchmarks.peer import peer_world_landmarks
from engine.avatar.topology import FusedAvatar
from engine.body.kinematics import forward_kinematics
from engine.body.landmark_embedding import PointSet, embed
from engine.engine import Engine, EngineOptions
from engine.errors import SourceError
from engine.fusion.base_avatar import BaseAvatar
from engine.offline import fit_clip
from engine.pipeline import Result
from engine.reconstructor import Reconstructor
from engine.rendering.projection import project
from engine.slot import Policy
from engine.sources.opening import open_source
from engine.types import F32, F64, U8, AvatarState, Identity, Observation
from viewer.snapshot import save_png

CAMERAS_FILE, TRUTH_FILE = "cameras_opencv.json", "keypoints3d_world.npy"
JOINTS = {
    "RHip": 24, "RKnee": 26, "RAnkle": 28, "LHip": 23, "LKnee": 25, "LAnkle": 27,
    "RShoulder": 12, "RElbow": 14, "RWrist": 16, "LShoulder": 11, "LElbow": 13, "LWrist": 15,
}  # fmt: skip
"""The recording's name of a joint, BlazePose's number."""
HIPS = (0, 3)
_BONES = (
    (0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (9, 10), (10, 11), (0, 3), (6, 9), (0, 6),
    (3, 9),
)  # fmt: skip
_MAX_BYTES = 64 << 20
_MAX_FRAMES = 20_000
DRAWN = 5
CELL = 420


@dataclass(frozen=True, slots=True)
class Recording:
    """One camera's film and the joints in its space."""

    film: Path
    joints_m: F64
    """(N, 12, 3) in the camera's glTF axes."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What the engine makes of a film."""

    joints_m: F64
    """(N, 12, 3)."""
    joints_px: F64
    """(N, 12, 2) in the picture."""
    fps: float
    body_fit_ms: F64
    """(N,) alone on a core."""
    offline_m: F64
    """(N, 12, 3) of the whole clip fitted at once."""


def read_recording(folder: Path, camera: str) -> Recording:
    """One camera of a recording.

    Args:
        folder: with ``cameras_opencv.json``, ``keypoints3d_world.npy`` and the films.
        camera: such as cam01.

    Raises:
        SourceError: a file is missing or not of that layout, or the camera is unknown.
    """
    try:
        described = json.loads(_bounded(folder / CAMERAS_FILE))
        names, cameras = list(described["keypoint_names"]), dict(described["cameras"])
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"expected {folder / CAMERAS_FILE} to hold cameras and keypoint_names, found {error!r}"
        ) from error
    film = folder / f"{camera}.mp4"
    if camera not in cameras or not film.is_file():
        raise SourceError(f"{folder} has no camera {camera} with a film; it has {_films(folder)}")
    world = _truth(folder / TRUTH_FILE, names)
    try:
        rotation = np.array(cameras[camera]["R"], np.float64).reshape(3, 3)
        shift = np.array(cameras[camera]["t"], np.float64).reshape(3)
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"expected R (3 x 3) and t (3) of {camera} in {folder / CAMERAS_FILE}, found {error!r}"
        ) from error
    # OpenCV's axes (x right, y down, z away) to glTF's: half a turn about x.
    return Recording(film, (world @ rotation.T + shift) * np.array([1.0, -1.0, -1.0]))


def cameras_of(folder: Path) -> list[str]:
    """The cameras whose films are there.

    Raises:
        SourceError: none is.
    """
    found = sorted(path.stem for path in folder.glob("*.mp4"))
    if not found:
        raise SourceError(f"expected a recording with films such as cam01.mp4 in {folder}")
    return found


async def eval_multiview(
    folder: Path,
    camera: str,
    options: EngineOptions,
    picture: Path | None = None,
    peer: bool = False,
) -> dict[str, Any]:
    """Run one camera's film through the engine and compare.

    Args:
        folder: of the recording.
        camera: which.
        options: of the engine.
        picture: where to draw some frames with truth and fit, as PNG.
        peer: also MediaPipe Holistic, in its own environment.

    Raises:
        SourceError: the recording is incomplete, or its film and its joints do not belong together.
        SetupError: the peer's environment cannot be made.
    """
    recording = read_recording(folder, camera)
    count = len(recording.joints_m)
    followed = await follow(recording.film, count, options)
    if len(followed.joints_m) != count:
        raise SourceError(
            f"expected {count} frames in {recording.film} as in {TRUTH_FILE}, "
            f"found {len(followed.joints_m)}"
        )
    errors = joint_errors(followed.joints_m, recording.joints_m, HIPS, followed.fps)
    numbers: dict[str, Any] = errors.numbers() | {
        "offline": joint_errors(
            followed.offline_m, recording.joints_m, HIPS, followed.fps
        ).numbers(),
        "by_joint_mm": _by_joint(followed.joints_m, recording.joints_m),
        "body_fit_ms": {
            f"p{q}": round(float(np.percentile(followed.body_fit_ms, q)), 2) for q in (50, 95)
        },
    }
    if peer:
        own = peer_errors(recording, options, followed.fps)
        numbers["peer"] = own.numbers()
        numbers["ratio"] = round(errors.pa_mpjpe_mm / own.pa_mpjpe_mm, 3)
    if picture is not None:
        save_png(draw(recording, followed), picture)
    return numbers


async def follow(film: Path, count: int, options: EngineOptions) -> Followed:
    """The engine's joints in every frame, as a live run has them."""
    joints, pixels, seen = [], [], []
    source = open_source(str(film), frames=count)
    with Engine.open(options) as engine, source:
        async with engine.pipeline.run(source, Policy.BLOCK) as results:
            async for result in results:
                joints.append(posed_landmarks(engine.reconstructor.fitted_avatar, result.state))
                pixels.append(_pixels(joints[-1], result))
                seen.append(result.observation)
        base = engine.reconstructor.base
        identity = engine.reconstructor.identity
    alone_ms = fit_alone_ms(base, seen)
    _, fitted = base.avatars_of(identity)
    whole = np.array([posed_landmarks(fitted, state) for state in fit_clip(base, identity, seen)])
    return Followed(np.array(joints), np.array(pixels), float(source.fps), alone_ms, whole)


def fit_alone_ms(base: BaseAvatar, seen: Sequence[Observation]) -> F64:
    """(N,) what each body fit takes of a core that no network is using."""
    replay = Reconstructor(base, Identity())
    timings = [replay.reconstruct(observation, pose=False)[2] for observation in seen]
    return np.array([timing["body_fit"] for timing in timings])


def posed_landmarks(avatar: FusedAvatar, state: AvatarState) -> F64:
    """(12, 3) the landmark points of JOINTS on a posed body, in camera space."""
    points = _points_on(avatar)
    transforms = np.empty((len(avatar.parents), 3, 4), np.float32)
    forward_kinematics(state.rotations_xyzw, avatar.joints_m, avatar.parents, transforms)
    rows = list(JOINTS.values())
    bones = points.bones[rows]
    rest = avatar.joints_m[bones] + points.offsets_m[rows]
    placed = np.einsum("jab,jb->ja", transforms[bones, :, :3], rest) + transforms[bones, :, 3]
    return np.asarray(placed + state.translation_m, np.float64)


def peer_errors(recording: Recording, options: EngineOptions, fps: float) -> JointErrors:
    """The same of MediaPipe Holistic's metric landmarks; a frame without any repeats the last."""
    world = peer_world_landmarks(options.store, recording.film, len(recording.joints_m))
    seen = np.asarray(np.isfinite(world).all(axis=(1, 2)))
    if not seen.any():
        raise SourceError(f"the peer sees nobody in {recording.film}")
    last = np.maximum.accumulate(np.where(seen, np.arange(len(seen)), -1))
    held = world[np.where(last < 0, int(np.argmax(seen)), last)]
    joints = held[:, list(JOINTS.values())] * np.array([1.0, -1.0, -1.0])
    return joint_errors(joints, recording.joints_m, HIPS, fps)


def draw(recording: Recording, followed: Followed) -> U8:
    """(H, W, 3): frames spread over the film, the fit's joints over each."""
    chosen = set(np.linspace(0, len(followed.joints_px) - 1, DRAWN).astype(int).tolist())
    cells = []
    with open_source(str(recording.film), frames=len(followed.joints_px)) as source:
        for number, frame in enumerate(source):
            if number in chosen:
                cells.append(_cell(frame.image, followed.joints_px[number]))
    return np.hstack(cells)


def _cell(image: U8, joints: F64) -> U8:
    shown = image.copy()
    for a, b in _BONES:
        colour = (255, 170, 0) if b < 3 or 6 <= a < 9 else (0, 190, 255)
        ends = [tuple(round(float(v)) for v in joints[k]) for k in (a, b)]
        cv2.line(shown, ends[0], ends[1], colour, max(2, image.shape[0] // 300), cv2.LINE_AA)
    side = int(min(1.5 * np.ptp(joints, axis=0).max(), *image.shape[:2]))
    left, top = (
        int(np.clip(middle - side / 2, 0, size - side))
        for middle, size in zip(joints.mean(axis=0), image.shape[1::-1], strict=True)
    )
    cut = shown[top : top + side, left : left + side]
    return np.asarray(cv2.resize(cut, (CELL, CELL), interpolation=cv2.INTER_AREA), np.uint8)


def _points_on(avatar: FusedAvatar) -> PointSet:
    return embed(avatar.joint_names, avatar.joints_m, avatar.rest_vertices_m).body


def _pixels(joints: F64, result: Result) -> F32:
    return project(joints.astype(np.float32), result.state.camera)


def _by_joint(found: F64, true: F64) -> dict[str, float]:
    errors = procrustes_errors_mm(found, true).mean(axis=0)
    return {name: round(float(e), 1) for name, e in zip(JOINTS, errors, strict=True)}


def _films(folder: Path) -> str:
    return ", ".join(sorted(path.stem for path in folder.glob("*.mp4"))) or "no films"


def _bounded(path: Path) -> bytes:
    if not path.is_file():
        raise SourceError(f"expected {path.name} in {path.parent}; name a recording's folder")
    if path.stat().st_size > _MAX_BYTES:
        raise SourceError(f"expected less than {_MAX_BYTES >> 20} MB in {path}")
    return path.read_bytes()


def _truth(path: Path, names: list[str]) -> F64:
    """(N, 12, 3) world metres of JOINTS."""
    _bounded(path)
    missing = [name for name in JOINTS if name not in names]
    if missing:
        raise SourceError(f"expected a joint named {missing[0]} among keypoint_names, found none")
    try:
        world = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise SourceError(f"expected an array of joints in {path}, found {error}") from error
    right = world.ndim == 3 and world.shape[1:] == (len(names), 3) and world.dtype.kind == "f"
    if not right or not 0 < len(world) <= _MAX_FRAMES:
        raise SourceError(
            f"expected frames x {len(names)} x 3 metres in {path}, found {world.dtype} of shape "
            f"{world.shape}"
        )
    joints = np.asarray(world[:, [names.index(name) for name in JOINTS]], np.float64)
    if not np.isfinite(joints).all():
        raise SourceError(f"expected finite metres in {path}, found others among its 12 joints")
    return joints
