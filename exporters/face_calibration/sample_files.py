"""Samples on disk: minutes of rendering, so written whole or not at all and checked when read."""

from __future__ import annotations

import io
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from engine.avatar.array_file import open_arrays
from engine.inference.store import write_atomically

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_MAX_BYTES = 1 << 30
CURE = "delete it, and the command renders it again"
Kind = TypeVar("Kind", bound="DataclassInstance")


def save_samples(samples: DataclassInstance, path: Path) -> None:
    """Write a dataclass of arrays under exactly this name."""
    content = io.BytesIO()
    np.savez(content, **{f.name: getattr(samples, f.name) for f in fields(samples)})
    write_atomically(path, content.getvalue())


def load_samples(kind: type[Kind], path: Path) -> Kind:
    """Read what :func:`save_samples` wrote.

    Raises:
        ModelFileError: the file is missing, damaged, or lacks an array.
    """
    with open_arrays(path, _MAX_BYTES, CURE) as file:
        return kind(**{f.name: file.read(f.name) for f in fields(kind)})
