"""One frame in at most one datagram, exact enough for the same mesh, safe against any bytes."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from states import moving_states, quaternions, rest_state

from engine.avatar.anny import BodyModel
from engine.body.blend_skinning import Poser
from engine.errors import PeerError
from engine.fusion.copy_paste import build_topology, fuse
from engine.inference.store import ModelStore
from engine.types import JOINT_COUNT, AvatarState, Identity
from stream.motion_codec import MotionEncoder, decode_motion, encode_motion
from stream.protocol import MAX_SHIFT, MOTION_HEADER, MOTION_MAX_BYTES, MOTION_TARGET_BYTES
from stream.quantise import dequantise, quantise


def angles_between(a: AvatarState, b: AvatarState) -> np.ndarray:
    dot = np.abs((a.rotations_xyzw.astype(float) * b.rotations_xyzw).sum(axis=1))
    return 2 * np.arccos(np.minimum(dot, 1.0))


def assert_same(a: AvatarState, b: AvatarState) -> None:
    np.testing.assert_array_equal(a.rotations_xyzw, b.rotations_xyzw)
    np.testing.assert_array_equal(a.expression, b.expression)
    np.testing.assert_array_equal(a.translation_m, b.translation_m)
    assert (a.index, a.captured_at_ns) == (b.index, b.captured_at_ns)
    assert a.camera == b.camera


def test_golden_bytes_of_a_rest_frame() -> None:
    packet = MotionEncoder().encode(rest_state(7, identity_version=3))
    header = bytes.fromhex(
        "534d" "02" "00" "00000000" "07000000" "03000000" "53728de2e8000000"
        "000000000000000000000000" "00900a44" "00c09f43" "00806f43" "8002" "e001" "00000000"
    )  # fmt: skip
    assert packet == header + bytes(13 + 65)


def test_golden_digest_of_moving_frames() -> None:
    """A change of layout must be deliberate: raise PROTOCOL_VERSION and write the new digest."""
    encoder = MotionEncoder()
    packets = [encoder.encode(state) for state in _frames_by_hand()]
    assert [len(packet) for packet in packets] == GOLDEN_SIZES
    assert hashlib.sha256(b"".join(packets)).hexdigest() == GOLDEN_SHA256


def _frames_by_hand() -> list[AvatarState]:
    """Three frames of simple fractions, so that no library's rounding decides a byte."""
    frames = []
    for index in range(3):
        rotations = rest_state().rotations_xyzw.copy()
        rotations[46] = (0.5, -0.5, 0.5, 0.5)
        rotations[48] = (0.28, 0.0, 0.0, 0.96) if index < 2 else (0.96, 0.0, 0.0, 0.28)
        rotations[101] = (0.0, 0.6, 0.0, 0.8)
        expression = np.linspace(0.0, 1.0, 52, dtype=np.float32) * np.float32(0.25 * index)
        translation = np.array([0.5, -0.25, -2.0 - 0.125 * index], np.float32)
        base = rest_state(index, 2)
        frames.append(
            replace(base, rotations_xyzw=rotations, expression=expression,
                    translation_m=translation, face_confidence=1.0)
        )  # fmt: skip
    return frames


GOLDEN_SIZES = [151, 229, 235]
GOLDEN_SHA256 = "d2d8eecee6ecc36318407f5372b83197656840c5ed6850fe9ef4fccd7b378299"


def test_a_packet_holds_the_frame_and_the_one_before() -> None:
    encoder = MotionEncoder(target_bytes=MOTION_MAX_BYTES)
    before = None
    for number, state in enumerate(moving_states(20, amplitude=0.1)):
        packet = decode_motion(encoder.encode(state))
        assert packet.sequence == number
        assert (packet.state.index, packet.state.captured_at_ns) == (
            state.index,
            state.captured_at_ns,
        )
        assert packet.state.identity_version == state.identity_version
        np.testing.assert_allclose(packet.state.expression, state.expression, atol=5e-4)
        np.testing.assert_allclose(packet.state.translation_m, state.translation_m, atol=6e-6)
        assert packet.state.body_confidence == pytest.approx(state.body_confidence, abs=2e-3)
        if before is not None:
            assert packet.previous is not None
            assert_same(packet.previous, before)
        before = packet.state


def test_fast_motion_makes_the_previous_frame_coarser_not_the_packet_bigger() -> None:
    encoder = MotionEncoder()
    sizes, worst = [], 0.0
    before = None
    for state in moving_states(60):
        data = encoder.encode(state)
        packet = decode_motion(data)
        sizes.append(len(data))
        if before is not None:
            assert packet.previous is not None
            worst = max(worst, float(angles_between(packet.previous, before).max()))
        before = state
    assert np.mean(sizes) <= MOTION_TARGET_BYTES + 10
    assert 0.0 < worst < 0.04


def test_every_joint_turned_over_still_fits_one_datagram() -> None:
    rng = np.random.default_rng(1)
    encoder = MotionEncoder()
    for index in range(50):
        vectors = rng.normal(size=(JOINT_COUNT, 3)).astype(np.float32) * 2
        state = replace(
            rest_state(index),
            rotations_xyzw=quaternions(vectors),
            expression=rng.random(52).astype(np.float32),
        )
        data = encoder.encode(state)
        assert len(data) <= MOTION_MAX_BYTES
        assert angles_between(decode_motion(data).state, state).max() < 4e-3


def test_joints_at_rest_cost_nothing_and_stay_exactly_at_rest() -> None:
    state = replace(rest_state(), rotations_xyzw=-rest_state().rotations_xyzw)
    back = decode_motion(MotionEncoder().encode(state)).state
    np.testing.assert_array_equal(back.rotations_xyzw, rest_state().rotations_xyzw)


@pytest.mark.parametrize(
    "change",
    [
        {"identity_version": 9},
        {"index": 70_000},
        {"translation_m": np.array([5, 0, 0], np.float32)},
    ],
)
def test_a_jump_leaves_the_previous_frame_out(change: dict[str, object]) -> None:
    encoder = MotionEncoder()
    encoder.encode(rest_state(1))
    assert decode_motion(encoder.encode(replace(rest_state(2), **change))).previous is None


def test_the_receiver_rebuilds_the_same_mesh_within_a_millimetre(model_cache: ModelStore) -> None:
    model = BodyModel.load(model_cache.path("anny.npz"))
    avatar = fuse(model, build_topology(model), Identity())
    sender, receiver = Poser(avatar), Poser(avatar)
    encoder = MotionEncoder()
    worst = 0.0
    for state in moving_states(90):
        sent = sender.pose(state).vertices_m
        received = receiver.pose(decode_motion(encoder.encode(state)).state).vertices_m
        worst = max(worst, float(np.linalg.norm(sent - received, axis=1).max()))
    assert worst < 1e-3


def test_errors_along_a_limb_add_up_to_less_than_a_millimetre() -> None:
    """Without a model: root, spine, arm, wrist, finger as one stretched chain of 1.3 m."""
    chain = [0, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 60, 61, 62, 63]
    bones = [0.1] * 6 + [0.12] * 5 + [0.03, 0.03, 0.09, 0.04, 0.03, 0.02]

    def tip(state: AvatarState) -> np.ndarray:
        point = np.zeros(3)
        for joint, bone in zip(reversed(chain), reversed(bones), strict=True):
            x, y, z, w = state.rotations_xyzw[joint].astype(float)
            vector = np.array([x, y, z])
            point = point + np.array([0.0, bone, 0.0])
            turn = 2 * np.cross(vector, point)
            point = point + w * turn + np.cross(vector, turn)
        return point

    encoder = MotionEncoder()
    errors = [
        np.linalg.norm(tip(state) - tip(decode_motion(encoder.encode(state)).state))
        for state in moving_states(300)
    ]
    assert max(errors) < 1e-3


unit = st.floats(-1, 1, width=32)
rotations = st.lists(st.tuples(unit, unit, unit), min_size=JOINT_COUNT, max_size=JOINT_COUNT)


@settings(max_examples=50, deadline=None)
@given(rotations, st.integers(0, MAX_SHIFT), st.integers(0, 2**32 - 1))
def test_round_trip_of_any_state(vectors: list, shift: int, sequence: int) -> None:
    turned = np.array(vectors, np.float32)
    then = quantise(replace(rest_state(3), rotations_xyzw=quaternions(turned)))
    state = replace(rest_state(4), rotations_xyzw=quaternions(turned * 1.02))
    packet = decode_motion(encode_motion(quantise(state), then, sequence, shift))
    assert packet.sequence == sequence
    assert_same(packet.state, dequantise(quantise(state)))
    assert packet.previous is not None
    np.testing.assert_allclose(np.linalg.norm(packet.previous.rotations_xyzw, axis=1), 1, atol=1e-6)
    if shift == 0:
        assert_same(packet.previous, dequantise(then))


def check_hostile(data: bytes) -> None:
    """Either a PeerError or a state that is safe to draw."""
    try:
        packet = decode_motion(data)
    except PeerError:
        return
    for state in (packet.state, packet.previous):
        if state is not None:
            assert np.allclose(np.linalg.norm(state.rotations_xyzw, axis=1), 1, atol=1e-5)
            assert np.isfinite(state.translation_m).all()
            assert ((state.expression >= 0) & (state.expression <= 1)).all()
            assert state.index >= 0


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1200))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(PeerError):
        decode_motion(data)


HEAD = MotionEncoder().encode(rest_state(5))[: MOTION_HEADER.size]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=1000), st.integers(0, 1))
def test_random_bits_after_a_good_header_are_harmless(data: bytes, flags: int) -> None:
    check_hostile(HEAD[:3] + bytes([flags]) + HEAD[4:] + data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 255), st.integers(0, 3))
def test_a_damaged_packet_is_harmless(position: int, value: int, cut: int) -> None:
    data = bytearray(DAMAGED)
    data[position % len(data)] = value
    check_hostile(bytes(data[: len(data) - cut]))


def _two_frames() -> bytes:
    encoder = MotionEncoder()
    return [encoder.encode(state) for state in moving_states(2)][1]


DAMAGED = _two_frames()


def test_a_state_that_is_not_finite_is_our_own_defect() -> None:
    bad = rest_state().rotations_xyzw.copy()
    bad[3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        MotionEncoder().encode(replace(rest_state(), rotations_xyzw=bad))
