"""Converting a motion's file, or an avatar's own motion, to another body model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import quaternions
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.parametric_body import ParametricBody, anny_as_body, avatar_as_body
from engine.body.model_conversion import BodyMotion, Conversion, ModelConverter
from engine.body.shape_space import ShapeSpace, anny_space, betas_space
from engine.errors import AvatarError
from engine.inference.store import ModelStore, write_atomically
from exporters.body_models.smpl import read_smpl
from exporters.body_models.transfer_setup import read_transfer
from exporters.motion.amass import Z_UP
from exporters.motion.body_files import gender_of, motion_bytes, read_motion
from exporters.motion.clip import MotionClip

ANNY = "anny"


@dataclass(frozen=True, slots=True)
class NamedModel:
    """A body model that the user named, and what its people look like."""

    body: ParametricBody
    space: ShapeSpace
    gender: NDArray[Any]


def open_model(name: str, store: ModelStore | None = None) -> NamedModel:
    """``anny``, or the path of a file of SMPL's family.

    Raises:
        ModelFileError: it cannot be read; the baked Anny is missing.
    """
    if name == ANNY:
        model = BodyModel.load((store or ModelStore.default()).path(FILE_NAME))
        return NamedModel(anny_as_body(model), anny_space(model), gender_of(name))
    body = read_smpl(Path(name))
    return NamedModel(body, betas_space(body), gender_of(name))


def convert_file(
    path: Path,
    out: Path,
    source: NamedModel,
    target: NamedModel,
    on_frame: Callable[[int, int], None],
    transfer: Path | None = None,
) -> dict[str, Any]:
    """Read, convert and write a motion; the file is written whole or not at all.

    Args:
        path: of the source's motion.
        out: the target's.
        source: the model it is of.
        target: the model it should be of.
        on_frame: told how many frames are done, and of how many.
        transfer: the makers' own file of this pair, a ``*_deftrafo_setup.pkl``.

    Returns:
        The errors in millimetres, and the time.

    Raises:
        ModelFileError: the motion's file is not one of the source's.
        AvatarError: the models do not fit on each other, or ``out`` is a folder.
        OSError: the file cannot be written.
    """
    if out.is_dir():
        raise AvatarError(f"expected the name of a file to write, found the folder {out}")
    read = read_motion(path, source.body)
    count = len(read.motion.rotations)
    on_frame(0, count)
    vertices = (len(source.body.template_m), len(target.body.template_m))
    converter = ModelConverter(
        source.body,
        target.body,
        source_space=source.space,
        target_space=target.space,
        known=None if transfer is None else read_transfer(transfer, *vertices),
    )
    found = converter.convert(read.motion, lambda n: on_frame(n, count))
    more = {"gender": target.gender}
    write_atomically(out, motion_bytes(target.body, found.motion, read.fps, more))
    return conversion_numbers(found) | {"fps": read.fps}


def conversion_numbers(found: Conversion) -> dict[str, Any]:
    """What is told of a conversion."""
    error = found.error
    return {
        "frames": len(found.motion.rotations),
        "measured_frames": error.frames,
        "ms_per_frame": round(found.ms_per_frame, 2),
        "vertices_mm": {part: _rounded(asdict(s)) for part, s in error.vertices_mm.items()},
        "joints_mm": {part: _rounded(asdict(s)) for part, s in error.joints_mm.items()},
    }


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def convert_clip(
    clip: MotionClip, target: NamedModel, on_frame: Callable[[int, int], None]
) -> tuple[bytes, dict[str, Any]]:
    """An avatar's motion as the target's file, with true betas, and the errors.

    The avatar's own mesh is fitted, whoever it shows; its expression goes along as it is.

    Raises:
        AvatarError: the models do not fit on each other.
    """
    clip = clip.evenly_timed()
    source = avatar_as_body(clip.avatar)
    motion, count = z_up_motion(clip), len(clip.times_s)
    on_frame(0, count)
    converter = ModelConverter(source, target.body, target_space=target.space)
    found = converter.convert(motion, lambda n: on_frame(n, count))
    more = {"gender": target.gender, "expression_arkit": clip.expression}
    return motion_bytes(target.body, found.motion, clip.fps, more), conversion_numbers(found)


def z_up_motion(clip: MotionClip) -> BodyMotion:
    """In AMASS's world: the whole avatar is turned about its root, and its root moved."""
    turns = quaternions.to_rotation_vector(clip.rotations_xyzw.astype(np.float64))
    root = Z_UP @ quaternions.to_matrix(clip.rotations_xyzw[:, 0].astype(np.float64))
    turns[:, 0] = quaternions.to_rotation_vector(quaternions.from_matrix(root))
    rest = clip.avatar.joints_m[0]
    place = (clip.translation_m + rest) @ Z_UP.T - rest
    return BodyMotion(np.zeros(0, np.float32), turns.astype(np.float32), place.astype(np.float32))
