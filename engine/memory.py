"""Memory that goes back to the system once it is free."""

from __future__ import annotations

import ctypes
import sys

MMAP_THRESHOLD = -3
"""``M_MMAP_THRESHOLD`` of glibc's malloc.h."""
LARGE_BYTES = 1 << 20


def return_large_blocks() -> None:
    """Have every array of a megabyte and more returned to the system when it is freed.

    glibc raises that limit up to 32 MB whenever such a block is freed, and keeps smaller ones: what
    start-up and the slow loop need for a moment would stay for good. Setting the limit also stops
    it from moving. Frames allocate nothing so large. Elsewhere than on glibc this does nothing.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(MMAP_THRESHOLD, LARGE_BYTES)
