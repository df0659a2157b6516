"""Whether this very code has compiled its kernels on this machine. Imports nothing slow."""

from __future__ import annotations

import contextlib
import hashlib
import sys
from importlib.metadata import version
from pathlib import Path

from engine.inference.store import MANIFEST, ModelStore

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("engine", "stream", "viewer")
STAMP = ROOT / "engine" / "__pycache__" / "rehearsed"
"""Beside Numba's own cache, and as short-lived."""


def is_fresh() -> bool:
    """Whether nothing has changed since the last rehearsal."""
    try:
        return STAMP.read_text() == _fingerprint()
    except (OSError, UnicodeDecodeError):
        return False


def renew() -> None:
    """Remember that this code has been rehearsed. Where that cannot be written it costs time."""
    with contextlib.suppress(OSError):
        STAMP.parent.mkdir(exist_ok=True)
        STAMP.write_text(_fingerprint())


def _fingerprint() -> str:
    """Of all that a rehearsal's result depends on.

    Kernels are compiled by one Python and one Numba; the performer's skin is painted into the
    model store.
    """
    store = ModelStore.default().folder
    digest = hashlib.sha256(f"{sys.version} {version('numba')} {store}\n".encode())
    code = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    for path in filter(Path.exists, [*code, store / MANIFEST]):
        stat = path.stat()
        digest.update(f"{path} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
