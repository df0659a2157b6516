"""Numba, started without what our kernels do not use."""

from __future__ import annotations

import sys
from importlib import import_module

HIDDEN = "scipy.linalg"


def start_numba() -> None:
    """Load Numba before the first kernel runs, without SciPy's linear algebra.

    At its first kernel Numba looks for SciPy's BLAS, to support ``np.dot`` in kernels. Ours use
    :mod:`engine.small_matrices` instead, and SciPy takes 0.2 s and 60 MB. Hiding it for this one
    import is the only way to say so: Numba has no switch.
    """
    if HIDDEN in sys.modules:
        return
    sys.modules[HIDDEN] = None  # type: ignore[assignment]
    try:
        import_module("numba.np.arraymath")
    finally:
        del sys.modules[HIDDEN]
