"""The binary glTF 2.0 container, read as untrusted bytes: chunks, JSON, bounds-checked accessors.

Only what an avatar needs is read. Nothing outside of the given bytes is ever opened, and no array
is longer than the buffer view that it is read from. Accessors may share views, so how many arrays
are read, and how long they may be, is for the caller to bound.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelFileError

MAGIC = 0x46546C67
JSON_CHUNK = 0x4E4F534A
BIN_CHUNK = 0x004E4942
COMPONENTS: dict[int, type[np.generic]] = {
    5121: np.uint8,
    5123: np.uint16,
    5125: np.uint32,
    5126: np.float32,
}
"""glTF component types: those an avatar uses."""
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_JSON_LIMIT = 1 << 20
"""Bytes; a real avatar's has 40 kB. Parsed, it takes many times its size."""

Array = NDArray[Any]
Item = TypeVar("Item")


class SparsePart(msgspec.Struct, rename="camel"):
    """Where a sparse accessor's indices or values lie."""

    buffer_view: int
    byte_offset: int = 0
    component_type: int = 5126


class Sparse(msgspec.Struct, rename="camel"):
    """The entries of an accessor that is zero elsewhere."""

    count: int
    indices: SparsePart
    values: SparsePart


class Accessor(msgspec.Struct, rename="camel"):
    """A typed array inside of a buffer view."""

    component_type: int
    count: int
    type: str
    buffer_view: int | None = None
    byte_offset: int = 0
    sparse: Sparse | None = None


class BufferView(msgspec.Struct, rename="camel"):
    """A range of the binary chunk."""

    byte_length: int
    buffer: int = 0
    byte_offset: int = 0
    byte_stride: int | None = None


class Buffer(msgspec.Struct, rename="camel"):
    """The binary chunk; a URI would be another place, which is refused."""

    byte_length: int
    uri: str | None = None


class Node(msgspec.Struct, rename="camel"):
    """A node of the scene; joints are nodes."""

    name: str = ""
    children: list[int] = []
    mesh: int | None = None
    skin: int | None = None


class Skin(msgspec.Struct, rename="camel"):
    """Which nodes are joints, and their inverse bind matrices."""

    joints: list[int]
    inverse_bind_matrices: int


class Primitive(msgspec.Struct, rename="camel"):
    """Attributes, triangles and morph targets by accessor index."""

    attributes: dict[str, int]
    indices: int
    targets: list[dict[str, int]] = []


class Mesh(msgspec.Struct, rename="camel"):
    """One drawable; ``extras`` carries what glTF has no word for."""

    primitives: list[Primitive]
    extras: dict[str, Any] = {}


class Image(msgspec.Struct, rename="camel"):
    """A compressed picture inside of the binary chunk."""

    buffer_view: int | None = None
    uri: str | None = None


class Document(msgspec.Struct, rename="camel"):
    """The JSON chunk: the parts of glTF that an avatar uses."""

    buffers: list[Buffer]
    buffer_views: list[BufferView]
    accessors: list[Accessor]
    nodes: list[Node]
    meshes: list[Mesh]
    skins: list[Skin]
    images: list[Image] = []
    extensions_required: list[str] = []


@dataclass(frozen=True, slots=True)
class Container:
    """A parsed file whose accessors can be read safely."""

    document: Document
    binary: memoryview

    def array(self, index: int, components: tuple[int, ...], width: str) -> Array:
        """(count, width) values of a dense accessor of one of the expected component types."""
        accessor = self.accessor(index, components, width)
        if accessor.buffer_view is None or accessor.sparse is not None:
            raise ModelFileError(f"accessor {index} of the avatar should be dense but is sparse")
        return self._read(
            accessor.buffer_view,
            accessor.byte_offset,
            accessor.component_type,
            accessor.count,
            WIDTHS[width],
        )

    def sparse_array(self, index: int, width: str) -> tuple[Array, Array]:
        """Indices (n,) and float32 values (n, width) of an accessor that is zero elsewhere."""
        accessor = self.accessor(index, (5126,), width)
        sparse = accessor.sparse
        if accessor.buffer_view is not None or sparse is None:
            raise ModelFileError(f"accessor {index} of the avatar should be sparse but is dense")
        place = sparse.indices
        if place.component_type not in (5121, 5123, 5125):
            raise ModelFileError(f"accessor {index} of the avatar has indices that are no integers")
        if sparse.count > accessor.count:
            raise ModelFileError(f"accessor {index} of the avatar has more entries than elements")
        indices = self._read(
            place.buffer_view, place.byte_offset, place.component_type, sparse.count, 1
        )
        values = self._read(
            sparse.values.buffer_view,
            sparse.values.byte_offset,
            5126,
            sparse.count,
            WIDTHS[width],
        )
        return indices[:, 0], values

    def accessor(self, index: int, components: tuple[int, ...], width: str) -> Accessor:
        """The accessor, checked for its type."""
        accessor = _item(self.document.accessors, index, "accessor")
        if accessor.component_type not in components or accessor.type != width:
            raise ModelFileError(
                f"accessor {index} of the avatar is {accessor.type} of {accessor.component_type}, "
                f"expected {width} of {components}"
            )
        return accessor

    def view_bytes(self, index: int) -> memoryview:
        """The bytes of a buffer view."""
        view = _item(self.document.buffer_views, index, "buffer view")
        end = view.byte_offset + view.byte_length
        in_order = 0 <= view.byte_offset <= end <= len(self.binary)
        if view.buffer != 0 or not in_order or view.byte_length < 0:
            raise ModelFileError(f"buffer view {index} of the avatar reaches outside of its data")
        return self.binary[view.byte_offset : end]

    def _read(self, view: int, offset: int, component: int, count: int, width: int) -> Array:
        data = self.view_bytes(view)
        dtype = np.dtype(COMPONENTS[component])
        stride = self.document.buffer_views[view].byte_stride or dtype.itemsize * width
        if count < 1 or offset < 0 or stride < dtype.itemsize * width:
            raise ModelFileError(f"an accessor of the avatar has no elements in buffer view {view}")
        if offset + stride * (count - 1) + dtype.itemsize * width > len(data):
            raise ModelFileError(f"an accessor of the avatar reaches outside of buffer view {view}")
        values = np.ndarray(
            (count, width), dtype.newbyteorder("<"), data, offset, (stride, dtype.itemsize)
        )
        # A copy: aligned, writable, and it does not keep the whole file alive.
        copied = np.array(values, dtype, order="C")
        if component == 5126 and not np.isfinite(copied).all():
            raise ModelFileError("the avatar holds numbers that are not finite")
        return copied


def read_container(data: bytes, limit: int) -> Container:
    """Split and parse a GLB.

    Args:
        data: the file.
        limit: the most bytes that are accepted.

    Raises:
        ModelFileError: it is too large, no GLB 2.0, or refers to anything outside of itself.
    """
    if len(data) > limit:
        raise ModelFileError(f"the avatar has {len(data)} bytes, at most {limit} are accepted")
    if len(data) < 20 or struct.unpack_from("<II", data) != (MAGIC, 2):
        raise ModelFileError("the avatar is not a binary glTF 2.0 file (GLB)")
    chunks = _chunks(memoryview(data))
    if len(chunks) < 2 or chunks[0][0] != JSON_CHUNK or chunks[1][0] != BIN_CHUNK:
        raise ModelFileError("the avatar should consist of one JSON and one binary chunk")
    document = _parse(chunks[0][1])
    if len(document.buffers) != 1 or document.buffers[0].uri or document.extensions_required:
        raise ModelFileError("the avatar should hold all its data itself and need no extensions")
    if not 0 <= document.buffers[0].byte_length <= len(chunks[1][1]):
        raise ModelFileError("the avatar is cut short: its binary chunk is smaller than announced")
    return Container(document, chunks[1][1])


def _chunks(data: memoryview) -> list[tuple[int, memoryview]]:
    chunks: list[tuple[int, memoryview]] = []
    position = 12
    while position + 8 <= len(data) and len(chunks) < 3:
        length, kind = struct.unpack_from("<II", data, position)
        position += 8
        if position + length > len(data):
            raise ModelFileError("the avatar is cut short: a chunk reaches past its end")
        chunks.append((kind, data[position : position + length]))
        position += length
    return chunks


def _parse(text: memoryview) -> Document:
    if len(text) > _JSON_LIMIT:
        raise ModelFileError(f"the avatar's JSON has {len(text)} bytes, at most {_JSON_LIMIT}")
    try:
        return msgspec.json.decode(bytes(text), type=Document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(f"the avatar's JSON is not what glTF allows ({error})") from error


def _item(items: list[Item], index: int, what: str) -> Item:
    if not 0 <= index < len(items):
        raise ModelFileError(f"the avatar refers to {what} {index}, but has only {len(items)}")
    return items[index]
