"""Just enough of Wavefront OBJ to read a model's meshes: ``v``, ``vt`` and ``f``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.errors import ModelFileError
from engine.types import F64, I32

MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class ObjMesh:
    """The polygons of an OBJ, counted from 0; -1 fills up polygons of three corners."""

    vertices: F64
    """(V, 3) in the file's unit and axes."""
    uvs: F64
    """(T, 2), v upwards as OBJ has it."""
    polygons: I32
    """(P, 4) vertices."""
    polygon_uvs: I32
    """(P, 4) index into uvs; all -1 where the file has none."""


def read_vertices(path: Path) -> F64:
    """(V, 3) only the vertices, for shapes of a mesh that is already known.

    Raises:
        ModelFileError: the file is missing, too large, or its vertices are not numbers.
    """
    return _numbers(_lines(path), b"v ", 3, path)


def read_mesh(path: Path) -> ObjMesh:
    """Vertices, texture coordinates and polygons of three or four corners.

    Raises:
        ModelFileError: as :func:`read_vertices`, or a polygon is of another kind.
    """
    lines = _lines(path)
    corners = [line.split()[1:] for line in lines if line.startswith(b"f ")]
    try:
        polygons = np.array([_corners(polygon, 0) for polygon in corners], np.int32)
        polygon_uvs = np.array([_corners(polygon, 1) for polygon in corners], np.int32)
    except (ValueError, OverflowError) as error:
        raise ModelFileError(
            f"{path}: expected polygons of three or four corners such as 1/1 2/2 3/3 ({error})"
        ) from error
    return ObjMesh(
        vertices=_numbers(lines, b"v ", 3, path),
        uvs=_numbers(lines, b"vt ", 2, path),
        polygons=polygons.reshape(-1, 4),
        polygon_uvs=polygon_uvs.reshape(-1, 4),
    )


def _lines(path: Path) -> list[bytes]:
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; name the folder that holds it")
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{path} is larger than {MAX_BYTES} bytes; it is not a model's mesh")
    return path.read_bytes().splitlines()


def _numbers(lines: Sequence[bytes], key: bytes, count: int, path: Path) -> F64:
    rows = [line.split()[1 : count + 1] for line in lines if line.startswith(key)]
    try:
        return np.array(rows, np.float64).reshape(-1, count)
    except ValueError as error:
        word = key.decode().strip()
        raise ModelFileError(f"{path}: expected {count} numbers after each {word}") from error


def _corners(polygon: Sequence[bytes], part: int) -> list[int]:
    if len(polygon) not in (3, 4):
        raise ValueError(f"found one of {len(polygon)}")
    fields = [corner.split(b"/") for corner in polygon]
    indices = [int(f[part]) - 1 if len(f) > part and f[part] else -1 for f in fields]
    return indices + [-1] * (4 - len(indices))
