"""The mesh tier: bounded error, bounded messages, harmless against any bytes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from states import SHEET_VERTICES as COUNT
from states import rest_state, sheet

from engine.errors import PeerError
from stream.mesh_codec import CodedMesh, MeshDecoder, MeshEncoder, ReceivedMesh
from stream.protocol import MESH, MESH_FRAGMENT_HEADER, MESH_UNIT_M


def receive(decoder: MeshDecoder, coded: CodedMesh) -> ReceivedMesh:
    *first, last = [decoder.feed(message) for message in coded.messages]
    assert first == [None] * len(first)
    assert last is not None
    return last


def test_frames_arrive_within_the_stated_error() -> None:
    encoder, decoder = MeshEncoder(intra_period=5), MeshDecoder()
    kinds = []
    for index in range(12):
        coded = encoder.encode(sheet(index), rest_state(index, 3))
        received = receive(decoder, coded)
        kinds.append(coded.intra_index == index)
        assert (received.index, received.identity_version) == (index, 3)
        error = np.abs(received.vertices_m - sheet(index).vertices_m).max()
        assert error <= MESH_UNIT_M / 2 + 1e-6
    assert kinds == [index % 5 == 0 for index in range(12)]


def test_messages_are_bounded_and_smaller_than_the_vertices() -> None:
    coded = MeshEncoder().encode(sheet(0), rest_state())
    assert all(len(message) <= MESH.max_message_bytes for message in coded.messages)
    assert len(coded.messages) > 1
    assert coded.bytes < COUNT * 12 / 2


def test_a_missed_delta_harms_no_other_frame() -> None:
    encoder, decoder = MeshEncoder(), MeshDecoder()
    receive(decoder, encoder.encode(sheet(0), rest_state(0)))
    encoder.encode(sheet(1), rest_state(1))
    received = receive(decoder, encoder.encode(sheet(2), rest_state(2)))
    np.testing.assert_allclose(received.vertices_m, sheet(2).vertices_m, atol=MESH_UNIT_M)


def test_a_new_identity_begins_with_an_intra_frame() -> None:
    encoder = MeshEncoder()
    encoder.encode(sheet(0), rest_state(0, 1))
    assert encoder.encode(sheet(1), rest_state(1, 2)).intra_index == 1


def test_a_delta_without_its_intra_frame_is_refused() -> None:
    encoder, decoder = MeshEncoder(), MeshDecoder()
    encoder.encode(sheet(0), rest_state(0))
    delta = encoder.encode(sheet(1), rest_state(1))
    with pytest.raises(PeerError, match="intra"):
        for message in delta.messages:
            decoder.feed(message)


def test_fragments_out_of_order_are_refused() -> None:
    coded = MeshEncoder().encode(sheet(0), rest_state())
    with pytest.raises(PeerError, match="order"):
        MeshDecoder().feed(coded.messages[1])


def test_a_mesh_that_cannot_travel_is_our_own_defect() -> None:
    far = np.array([[0, 0, 0], [0, 0, 20]], np.float32)
    with pytest.raises(ValueError, match="across"):
        MeshEncoder().encode(sheet(0, far), rest_state())
    with pytest.raises(ValueError, match="finite"):
        MeshEncoder().encode(sheet(0, far * np.nan), rest_state())


SMALL = (
    MeshEncoder()
    .encode(sheet(0, np.random.default_rng(0).random((50, 3)) - 0.5), rest_state())
    .messages[0]
)


def harmless(message: bytes) -> None:
    try:
        received = MeshDecoder().feed(message)
    except PeerError:
        return
    if received is not None:
        assert np.isfinite(received.vertices_m).all()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        MeshDecoder().feed(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 3))
def test_damaged_messages_are_harmless(position: int, value: int, cut: int) -> None:
    data = bytearray(SMALL)
    data[position % len(data)] = value
    harmless(bytes(data[: len(data) - cut]))


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=400), st.integers(1, 200_000))
def test_random_coded_vertices_are_harmless(coded: bytes, vertices: int) -> None:
    header = replace(MESH_FRAGMENT_HEADER.unpack(SMALL), vertices=vertices, coded_bytes=len(coded))
    harmless(MESH_FRAGMENT_HEADER.pack(header) + coded)
