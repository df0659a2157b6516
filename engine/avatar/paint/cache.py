"""Painted textures kept on disk: painting takes longer than a start may."""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path

import numpy as np

from engine.avatar.paint.look import Look
from engine.avatar.paint.texture import paint_texture
from engine.avatar.topology import FusedAvatar
from engine.inference.store import write_atomically
from engine.types import U8

PAINT_VERSION = 6
"""Changes whenever the painters paint something else."""
MOST_KEPT = 12
"""Paintings on disk, 12 MB each; the oldest go first."""


def cached_texture(avatar: FusedAvatar, look: Look, folder: Path, size: int = 2048) -> U8:
    """``paint_texture``, read from ``folder`` when the same was painted before.

    A damaged or foreign file is painted over; a folder that cannot be written is no error.
    """
    path = folder / f"paint-{_key(avatar, look, size)}.npy"
    known = _read(path, size)
    if known is not None:
        return known
    texture = paint_texture(avatar, look, size)
    _write(path, texture)
    return texture


def _key(avatar: FusedAvatar, look: Look, size: int) -> str:
    """Names everything that the paint depends on."""
    digest = sha256(repr((PAINT_VERSION, look, size)).encode())
    topology = avatar.topology
    for array in (topology.render_uvs, topology.render_faces, avatar.rest_vertices_m):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:20]


def _read(path: Path, size: int) -> U8 | None:
    try:
        texture = np.load(path, mmap_mode="r", allow_pickle=False)  # few runs ever look at it
    except (OSError, ValueError, EOFError):
        return None
    whole = isinstance(texture, np.ndarray) and texture.shape == (size, size, 3)
    return texture if whole and texture.dtype == np.uint8 else None


def _write(path: Path, texture: U8) -> None:
    try:
        content = io.BytesIO()
        np.save(content, texture, allow_pickle=False)
        write_atomically(path, content.getvalue())
        _prune(path.parent)
    except OSError:
        return


def _prune(folder: Path) -> None:
    known = sorted(folder.glob("paint-*.npy"), key=lambda path: path.stat().st_mtime_ns)
    for path in known[:-MOST_KEPT]:
        path.unlink(missing_ok=True)
