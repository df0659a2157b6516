"""ICT-FaceKit's light model (MIT): the official download, or the same as one file of arrays.

The download is the folder ``FaceXModel`` of ICT-VGL/ICT-FaceKit: ``generic_neutral_mesh.obj``,
``identity000.obj`` and on, one OBJ for each expression that ``vertex_indices.json`` names; in
centimetres, Y up, facing +Z. Identity modes are principal components in standard deviations: its
own scripts draw them from a normal distribution of variance one.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.avatar.array_file import ArrayFile, open_arrays
from engine.avatar.morphable_model import ACTIONS, JAW_OPEN, MOUTH_CLOSE, Basis, MorphableModel
from engine.errors import ModelFileError
from engine.types import ARKIT_NAMES, F32, I32
from exporters.face_models import ict_layout
from exporters.face_models.obj import read_mesh, read_vertices
from exporters.face_models.polygons import triangulate

CM = np.float32(0.01)
CURE = "fetch FaceXModel of github.com/ICT-VGL/ICT-FaceKit again"
MAX_BYTES = 128 << 20
MAX_MODES = 500


@dataclass(frozen=True, slots=True)
class _Parts:
    """What both forms of the model hold; lengths in cm."""

    neutral: F32
    polygons: I32
    uvs: F32
    polygon_uvs: I32
    identity: Basis
    expressions: Mapping[str, F32]
    """ICT's name to (V, 3) offsets."""


def read_ict(path: Path) -> MorphableModel:
    """The model without landmarks.

    Args:
        path: the folder ``FaceXModel``, or a ``.npz`` with the arrays ``neutral``, ``faces``,
            ``uv``, ``faces_uv`` and, as 16-bit steps with their scales and names, ``identity_*``
            and ``expression_*``.

    Raises:
        ModelFileError: something is missing, damaged or not of the light model's shape.
    """
    parts = _read_folder(path) if path.is_dir() else _read_arrays(path)
    _check(parts, path)
    polygon_parts = ict_layout.polygon_parts(len(parts.polygons))
    faces, face_uvs, face_parts = triangulate(parts.polygons, parts.polygon_uvs, polygon_parts)
    offsets = _by_action(parts.expressions, len(parts.neutral))
    return MorphableModel(
        name="ICT-FaceKit",
        licence=ict_layout.LICENCE,
        mean_m=parts.neutral * CM,
        identity=Basis(parts.identity.steps, parts.identity.step * CM),
        expression=Basis.of(offsets * CM),
        actions=np.asarray(offsets.any(axis=(1, 2))),
        correctives=((MOUTH_CLOSE, JAW_OPEN),),
        faces=faces,
        face_parts=face_parts,
        uvs=_v_downwards(parts.uvs),
        face_uvs=face_uvs,
    )


def _v_downwards(uvs: F32) -> F32:
    """OBJ's texture coordinates, which count v upwards, as glTF's."""
    return np.stack([uvs[:, 0], 1.0 - uvs[:, 1]], axis=1)


def _by_action(expressions: Mapping[str, F32], vertices: int) -> F32:
    """(52, V, 3): ARKit's actions; what ARKit has no name for is left out."""
    offsets = np.zeros((ACTIONS, vertices, 3), np.float32)
    for name, offset in expressions.items():
        arkit = ict_layout.arkit_name(name)
        if arkit in ARKIT_NAMES:
            offsets[ARKIT_NAMES.index(arkit)] += offset
    return offsets


def _read_arrays(path: Path) -> _Parts:
    with open_arrays(path, MAX_BYTES, CURE) as arrays:
        names = [str(name) for name in arrays.read("expression_names")]
        expression = _basis(arrays, "expression", path)
        if len(names) != len(expression):
            raise ModelFileError(
                f"{path}: expected a name for each of {len(expression)} expressions, "
                f"found {len(names)}; {CURE}"
            )
        return _Parts(
            neutral=_floats(arrays, "neutral"),
            polygons=_indices(arrays, "faces"),
            uvs=_floats(arrays, "uv"),
            polygon_uvs=_indices(arrays, "faces_uv"),
            identity=_basis(arrays, "identity", path),
            expressions={name: expression.mode(k) for k, name in enumerate(names)},
        )


def _floats(arrays: ArrayFile, name: str) -> F32:
    return np.asarray(arrays.read(name), np.float32)


def _indices(arrays: ArrayFile, name: str) -> I32:
    return np.asarray(arrays.read(name), np.int32)


def _basis(arrays: ArrayFile, name: str, path: Path) -> Basis:
    basis = Basis(arrays.read(f"{name}_q"), _floats(arrays, f"{name}_scale"))
    shape = (len(basis.step), ict_layout.VERTICES, 3)
    if basis.steps.shape != shape or basis.steps.dtype != np.int16:
        raise ModelFileError(
            f"{path}: {name}_q has shape {basis.steps.shape} of {basis.steps.dtype}, expected "
            f"{shape} of int16; {CURE}"
        )
    return basis


def _read_folder(folder: Path) -> _Parts:
    mesh = read_mesh(folder / "generic_neutral_mesh.obj")
    neutral = mesh.vertices

    def offsets(name: str) -> F32:
        vertices = read_vertices(folder / f"{name}.obj")
        if vertices.shape != neutral.shape:
            raise ModelFileError(
                f"{folder / name}.obj has {len(vertices)} vertices, expected the "
                f"{len(neutral)} of generic_neutral_mesh.obj; {CURE}"
            )
        return np.asarray(vertices - neutral, np.float32)

    names = [f"identity{k:03}" for k in range(MAX_MODES)]
    there = itertools.takewhile(lambda name: (folder / f"{name}.obj").is_file(), names)
    identity = [offsets(name) for name in there]
    return _Parts(
        neutral=neutral.astype(np.float32),
        polygons=mesh.polygons,
        uvs=mesh.uvs.astype(np.float32),
        polygon_uvs=mesh.polygon_uvs,
        identity=Basis.of(np.array(identity, np.float32).reshape(-1, *neutral.shape)),
        expressions={name: offsets(name) for name in _expression_names(folder)},
    )


def _expression_names(folder: Path) -> list[str]:
    path = folder / "vertex_indices.json"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too long")
        names = json.loads(path.read_bytes())["expressions"]
        if not all(isinstance(name, str) and name.isidentifier() for name in names):
            raise ValueError("its expressions are not names")
        return list(dict.fromkeys(names))[:MAX_MODES]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path} cannot be read ({error}); {CURE}") from error


def _check(parts: _Parts, path: Path) -> None:
    expected = {
        "vertices": (parts.neutral.shape, (ict_layout.VERTICES, 3)),
        "polygons": (parts.polygons.shape, (ict_layout.POLYGONS, 4)),
        "polygons' texture coordinates": (parts.polygon_uvs.shape, (ict_layout.POLYGONS, 4)),
        "texture coordinates": (parts.uvs.shape, (len(parts.uvs), 2)),
    }
    for what, (found, wanted) in expected.items():
        if found != wanted:
            raise ModelFileError(f"{path}: {what} have shape {found}, expected {wanted}; {CURE}")
    if not len(parts.identity) or not parts.expressions:
        raise ModelFileError(f"{path} holds no identity000 or no expression; {CURE}")
    corners, quads = parts.polygons[:, :3], parts.polygons[:, 3]
    if corners.min() < 0 or parts.polygons.max() >= len(parts.neutral) or quads.min() < -1:
        raise ModelFileError(
            f"{path}: a polygon points outside of the {len(parts.neutral)} vertices; {CURE}"
        )
    uv_corners = parts.polygon_uvs[parts.polygons >= 0]
    if uv_corners.min() < 0 or uv_corners.max() >= len(parts.uvs):
        raise ModelFileError(
            f"{path}: a polygon points outside of {len(parts.uvs)} texture coordinates; {CURE}"
        )
    numbers = (parts.neutral, parts.uvs, parts.identity.step, *parts.expressions.values())
    if not all(np.isfinite(values).all() for values in numbers):
        raise ModelFileError(f"{path} holds numbers that are not finite; {CURE}")
