"""The mesh tier: whole meshes as quantised, meshopt-coded vertices, for clients that only draw.

An intra frame stands alone; the frames after it are differences to it, so a frame that a slow
watcher misses harms no other. Positions are rounded to 0.2 mm: at most 0.1 mm off per axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import meshoptimizer
import numpy as np
from numpy.typing import NDArray

from engine.errors import PeerError
from engine.types import F32, AvatarState, FusedMesh
from stream.protocol import (
    FLAG_INTRA,
    MESH_FRAGMENT_BYTES,
    MESH_FRAGMENT_HEADER,
    MESH_MAGIC,
    MESH_MAX_FRAGMENTS,
    MESH_MAX_VERTICES,
    MESH_UNIT_M,
    PROTOCOL_VERSION,
    MeshFragmentHeader,
)

I16 = NDArray[np.int16]
INTRA_PERIOD = 60
_STRIDE = 8
"""Bytes of a vertex: x, y, z and a zero, because meshopt wants a multiple of four."""


@dataclass(frozen=True, slots=True)
class CodedMesh:
    """One mesh frame, ready for the channel."""

    index: int
    intra_index: int
    messages: tuple[bytes, ...]

    @property
    def bytes(self) -> int:
        """Of all messages."""
        return sum(map(len, self.messages))


@dataclass(frozen=True, slots=True)
class ReceivedMesh:
    """What a client draws: positions; it computes normals by itself."""

    index: int
    captured_at_ns: int
    identity_version: int
    vertices_m: F32
    """(V, 3) in camera space."""


class MeshEncoder:
    """Encodes the meshes of one stream in order.

    Args:
        intra_period: frames from one intra frame to the next.
    """

    def __init__(self, intra_period: int = INTRA_PERIOD) -> None:
        self._intra_period = intra_period
        self._since_intra = 0
        self._reference: I16 | None = None
        self._identity_version = -1
        self.intra: CodedMesh | None = None
        """The last intra frame: who joins late gets it first."""

    def encode(self, mesh: FusedMesh, state: AvatarState) -> CodedMesh:
        """The next frame.

        Args:
            mesh: of at most MESH_MAX_VERTICES vertices, less than 13 m across.
            state: which identity the mesh belongs to.

        Raises:
            ValueError: the mesh is larger than that, or not finite.
        """
        origin, positions = _quantise(mesh.vertices_m)
        if self._intra_is_due(positions, state.identity_version):
            # Coded before anything is kept: a frame that fails leaves the stream as it was.
            intra = _code(mesh, state, origin, positions, mesh.index)
            self._reference, self._since_intra, self.intra = positions, 0, intra
            self._identity_version = state.identity_version
            return intra
        self._since_intra += 1
        if self._reference is None or self.intra is None:
            raise ValueError("a delta frame needs an intra frame before it")
        delta = positions - self._reference
        return _code(mesh, state, origin, delta, self.intra.index)

    def _intra_is_due(self, positions: I16, identity_version: int) -> bool:
        return (
            self._reference is None
            or self._reference.shape != positions.shape
            or self._since_intra + 1 >= self._intra_period
            or self._identity_version != identity_version
        )


class MeshDecoder:
    """Puts fragments and frames back together. The channel is reliable and ordered."""

    def __init__(self) -> None:
        self._header: MeshFragmentHeader | None = None
        self._payload = bytearray()
        self._reference: I16 | None = None
        self._reference_index = -1

    def feed(self, message: bytes) -> ReceivedMesh | None:
        """Read one message; the mesh once its last fragment has come.

        Raises:
            PeerError: the message is not valid or does not follow the one before.
        """
        header = MESH_FRAGMENT_HEADER.unpack(message)
        _check(header)
        self._follow(header)
        self._payload += message[MESH_FRAGMENT_HEADER.size :]
        if len(self._payload) > header.coded_bytes:
            raise PeerError("the peer sent more bytes of a mesh than it announced")
        if header.fragment + 1 < header.fragments:
            return None
        payload, self._payload, self._header = bytes(self._payload), bytearray(), None
        return self._finish(header, payload)

    def _follow(self, header: MeshFragmentHeader) -> None:
        before, self._header = self._header, header
        expected = 0 if before is None else before.fragment + 1
        same = before is None or (before.index, before.fragments, before.coded_bytes) == (
            header.index,
            header.fragments,
            header.coded_bytes,
        )
        if header.fragment != expected or not same:
            raise PeerError("the peer sent a mesh fragment out of order")

    def _finish(self, header: MeshFragmentHeader, payload: bytes) -> ReceivedMesh:
        if len(payload) != header.coded_bytes:
            raise PeerError("the peer sent fewer bytes of a mesh than it announced")
        positions = _decode_vertices(payload, header.vertices)
        if header.flags & FLAG_INTRA:
            self._reference, self._reference_index = positions, header.index
        else:
            positions = self._add_reference(header, positions)
        vertices = (positions.astype(np.float64) + header.origin) * MESH_UNIT_M
        return ReceivedMesh(
            header.index,
            header.captured_at_ns,
            header.identity_version,
            vertices.astype(np.float32),
        )

    def _add_reference(self, header: MeshFragmentHeader, delta: I16) -> I16:
        if self._reference is None or self._reference_index != header.intra_index:
            raise PeerError("the peer sent a mesh delta without its intra frame")
        if self._reference.shape != delta.shape:
            raise PeerError("the peer sent a mesh delta of another size than its intra frame")
        return self._reference + delta


def _quantise(vertices_m: F32) -> tuple[tuple[int, int, int], I16]:
    """Origin and (V, 3) int16, both in MESH_UNIT_M; int16 differences wrap modulo 2^16."""
    if len(vertices_m) > MESH_MAX_VERTICES or not np.isfinite(vertices_m).all():
        raise ValueError(f"a mesh must have at most {MESH_MAX_VERTICES} finite vertices")
    units = np.rint(vertices_m.astype(np.float64) / MESH_UNIT_M).astype(np.int64)
    origin = (units.min(axis=0) + units.max(axis=0)) // 2
    local = units - origin
    if np.abs(local).max() >= 2**15:
        raise ValueError("a mesh must be less than 13 m across")
    x, y, z = (int(value) for value in origin)
    return (x, y, z), local.astype(np.int16)


def _code(
    mesh: FusedMesh,
    state: AvatarState,
    origin: tuple[int, int, int],
    numbers: I16,
    intra_index: int,
) -> CodedMesh:
    padded = np.zeros((len(numbers), _STRIDE // 2), np.int16)
    padded[:, :3] = numbers
    coded = meshoptimizer.encode_vertex_buffer(padded, len(padded), _STRIDE)
    pieces = [
        coded[at : at + MESH_FRAGMENT_BYTES] for at in range(0, len(coded), MESH_FRAGMENT_BYTES)
    ]
    flags = FLAG_INTRA if intra_index == mesh.index else 0
    headers = [
        MeshFragmentHeader(
            MESH_MAGIC,
            PROTOCOL_VERSION,
            flags,
            mesh.index,
            intra_index,
            state.identity_version,
            mesh.captured_at_ns,
            origin,
            len(numbers),
            len(coded),
            fragment,
            len(pieces),
        )
        for fragment in range(len(pieces))
    ]
    messages = [
        MESH_FRAGMENT_HEADER.pack(header) + piece
        for header, piece in zip(headers, pieces, strict=True)
    ]
    return CodedMesh(mesh.index, intra_index, tuple(messages))


def _check(header: MeshFragmentHeader) -> None:
    if header.magic != MESH_MAGIC or header.version != PROTOCOL_VERSION:
        raise PeerError("the peer sent bytes that are not a mesh of this protocol version")
    if not 0 < header.vertices <= MESH_MAX_VERTICES:
        raise PeerError(f"a mesh may have {MESH_MAX_VERTICES} vertices, not {header.vertices}")
    if not header.fragment < header.fragments <= MESH_MAX_FRAGMENTS:
        raise PeerError(f"a mesh may have {MESH_MAX_FRAGMENTS} fragments")
    if not 0 < header.coded_bytes <= MESH_MAX_FRAGMENTS * MESH_FRAGMENT_BYTES:
        raise PeerError(f"a coded mesh may not have {header.coded_bytes} bytes")
    is_intra = header.intra_index == header.index
    if header.flags & ~FLAG_INTRA or bool(header.flags & FLAG_INTRA) != is_intra:
        raise PeerError("the peer sent a mesh with contradictory flags")


def _decode_vertices(payload: bytes, vertices: int) -> I16:
    row = np.dtype((np.int16, _STRIDE // 2))
    try:
        padded = meshoptimizer.decode_vertex_buffer(vertices, _STRIDE, payload, row)
    except (RuntimeError, ValueError) as error:
        raise PeerError("the peer sent a mesh that meshopt cannot decode") from error
    return np.ascontiguousarray(padded.reshape(vertices, _STRIDE // 2)[:, :3])
