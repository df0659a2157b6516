"""Fixed binary layouts, declared once as dataclasses whose fields say how they travel."""

from __future__ import annotations

import dataclasses
import struct
import typing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from engine.errors import PeerError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wire:
    """How one field travels: a little-endian ``struct`` code, repeated ``count`` times.

    Put it in ``Annotated``: a field with ``count`` 1 is a number, otherwise a tuple of numbers.
    """

    code: str
    count: int = 1


U8 = Wire("B")
U16 = Wire("H")
U32 = Wire("I")
U64 = Wire("Q")
I16X3 = Wire("h", 3)
I32X3 = Wire("i", 3)
U8X4 = Wire("B", 4)
F32 = Wire("f")


class Layout(Generic[T]):
    """The byte layout of a dataclass: its fields in order, little-endian, no padding."""

    def __init__(self, record: type[T]) -> None:
        self.record = record
        self._struct = struct.Struct("<" + "".join(f"{w.count}{w.code}" for w in self.wires))
        self.size = self._struct.size
        """Bytes of one record."""

    @cached_property
    def fields(self) -> tuple[tuple[str, Wire], ...]:
        """Name and wire form of every field, in the order they travel."""
        hints = typing.get_type_hints(self.record, include_extras=True)
        names = [f.name for f in dataclasses.fields(self.record)]  # type: ignore[arg-type]
        return tuple((name, hints[name].__metadata__[0]) for name in names)

    @property
    def wires(self) -> tuple[Wire, ...]:
        """The wire form of every field."""
        return tuple(wire for _, wire in self.fields)

    def pack(self, record: T) -> bytes:
        """Turn a record into bytes.

        Raises:
            ValueError: a value does not fit its field: a defect on our side.
        """
        values: list[Any] = []
        for name, wire in self.fields:
            value = getattr(record, name)
            values.extend(value if wire.count > 1 else (value,))
        try:
            return self._struct.pack(*values)
        except struct.error as error:
            raise ValueError(f"{self.record.__name__} does not fit its layout: {error}") from error

    def unpack(self, data: bytes, offset: int = 0) -> T:
        """Read a record from untrusted bytes; the values are the caller's to check.

        Raises:
            PeerError: the data ends too early.
        """
        if len(data) - offset < self.size:
            raise PeerError(
                f"{self.record.__name__} needs {self.size} bytes, the peer sent "
                f"{max(0, len(data) - offset)}"
            )
        flat = iter(self._struct.unpack_from(data, offset))
        values = {
            name: next(flat) if wire.count == 1 else tuple(next(flat) for _ in range(wire.count))
            for name, wire in self.fields
        }
        return self.record(**values)
