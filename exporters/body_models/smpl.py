"""SMPL, SMPL+H and SMPL-X from the official files: ``.npz``, ``.safetensors`` or ``.pkl``.

Pickles are read as data (:mod:`exporters.face_models.pickle_reader`): chumpy's variables and
scipy's sparse matrices become arrays, and nothing in the file can run.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.array_file import open_arrays
from engine.avatar.joint_names import SMPL_FAMILY
from engine.avatar.parametric_body import HandPoses, ParametricBody
from engine.errors import ModelFileError
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import as_array

Array = NDArray[Any]
MAX_BYTES = 1 << 30
_HEADER_BYTES = 1 << 20
_CURE = "name the model's own file, such as SMPL_NEUTRAL.pkl or SMPLX_NEUTRAL.npz"
_NEEDED = ("v_template", "shapedirs", "posedirs", "J_regressor", "kintree_table", "weights", "f")
_HANDS = ("hands_meanl", "hands_componentsl", "hands_meanr", "hands_componentsr")


@dataclass(frozen=True, slots=True)
class Layout:
    """What tells one model from another."""

    name: str
    vertices: int
    joints: int
    betas: int
    """How many of ``shapedirs`` are identity, where there are expressions after them."""
    expressions: int


LAYOUTS = (
    Layout("SMPL", 6890, 24, 300, 0),
    Layout("SMPL+H", 6890, 52, 300, 0),
    Layout("SMPL-X", 10475, 55, 300, 100),
)
SHORT_SMPLX = 20
"""The shapes of the earlier SMPL-X files: ten betas, then ten expressions."""


def read_smpl(path: Path) -> ParametricBody:
    """Read an official model file.

    Raises:
        ModelFileError: the file is missing, damaged, or not of an official layout; what was
            expected and what was found.
    """
    arrays = _arrays(path)
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise ModelFileError(f"{path} holds no {missing[0]}; {_CURE}")
    template = arrays["v_template"]
    joints = arrays["weights"].shape[1] if arrays["weights"].ndim == 2 else -1
    layout = _layout(path, template, joints)
    v, shapes = layout.vertices, arrays["shapedirs"]
    if shapes.ndim != 3 or shapes.shape[:2] != (v, 3):
        raise ModelFileError(f"{path}: expected shapedirs ({v}, 3, S), found {shapes.shape}")
    for name, shape in (
        ("posedirs", (v, 3, 9 * (joints - 1))),
        ("J_regressor", (joints, v)),
        ("kintree_table", (2, joints)),
        ("weights", (v, joints)),
    ):
        if arrays[name].shape != shape:
            raise ModelFileError(f"{path}: expected {name} {shape}, found {arrays[name].shape}")
    regressor = arrays["J_regressor"].astype(np.float64)
    parents = arrays["kintree_table"][0].astype(np.int64)
    parents[0] = -1  # the official files have 2^32 - 1
    if np.abs(parents).max() >= joints:
        raise ModelFileError(f"{path}: kintree_table points outside of 0..{joints - 1}")
    dirs = shapes.astype(np.float64).transpose(2, 0, 1)
    return ParametricBody(
        name=layout.name,
        template_m=template.astype(np.float32),
        shape_dirs_m=dirs.reshape(len(dirs), -1).astype(np.float32),
        betas=_betas(layout, len(dirs)),
        pose_dirs_m=np.ascontiguousarray(
            arrays["posedirs"].reshape(3 * v, -1).T.astype(np.float32)
        ),
        joint_template_m=(regressor @ template).astype(np.float32),
        joint_dirs_m=(regressor @ dirs).reshape(len(dirs), -1).astype(np.float32),
        parents=parents.astype(np.int32),
        weights=arrays["weights"].astype(np.float32),
        faces=_faces(path, arrays["f"]),
        hands=_hands(path, arrays),
        joint_names=SMPL_FAMILY[layout.name],
    )


def read_joint_regressor(path: Path) -> NDArray[np.float64]:
    """(J, V) of an official model file: what others regress joints from meshes with.

    Raises:
        ModelFileError: the file is missing or damaged, or holds none of an official layout.
    """
    found = _arrays(path).get("J_regressor")
    if found is None or found.shape not in {(k.joints, k.vertices) for k in LAYOUTS}:
        shape = None if found is None else found.shape
        raise ModelFileError(f"{path}: expected J_regressor (J, V), found {shape}; {_CURE}")
    regressor = np.asarray(found, np.float64)
    if not np.isfinite(regressor).all():
        raise ModelFileError(f"{path}: J_regressor is not finite; {_CURE}")
    return regressor


def _layout(path: Path, template: Array, joints: int) -> Layout:
    for layout in LAYOUTS:
        if template.shape == (layout.vertices, 3) and joints == layout.joints:
            return layout
    known = ", ".join(f"{k.name} {k.vertices} x {k.joints}" for k in LAYOUTS)
    raise ModelFileError(
        f"{path}: expected vertices x joints of one of {known}, found {template.shape} x {joints}"
    )


def _betas(layout: Layout, shapes: int) -> int:
    if not layout.expressions:
        return shapes
    return shapes // 2 if shapes <= SHORT_SMPLX else min(layout.betas, shapes)


def _faces(path: Path, faces: Array) -> NDArray[np.int32]:
    if faces.ndim != 2 or faces.shape[1] != 3 or (faces.size and faces.max() > 1 << 30):
        raise ModelFileError(f"{path}: expected triangles f (F, 3), found {faces.shape}")
    return faces.astype(np.int32)


def _hands(path: Path, arrays: dict[str, Array]) -> tuple[HandPoses, HandPoses] | None:
    if any(name not in arrays for name in _HANDS):
        return None
    left_mean, left, right_mean, right = (arrays[name].astype(np.float32) for name in _HANDS)
    for mean, components in ((left_mean, left), (right_mean, right)):
        if mean.shape != (45,) or components.ndim != 2 or components.shape[1] != 45:
            raise ModelFileError(
                f"{path}: expected hands of 45 numbers, found {mean.shape} and {components.shape}"
            )
    return HandPoses(left_mean, left), HandPoses(right_mean, right)


def _arrays(path: Path) -> dict[str, Array]:
    """The named arrays of a file of either kind."""
    wanted = frozenset((*_NEEDED, *_HANDS))
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; {_CURE}")
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{path} is larger than {MAX_BYTES} bytes; {_CURE}")
    if path.suffix == ".npz":
        with open_arrays(path, MAX_BYTES, _CURE) as file:
            return {name: file.read(name) for name in file.names & wanted}
    if path.suffix == ".safetensors":
        return _safetensors(path, wanted)
    content = read_pickle(path)
    try:
        return {name: as_array(content[name]) for name in wanted if name in content}
    except (ValueError, TypeError, LookupError) as error:
        raise ModelFileError(f"{path}: an array cannot be read ({error}); {_CURE}") from error


_KINDS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "U32": "<u4"}


def _safetensors(path: Path, wanted: frozenset[str]) -> dict[str, Array]:
    """A length, a JSON header of types, shapes and places, and the numbers: github.com/huggingface.

    Read here, for the package would map what the header claims before anything is checked.
    """
    content = path.read_bytes()
    try:
        (size,) = struct.unpack_from("<Q", content)
        if size > min(_HEADER_BYTES, len(content) - 8):
            raise ValueError("its header is longer than the file")
        header, body = json.loads(content[8 : 8 + size]), content[8 + size :]
        return {name: _tensor(header[name], body) for name in wanted if name in header}
    except (ValueError, KeyError, TypeError, struct.error) as error:
        raise ModelFileError(
            f"{path} is not a whole safetensors file ({error}); {_CURE}"
        ) from error


def _tensor(entry: Any, body: bytes) -> Array:
    start, end = entry["data_offsets"]
    kind = np.dtype(_KINDS[entry["dtype"]])
    shape = tuple(int(n) for n in entry["shape"])
    whole = 0 <= start <= end <= len(body) and min(shape, default=0) >= 0
    if not whole or int(np.prod(shape, dtype=object)) * kind.itemsize != end - start:
        raise ValueError(f"{shape} of {kind} does not lie at {start}..{end}")
    return np.frombuffer(body, kind, offset=start, count=(end - start) // kind.itemsize).reshape(
        shape
    )
