"""Which file a name asks for, and writing all of them whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from engine.errors import AvatarError
from engine.inference.store import write_atomically
from exporters.glb import write_glb
from exporters.motion.amass import write_amass
from exporters.motion.bvh import write_bvh
from exporters.motion.clip import MotionClip
from exporters.motion.table import write_csv


def _write_animated(clip: MotionClip) -> bytes:
    return write_glb(clip.avatar, clip)


WRITERS: dict[str, Callable[[MotionClip], bytes]] = {
    ".glb": _write_animated,
    ".npz": write_amass,
    ".bvh": write_bvh,
    ".csv": write_csv,
}


def check_names(paths: Sequence[Path]) -> None:
    """Before a run begins: every name has an ending that is known.

    Raises:
        AvatarError: one has not.
    """
    for path in paths:
        if path.suffix.lower() not in WRITERS:
            raise AvatarError(
                f"expected a motion file that ends in {', '.join(WRITERS)}, found {path}"
            )


def export_motion(
    clip: MotionClip, paths: Sequence[Path], to_npz: Callable[[MotionClip], bytes] = write_amass
) -> None:
    """Write the motion in every format that is asked for.

    Args:
        clip: the motion.
        paths: the endings say the formats.
        to_npz: what makes an ``.npz`` of it: joint angles alone, or a conversion.

    Raises:
        AvatarError: a name's ending is not known.
        OSError: a file cannot be written.
    """
    check_names(paths)
    for path in paths:
        write = (WRITERS | {".npz": to_npz})[path.suffix.lower()]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write(clip))
