"""Biovision Hierarchy (BVH) motion capture: a bounded reader and its forward kinematics.

Format: Meredith and Maddock, *Motion Capture File Formats Explained* (2001), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from engine.errors import SourceError
from engine.types import F64, I32

MAX_BYTES = 64 << 20
MAX_JOINTS = 512
MAX_NUMBERS = 20_000_000
LARGEST = 1e7
"""Of any length or angle, whatever the file's unit; sums of such numbers stay finite."""
CHANNELS = ("Xposition", "Yposition", "Zposition", "Xrotation", "Yrotation", "Zrotation")


@dataclass(frozen=True, slots=True)
class Clip:
    """A skeleton and its motion; J joints without the end sites, T frames."""

    names: tuple[str, ...]
    parents: I32
    """(J,), -1 for the root; parents come before children."""
    offsets: F64
    """(J, 3) from the parent, the file's own unit."""
    positions: F64
    """(T, J, 3) in the file's world."""
    turns: F64
    """(T, J, 3, 3) world rotation of each joint relative to the file's rest pose."""
    fps: float


@dataclass(frozen=True, slots=True)
class _Joint:
    name: str
    parent: int
    offset: tuple[float, float, float]
    channels: tuple[str, ...]


def read_bvh(path: Path) -> Clip:
    """Read a file.

    Raises:
        SourceError: missing, too large, or not a BVH file.
    """
    try:
        if not path.is_file():
            raise SourceError(
                f"there is no motion file {path}; give `webcam`, `full` or a .bvh file"
            )
        if path.stat().st_size > MAX_BYTES:
            raise SourceError(
                f"{path} is larger than {MAX_BYTES >> 20} MiB; cut the motion shorter"
            )
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise SourceError(f"the motion file {path} cannot be read ({error.strerror})") from error
    return parse_bvh(text, str(path))


def parse_bvh(text: str, name: str = "the motion") -> Clip:
    """Parse the text of a BVH file.

    Args:
        text: its content.
        name: what error messages call it.

    Raises:
        SourceError: not BVH, or beyond the bounds above.
    """
    head, mark, motion = text.partition("MOTION")
    if not mark:
        raise SourceError(f"{name} is not a BVH motion (it has no MOTION part)")
    try:
        joints = _hierarchy(iter(head.split()))
        numbers, fps = _numbers(motion, sum(len(joint.channels) for joint in joints))
    except (ValueError, StopIteration, IndexError) as error:
        reason = str(error) or "it ends too early"
        raise SourceError(f"{name} is not a proper BVH motion: {reason}") from error
    return _forward(joints, numbers, fps)


def _hierarchy(words: Iterator[str]) -> list[_Joint]:
    """Joints in file order, which puts parents before children; end sites are left out."""
    if next(words) != "HIERARCHY":
        raise ValueError("it does not begin with HIERARCHY")
    joints: list[_Joint] = []
    open_joints: list[int] = []
    for word in words:
        if word in ("ROOT", "JOINT"):
            open_joints.append(len(joints))
            parent = open_joints[-2] if len(open_joints) > 1 else -1
            if (word == "ROOT") != (parent == -1) or len(joints) >= MAX_JOINTS:
                raise ValueError("more than one root, or too many joints")
            joints.append(_joint(words, parent))
        elif word == "End":
            _skip_end_site(words)
        elif word == "}":
            open_joints.pop()
        else:
            raise ValueError(f"the word {word[:20]!r} in the hierarchy")
    if not joints or open_joints:
        raise ValueError("the hierarchy is not closed")
    return joints


def _joint(words: Iterator[str], parent: int) -> _Joint:
    name = next(words)
    _expect(words, "{")
    _expect(words, "OFFSET")
    offset = _offset(words)
    _expect(words, "CHANNELS")
    count = _bounded(next(words), 6)
    channels = tuple(islice(words, count))
    if len(channels) < count or not set(channels) <= set(CHANNELS):
        raise ValueError(f"channels {channels} of joint {name[:40]!r}")
    return _Joint(name, parent, offset, channels)


def _skip_end_site(words: Iterator[str]) -> None:
    _expect(words, "Site")
    _expect(words, "{")
    _expect(words, "OFFSET")
    _offset(words)
    _expect(words, "}")


def _offset(words: Iterator[str]) -> tuple[float, float, float]:
    offset = (float(next(words)), float(next(words)), float(next(words)))
    if not all(abs(value) <= LARGEST for value in offset):
        raise ValueError(f"the offset {offset}, at most {LARGEST:.0f} is possible")
    return offset


def _expect(words: Iterator[str], word: str) -> None:
    found = next(words)
    if found != word:
        raise ValueError(f"{found[:20]!r} where {word!r} was expected")


def _bounded(word: str, most: int) -> int:
    number = int(word)
    if not 0 <= number <= most:
        raise ValueError(f"the count {number}, at most {most} is possible")
    return number


def _numbers(motion: str, channels: int) -> tuple[F64, float]:
    """(T, channels) and the frame rate."""
    lines = motion.split("\n", 3)
    words = " ".join(lines[:3]).replace(":", " ").split()
    if len(words) != 5 or words[0] != "Frames" or words[2:4] != ["Frame", "Time"]:
        raise ValueError("no Frames and Frame Time after MOTION")
    frames = _bounded(words[1], MAX_NUMBERS // max(channels, 1))
    seconds = float(words[4])
    values = np.array(lines[3].split() if len(lines) > 3 else [], np.float64)
    if frames == 0 or channels == 0 or values.size < frames * channels:
        raise ValueError(f"{values.size} numbers for {frames} frames of {channels} channels")
    if not (np.abs(values) <= LARGEST).all() or not 1e-4 <= seconds <= 10.0:
        raise ValueError("numbers that are not finite or too large, or an impossible frame time")
    return values[: frames * channels].reshape(frames, channels), 1.0 / seconds


def _forward(joints: list[_Joint], numbers: F64, fps: float) -> Clip:
    """World positions and rotations: each joint turns in the order of its channels."""
    count, frames = len(joints), len(numbers)
    turns = np.empty((frames, count, 3, 3))
    positions = np.empty((frames, count, 3))
    column = 0
    for j, joint in enumerate(joints):
        own = numbers[:, column : column + len(joint.channels)]
        column += len(joint.channels)
        local = np.broadcast_to(np.eye(3), (frames, 3, 3))
        place = np.broadcast_to(np.array(joint.offset), (frames, 3)).copy()
        for channel, values in zip(joint.channels, own.T, strict=True):
            axis = "XYZ".index(channel[0])
            if channel.endswith("position"):
                place[:, axis] = values
            else:
                local = local @ _about(axis, np.radians(values))
        if joint.parent < 0:
            turns[:, j], positions[:, j] = local, place
        else:
            carrier = turns[:, joint.parent]
            turns[:, j] = carrier @ local
            positions[:, j] = positions[:, joint.parent] + np.einsum("tab,tb->ta", carrier, place)
    return Clip(
        tuple(joint.name for joint in joints),
        np.array([joint.parent for joint in joints], np.int32),
        np.array([joint.offset for joint in joints]),
        positions,
        turns,
        fps,
    )


def _about(axis: int, angle: F64) -> F64:
    """(T, 3, 3) rotations about a coordinate axis."""
    matrix = np.zeros((len(angle), 3, 3))
    b, c = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, axis, axis] = 1.0
    matrix[:, b, b] = matrix[:, c, c] = np.cos(angle)
    matrix[:, c, b], matrix[:, b, c] = np.sin(angle), -np.sin(angle)
    return matrix
