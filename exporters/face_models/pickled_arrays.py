"""Arrays out of a pickle that was read as data: numpy's, scipy's sparse and chumpy's.

Every size is checked against the bytes that are there, so that no claim of a file allocates more
than the file holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporters.face_models.pickle_reader import Name, Recorded

Array = NDArray[Any]
MAX_DENSE = 1 << 26
"""Numbers that a sparse matrix may grow to; FLAME's joint regressor has 25 thousand."""
KINDS = "fiub"
_SPARSE = tuple(f"{kind}_{word}" for kind in ("csc", "csr", "coo") for word in ("matrix", "array"))
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
    if kind in _SPARSE:
        return _dense(sparse_entries(value))
    if kind == "ndarray" or kind == "_reconstruct":
        return _plain(value.state)
    if kind == "scalar":
        dtype, content = value.arguments
        return np.frombuffer(_bytes(content), _dtype(dtype)).reshape(())
    if kind == "_frombuffer":
        content, dtype, shape, order = value.arguments
        return _plain((shape, dtype, order == "F", content))
    raise ValueError(f"expected an array, found {kind}")


@dataclass(frozen=True, slots=True)
class Entries:
    """A sparse matrix: N entries, those of one place to be added up."""

    shape: tuple[int, int]
    rows: Array
    """(N,), as are the next two."""
    columns: Array
    values: Array


def sparse_entries(value: Any) -> Entries:
    """What a sparse matrix of scipy's holds, for those too large to write out.

    Raises:
        ValueError, TypeError, LookupError: it is none, or not whole.
    """
    kind = _class_of(value).rpartition(".")[2] if isinstance(value, Recorded) else ""
    if kind not in _SPARSE:
        raise ValueError(f"expected a sparse matrix, found {kind or type(value).__name__}")
    state = value.state
    shape = state["_shape"] if "_shape" in state else state["shape"]
    rows, columns = (int(size) for size in shape)
    data = as_array(state["data"])
    if kind.startswith("coo"):
        # scipy renamed them in 1.11.
        pair = state["coords"] if "coords" in state else (state["row"], state["col"])
        down, across = (as_array(index) for index in pair)
    elif kind.startswith("csr"):
        down, across = _expanded(state, rows, len(data)), as_array(state["indices"])
    else:
        down, across = as_array(state["indices"]), _expanded(state, columns, len(data))
    for index, size in ((down, rows), (across, columns)):
        inside = not len(index) or 0 <= index.min() <= index.max() < size
        if index.shape != data.shape or data.ndim != 1 or not inside:
            raise ValueError("a sparse matrix is not whole")
    return Entries((rows, columns), down, across, data)


def _expanded(state: Any, lines: int, count: int) -> Array:
    """(N,) the line of each entry, of compressed rows or columns."""
    starts = as_array(state["indptr"])
    is_whole = starts.shape == (lines + 1,) and bool(
        starts[0] == 0 and (np.diff(starts) >= 0).all() and starts[-1] == count
    )
    if not is_whole:
        raise ValueError("a sparse matrix is not whole")
    return np.repeat(np.arange(lines), np.diff(starts))


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


def _dense(entries: Entries) -> Array:
    """A sparse matrix, written out."""
    rows, columns = entries.shape
    if min(rows, columns) < 0 or rows * columns > MAX_DENSE:
        raise ValueError(f"a sparse matrix of {rows} x {columns} is too large")
    dense = np.zeros((rows, columns))
    np.add.at(dense, (entries.rows, entries.columns), entries.values)
    return dense
