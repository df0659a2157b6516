"""Numba, started without what our kernels do not use."""

from __future__ import annotations

import sys
from importlib import import_module


def start_numba() -> None:
    """Load Numba before the first kernel runs, without SciPy.

    At its first kernel Numba looks for SciPy's BLAS, to support ``np.dot`` in kernels. No kernel
    of ours calls it, and SciPy takes 0.2 s and 30 MB. Hiding it for this one import is the only
    way to say so: Numba has no switch.
    """
    if "numba.np.arraymath" in sys.modules or "scipy" in sys.modules:
        return
    sys.modules["scipy"] = None  # type: ignore[assignment]
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules["scipy"]
