"""Named arrays from a file that nobody vouches for: no pickle, no more memory than was allowed.

``numpy.load`` believes an array's own header and allocates what it claims. Here the claim is
compared with the bytes that are really there before anything is allocated.
"""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelFileError

Array = NDArray[Any]
_SUFFIX = ".npy"
DAMAGE = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, TypeError, KeyError,
    NotImplementedError, RuntimeError, SyntaxError, OverflowError, RecursionError,
    tokenize.TokenError,
)  # fmt: skip
"""What zipfile and numpy's header parser raise at bytes that are not theirs."""


class ArrayFile:
    """An open ``.npz`` whose arrays are read one by one. Made by :func:`open_arrays`."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, cure: str) -> None:
        self._path, self._archive, self._cure = path, archive, cure
        names = (entry.filename for entry in archive.infolist())
        self.names = frozenset(name.removesuffix(_SUFFIX) for name in names)

    def read(self, name: str) -> Array:
        """One array.

        Raises:
            ModelFileError: it is not there, is damaged, or holds Python objects.
        """
        with self._member(name) as (file, _header):
            file.seek(0)
            return np.asarray(np.lib.format.read_array(file, allow_pickle=False))

    def shape(self, name: str) -> tuple[int, ...]:
        """An array's shape, without reading it.

        Raises:
            ModelFileError: as :meth:`read`.
        """
        with self._member(name) as (_file, (shape, _in_columns, _dtype)):
            return shape

    def rows(self, name: str, count: int) -> Iterator[Array]:
        """An array in slices of ``count`` along its first axis, for what is too large at once.

        Raises:
            ModelFileError: as :meth:`read`, or the array is stored column by column.
        """
        with self._member(name) as (file, (shape, in_columns, dtype)):
            if in_columns or not shape:
                raise ValueError(f"{name} is not stored row by row")
            row = prod(shape[1:]) * dtype.itemsize
            for start in range(0, shape[0], count):
                rows = min(count, shape[0] - start)
                content = file.read(rows * row)
                if len(content) != rows * row:
                    raise EOFError(f"{name} ends early")
                yield np.frombuffer(content, dtype).reshape(rows, *shape[1:])

    @contextmanager
    def _member(self, name: str) -> Iterator[tuple[IO[bytes], _Header]]:
        if name not in self.names:
            raise ModelFileError(f"{self._path} holds no array {name!r}; {self._cure}")
        try:
            entry = self._archive.getinfo(name + _SUFFIX)
            with self._archive.open(entry) as file:
                shape, in_columns, dtype = _read_header(file)
                if dtype.hasobject:
                    raise ValueError(f"{name} holds Python objects, expected numbers")
                if prod(shape) * dtype.itemsize > entry.file_size:
                    raise ValueError(f"{name} claims more numbers than it holds")
                yield file, (shape, in_columns, dtype)
        except DAMAGE as error:
            raise ModelFileError(f"{self._path} is damaged ({error}); {self._cure}") from error


_Header = tuple[tuple[int, ...], bool, "np.dtype[Any]"]


def _read_header(file: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }.get(version)
    if read is None:
        raise ValueError(f"an array of format {version}, expected 1.0 or 2.0")
    return read(file)


@contextmanager
def open_arrays(path: Path, max_bytes: int, cure: str) -> Iterator[ArrayFile]:
    """Open a file of arrays (``numpy.savez``).

    Args:
        path: the file.
        max_bytes: what it may unpack to, all arrays together.
        cure: what the user should do about a file that is not right, as "fetch it again".

    Raises:
        ModelFileError: the file is missing, not such a file, or too large.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; {cure}")
    try:
        archive = zipfile.ZipFile(path)
    except DAMAGE as error:
        raise ModelFileError(f"{path} is not a file of arrays ({error}); {cure}") from error
    with archive:
        size = sum(entry.file_size for entry in archive.infolist())
        if size > max_bytes:
            raise ModelFileError(f"{path} unpacks to {size} bytes, more than {max_bytes}; {cure}")
        yield ArrayFile(path, archive, cure)
