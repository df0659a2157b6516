"""Pickles read as data: what a pickle would call is written down and never called.

A pickle is a program for a stack machine, and ``pickle.load`` runs it: a model file can start any
program of the user's. This reader runs the same machine over values only. A name such as
``numpy.ndarray`` stays a name, a call stays a record of name and arguments (:class:`Recorded`), so
nothing in a file can execute, whatever it contains. Names that a model file has no business with
are refused at once.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import ModelFileError

MAX_BYTES = 512 << 20
MAX_STEPS = 1_000_000
"""FLAME needs a few hundred: numbers lie in its arrays, and an array is one step."""

KNOWN_NAMES = frozenset(
    {
        "numpy.ndarray", "numpy.dtype",
        "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar",
        "numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer",
        "copy_reg._reconstructor", "copyreg._reconstructor",
        "__builtin__.object", "builtins.object", "__builtin__.set", "builtins.set",
        "__builtin__.bytes", "builtins.bytes",
        "collections.OrderedDict", "_codecs.encode",
    }
)  # fmt: skip
KNOWN_PACKAGES = ("chumpy.", "scipy.sparse.")
"""Whose classes a head model may hold anywhere; they too are only written down."""


@dataclass(frozen=True, slots=True)
class Name:
    """An importable thing, not imported."""

    path: str


@dataclass(slots=True)
class Recorded:
    """A call that was not made, and the state that the result would have been given."""

    what: str
    arguments: tuple[Any, ...]
    state: Any = None


class _Mark:
    """Where on the stack a list, tuple or dictionary begins."""


def read_pickle(path: Path) -> dict[str, Any]:
    """The dictionary in a pickle of any protocol, Python 2's strings as Latin-1.

    Values are numbers, strings, containers of such, and :class:`Recorded`, which
    :mod:`exporters.face_models.pickled_arrays` knows how to read.

    Raises:
        ModelFileError: the file is missing, too large, damaged, wants something that a model file
            should not, or holds no dictionary.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; name the model's own file")
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{path} is larger than {MAX_BYTES} bytes; it is not a head model")
    try:
        value = _Machine().run(path.read_bytes())
    except _RefusedError as error:
        raise ModelFileError(f"{path} {error}; fetch it again from its makers") from error
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise ModelFileError(f"{path} is not a whole pickle ({error}); fetch it again") from error
    if not isinstance(value, dict):
        raise ModelFileError(f"{path} holds no dictionary of arrays; it is not a head model")
    return {str(key): content for key, content in value.items()}


class _RefusedError(Exception):
    """The file wants what only a hostile or foreign file would want."""


class _Machine:
    """The stack machine. One method or table entry for each group of opcodes."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for steps, (opcode, argument, _position) in enumerate(
            pickletools.genops(io.BytesIO(content))
        ):
            if steps > MAX_STEPS:
                raise _RefusedError(f"takes more than {MAX_STEPS} steps to read")
            if opcode.name == "STOP":
                return self.stack.pop()
            self._step(opcode.name, argument)
        raise ValueError("it has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name]())
        elif name in _OPERATIONS:
            _OPERATIONS[name](self, argument)
        elif name not in ("PROTO", "FRAME"):
            raise _RefusedError(f"uses the pickle instruction {name}, which head models do not")

    def pop_to_mark(self) -> list[Any]:
        """What lies above the last mark, which goes too."""
        items: list[Any] = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]

    def pop(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise ValueError("its stack runs empty")
        items = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return items

    def put(self, index: int) -> None:
        self.memo[index] = self.stack[-1]

    def append_all(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise _RefusedError("appends to something that is not a list")
        target.extend(items)

    def set_all(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Recorded) and target.what == "collections.OrderedDict":
            target.state = target.state or {}
            target = target.state
        if not isinstance(target, dict):
            raise _RefusedError("sets items of something that is not a dictionary")
        target.update(_pairs(items))

    def name(self, module: str, name: str) -> None:
        path = f"{module}.{name}"
        if path not in KNOWN_NAMES and not path.startswith(KNOWN_PACKAGES):
            raise _RefusedError(
                f"asks for {path[:80]!r}, which no head model needs and could run code"
            )
        self.stack.append(Name(path))

    def record(self, what: Any, arguments: Any) -> None:
        if not isinstance(what, Name) or not isinstance(arguments, tuple | list):
            raise _RefusedError("calls something that is not a name")
        self.stack.append(Recorded(what.path, tuple(arguments)))

    def build(self) -> None:
        target, state = self.pop(2)
        if not isinstance(target, Recorded):
            raise _RefusedError("gives a state to something that has none")
        target.state = state
        self.stack.append(target)

    def stack_name(self) -> None:
        module, name = self.pop(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise _RefusedError("asks for a name that is not text")
        self.name(module, name)


def _pairs(items: list[Any]) -> dict[Any, Any]:
    if not all(isinstance(key, str | int | float | bytes) for key in items[::2]):
        raise _RefusedError("has a dictionary whose keys are not plain")
    return dict(zip(items[::2], items[1::2], strict=True))


_LITERALS = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
        "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
    }
)  # fmt: skip
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": list,  # whose items might be anything, hashable or not
    "MARK": _Mark,
}
_OPERATIONS: dict[str, Callable[[_Machine, Any], Any]] = {
    "LIST": lambda m, _: m.stack.append(m.pop_to_mark()),
    "TUPLE": lambda m, _: m.stack.append(tuple(m.pop_to_mark())),
    "TUPLE1": lambda m, _: m.stack.append(tuple(m.pop(1))),
    "TUPLE2": lambda m, _: m.stack.append(tuple(m.pop(2))),
    "TUPLE3": lambda m, _: m.stack.append(tuple(m.pop(3))),
    "DICT": lambda m, _: m.stack.append(_pairs(m.pop_to_mark())),
    "APPEND": lambda m, _: m.append_all(m.pop(1)),
    "APPENDS": lambda m, _: m.append_all(m.pop_to_mark()),
    "ADDITEMS": lambda m, _: m.append_all(m.pop_to_mark()),
    "SETITEM": lambda m, _: m.set_all(m.pop(2)),
    "SETITEMS": lambda m, _: m.set_all(m.pop_to_mark()),
    "PUT": lambda m, index: m.put(index),
    "BINPUT": lambda m, index: m.put(index),
    "LONG_BINPUT": lambda m, index: m.put(index),
    "MEMOIZE": lambda m, _: m.put(len(m.memo)),
    "GET": lambda m, index: m.stack.append(m.memo[index]),
    "BINGET": lambda m, index: m.stack.append(m.memo[index]),
    "LONG_BINGET": lambda m, index: m.stack.append(m.memo[index]),
    "GLOBAL": lambda m, path: m.name(*path.split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.stack_name(),
    "REDUCE": lambda m, _: m.record(*m.pop(2)),
    "NEWOBJ": lambda m, _: m.record(*m.pop(2)),
    "BUILD": lambda m, _: m.build(),
}
