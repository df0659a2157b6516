"""Arrays out of a pickle that was read as data: numpy's, scipy's sparse and chumpy's.

Every size is checked against the bytes that are there, so that no claim of a file allocates more
than the file holds.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.face_models.pickle_reader import Name, Recorded

Array = NDArray[Any]
MAX_DENSE = 1 << 26
"""Numbers that a sparse matrix may grow to; FLAME's joint regressor has 25 thousand."""
KINDS = "fiub"
_RECONSTRUCTORS = ("copy_reg._reconstructor", "copyreg._reconstructor")


def as_array(value: Any) -> Array:
    """A number, list of numbers, numpy array, sparse matrix or chumpy variable as a numpy array.

    Raises:
        ValueError, TypeError, LookupError: it is none of these, or not whole.
    """
    if not isinstance(value, Recorded):
        array = np.asarray(value)
        if array.dtype.kind not in KINDS:
            raise ValueError(f"expected numbers, found {type(value).__name__}")
        return array
    kind = _class_of(value).rpartition(".")[2]
    if kind == "Ch":
        # chumpy wraps what can be differentiated; its only content is the array x.
        return as_array(value.state["x"])
    if kind in ("csc_matrix", "csc_array"):
        return _dense(value.state)
    if kind in ("csr_matrix", "csr_array"):  # the same numbers, by rows
        rows, columns = value.state["_shape"]
        return _dense({**value.state, "_shape": (columns, rows)}).T
    if kind == "ndarray" or kind == "_reconstruct":
        return _plain(value.state)
    if kind == "scalar":
        dtype, content = value.arguments
        return np.frombuffer(_bytes(content), _dtype(dtype)).reshape(())
    if kind == "_frombuffer":
        content, dtype, shape, order = value.arguments
        return _plain((shape, dtype, order == "F", content))
    raise ValueError(f"expected an array, found {kind}")


def _class_of(value: Recorded) -> str:
    if value.what in _RECONSTRUCTORS and isinstance(value.arguments[0], Name):
        return value.arguments[0].path
    return value.what


def _plain(state: Any) -> Array:
    """``ndarray.__setstate__``: (version, shape, dtype, column by column, bytes)."""
    shape, dtype, in_columns, content = state[-4:]
    kind, raw = _dtype(dtype), _bytes(content)
    sizes = tuple(int(size) for size in shape)
    if min(sizes, default=0) < 0 or prod(sizes) * kind.itemsize != len(raw):
        raise ValueError(f"an array of shape {sizes} of {kind} holds {len(raw)} bytes")
    order = "F" if in_columns else "C"
    return np.frombuffer(raw, kind).reshape(sizes, order=order)  # type: ignore[call-overload,no-any-return]


def _dtype(value: Any) -> np.dtype[Any]:
    """``numpy.dtype('f8', False, True)`` and its state (version, byte order, ...)."""
    if not isinstance(value, Recorded) or value.what != "numpy.dtype":
        raise ValueError("an array has no type")
    code = str(value.arguments[0])
    if code[:1] not in KINDS or code[1:] not in ("1", "2", "4", "8"):
        raise ValueError(f"expected an array of numbers, found one of {code[:20]!r}")
    swapped = value.state is not None and value.state[1] == ">"
    return np.dtype(code).newbyteorder(">" if swapped else "<")


def _bytes(value: Any) -> bytes:
    if isinstance(value, Recorded) and value.what == "_codecs.encode":
        value = value.arguments[0]  # Python 3's bytes in the protocols that only had text
    if isinstance(value, Recorded) and value.what.endswith(".bytes") and not value.arguments:
        return b""
    if isinstance(value, str):
        return value.encode("latin-1")
    if not isinstance(value, bytes | bytearray):
        raise TypeError(f"expected the bytes of an array, found {type(value).__name__}")
    return bytes(value)


def _dense(state: Any) -> Array:
    """A compressed sparse column matrix, written out."""
    shape = state["_shape"] if "_shape" in state else state["shape"]
    rows, columns = (int(size) for size in shape)
    data, indices, starts = (as_array(state[name]) for name in ("data", "indices", "indptr"))
    if min(rows, columns) < 0 or rows * columns > MAX_DENSE:
        raise ValueError(f"a sparse matrix of {rows} x {columns} is too large")
    is_whole = (
        starts.shape == (columns + 1,)
        and data.shape == indices.shape == (int(starts[-1]),)
        and bool(starts[0] == 0 and (np.diff(starts) >= 0).all())
    )
    if not is_whole or (len(indices) and not 0 <= indices.min() <= indices.max() < rows):
        raise ValueError("a sparse matrix is not whole")
    dense = np.zeros((rows, columns))
    np.add.at(dense, (indices, np.repeat(np.arange(columns), np.diff(starts))), data)
    return dense
