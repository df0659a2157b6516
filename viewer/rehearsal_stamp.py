"""Whether this very code has compiled its kernels on this machine. Imports nothing slow."""

from __future__ import annotations

import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
STAMP = ROOT / "engine" / "__pycache__" / "rehearsed"
"""Beside Numba's own cache, and as short-lived."""


def is_fresh() -> bool:
    """Whether nothing has changed since the last rehearsal."""
    return STAMP.is_file() and STAMP.read_text() == _fingerprint()


def renew() -> None:
    """Remember that this code has been rehearsed."""
    STAMP.parent.mkdir(exist_ok=True)
    STAMP.write_text(_fingerprint())


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for room in ("engine", "stream", "viewer"):
        for path in sorted((ROOT / room).rglob("*.py")):
            stat = path.stat()
            digest.update(f"{path.relative_to(ROOT)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
