"""Motion packets: AvatarState <-> at most 1100 bytes, one datagram per frame.

A packet stands alone, and carries the previous frame too, as deltas, so that one lost datagram
loses nothing. No sockets here: bytes in, states out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.errors import PeerError
from engine.types import ARKIT_NAMES, I32, JOINT_COUNT, U8, AvatarState, Camera
from stream.motion_bits import INVALID, get_current, get_previous, put_current, put_previous
from stream.protocol import (
    FLAG_PREVIOUS,
    MAX_SHIFT,
    MOTION_HEADER,
    MOTION_MAGIC,
    MOTION_MAX_BYTES,
    MOTION_TARGET_BYTES,
    PREVIOUS_HEADER,
    PROTOCOL_VERSION,
    MotionHeader,
    PreviousHeader,
    joint_bits,
)
from stream.quantise import REST_LARGEST, QuantisedState, active_joints, dequantise, quantise

_BITS = joint_bits()
_SCRATCH_BYTES = 2048
"""Room for every joint and expression twice in absolute form (about 1.2 kB)."""


@dataclass(frozen=True, slots=True)
class MotionPacket:
    """What one datagram says."""

    sequence: int
    state: AvatarState
    previous: AvatarState | None
    """The frame of packet ``sequence - 1``: exact, or coarser in fast motion."""


class MotionEncoder:
    """Encodes the states of one stream in order, each with the one before it.

    The previous frame travels exactly while packets stay within ``target_bytes``, coarser in fast
    motion, and not at all where even that exceeds ``max_bytes``. The frame itself never degrades.
    """

    def __init__(
        self, target_bytes: int = MOTION_TARGET_BYTES, max_bytes: int = MOTION_MAX_BYTES
    ) -> None:
        self._target_bytes = target_bytes
        self._max_bytes = max_bytes
        self._sequence = 0
        self._previous: QuantisedState | None = None

    def encode(self, state: AvatarState) -> bytes:
        """The next packet.

        Raises:
            ValueError: the state is not finite or of the wrong shape.
        """
        now, then = quantise(state), self._previous
        packet = encode_motion(now, then, self._sequence)
        if then is not None and len(packet) > self._target_bytes:
            shift = self._shift(len(packet), now, then)
            packet = encode_motion(now, then, self._sequence, shift)
        if len(packet) > self._max_bytes:
            packet = encode_motion(now, None, self._sequence)
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        self._previous = now
        return packet

    def _shift(self, size: int, now: QuantisedState, then: QuantisedState) -> int:
        """Each bit of shift takes about three bits off every active joint."""
        saved_per_shift = max(1.0, 3 / 8 * float((now.active | then.active).sum()))
        return min(MAX_SHIFT, math.ceil((size - self._target_bytes) / saved_per_shift))


def encode_motion(
    now: QuantisedState, then: QuantisedState | None, sequence: int, shift: int = 0
) -> bytes:
    """Pack one frame, and the previous one where it is given and close enough for a delta.

    Args:
        now: the frame.
        then: the frame of packet ``sequence - 1``.
        sequence: number of this packet.
        shift: low bits that the joint deltas of ``then`` lose, 0 to MAX_SHIFT.
    """
    back = _previous_header(now, then, shift) if then is not None else None
    buffer: U8 = np.zeros(_SCRATCH_BYTES, np.uint8)
    numbers = (now.largest, now.components, now.expression)
    if then is None or back is None:
        end = put_current(buffer, now.active, _BITS, *numbers)
        head = MOTION_HEADER.pack(_motion_header(now, sequence, 0))
    else:
        active = now.active | then.active
        end = put_current(buffer, active, _BITS, *numbers)
        before = (then.largest, then.components, then.expression)
        end = put_previous(buffer, end, shift, active, _BITS, *numbers, *before)
        head = MOTION_HEADER.pack(_motion_header(now, sequence, FLAG_PREVIOUS))
        head += PREVIOUS_HEADER.pack(back)
    return head + buffer[: (end + 7) // 8].tobytes()


def decode_motion(packet: bytes) -> MotionPacket:
    """Read an untrusted packet.

    Raises:
        PeerError: wrong size, magic, version or numbers. Never another exception; what is
            returned holds finite numbers and unit quaternions.
    """
    if len(packet) > MOTION_MAX_BYTES:
        raise PeerError(f"a motion packet has at most {MOTION_MAX_BYTES} bytes, not {len(packet)}")
    header = MOTION_HEADER.unpack(packet)
    _check_header(header)
    camera = _camera(header)
    offset = MOTION_HEADER.size
    back = None
    if header.flags & FLAG_PREVIOUS:
        back = PREVIOUS_HEADER.unpack(packet, offset)
        _check_previous(header, back)
        offset += PREVIOUS_HEADER.size
    bits: U8 = np.frombuffer(packet, np.uint8, offset=offset)
    now, then = _decode_bits(header, back, camera, bits)
    return MotionPacket(
        header.sequence, dequantise(now), dequantise(then) if then is not None else None
    )


def warm_up() -> None:
    """Load the compiled kernels, which takes a while once: not in the middle of a stream."""
    camera = Camera(1.0, 0.0, 0.0, 1, 1)
    largest, components, expression = _rest()
    rest = [
        QuantisedState(
            index, index, 0, largest, components, expression, (0, 0, 0), (0, 0, 0, 0), camera,
            active_joints(largest, components),
        )
        for index in range(2)
    ]  # fmt: skip
    decode_motion(encode_motion(rest[1], rest[0], 1))


def _motion_header(now: QuantisedState, sequence: int, flags: int) -> MotionHeader:
    camera = now.camera
    return MotionHeader(
        MOTION_MAGIC,
        PROTOCOL_VERSION,
        flags,
        sequence,
        now.index,
        now.identity_version,
        now.captured_at_ns,
        now.translation,
        camera.focal_px,
        camera.cx,
        camera.cy,
        camera.width,
        camera.height,
        now.confidences,
    )


def _previous_header(
    now: QuantisedState, then: QuantisedState, shift: int
) -> PreviousHeader | None:
    """None where the two frames have too little in common for a delta."""
    index_back = now.index - then.index
    captured_back = now.captured_at_ns - then.captured_at_ns
    delta = tuple(b - a for a, b in zip(now.translation, then.translation, strict=True))
    same = now.camera == then.camera and now.identity_version == then.identity_version
    near = all(-(2**15) <= value < 2**15 for value in delta)
    if not (same and near and 0 < index_back < 2**16 and 0 <= captured_back < 2**32):
        return None
    return PreviousHeader(
        shift, index_back, captured_back, (delta[0], delta[1], delta[2]), then.confidences
    )


def _check_header(header: MotionHeader) -> None:
    if header.magic != MOTION_MAGIC:
        raise PeerError("the peer sent bytes that are not a motion packet")
    if header.version != PROTOCOL_VERSION:
        raise PeerError(
            f"this side speaks protocol {PROTOCOL_VERSION}, the peer {header.version}: "
            "update the older one"
        )
    if header.flags & ~FLAG_PREVIOUS:
        raise PeerError(f"the motion packet has unknown flags {header.flags:#x}")


def _check_previous(header: MotionHeader, back: PreviousHeader) -> None:
    if back.shift > MAX_SHIFT:
        raise PeerError(f"the motion packet's shift is at most {MAX_SHIFT}, not {back.shift}")
    if not 0 < back.index_back <= header.index:
        raise PeerError("the motion packet's previous frame has an impossible index")
    if back.captured_back_ns > header.captured_at_ns:
        raise PeerError("the motion packet's previous frame has an impossible time")


def _camera(header: MotionHeader) -> Camera:
    numbers = (header.focal_px, header.cx, header.cy)
    if not all(map(math.isfinite, numbers)) or header.focal_px <= 0:
        raise PeerError(f"the motion packet's camera is impossible: focal, cx, cy = {numbers}")
    return Camera(*numbers, header.width, header.height)


def _rest() -> tuple[I32, I32, I32]:
    """Largest, components and expression of an avatar at rest, to be decoded into."""
    return (
        np.full(JOINT_COUNT, REST_LARGEST, np.int32),
        np.zeros((JOINT_COUNT, 3), np.int32),
        np.zeros(len(ARKIT_NAMES), np.int32),
    )


def _decode_bits(
    header: MotionHeader, back: PreviousHeader | None, camera: Camera, bits: U8
) -> tuple[QuantisedState, QuantisedState | None]:
    active: I32 = np.zeros(JOINT_COUNT, np.int32)
    now, then = _rest(), _rest()
    end = get_current(bits, active, _BITS, *now)
    if end != INVALID and back is not None:
        end = get_previous(bits, end, back.shift, active, _BITS, *now, *then)
    _check_end(end, bits)
    current = _numbers(header, camera, now)
    return current, _numbers_before(current, back, then) if back is not None else None


def _check_end(end: int, bits: U8) -> None:
    if end == INVALID:
        raise PeerError("the motion packet holds numbers out of range")
    if (end + 7) // 8 != len(bits):
        raise PeerError(f"the motion packet should have {(end + 7) // 8} bytes, not {len(bits)}")


def _numbers(header: MotionHeader, camera: Camera, now: tuple[I32, I32, I32]) -> QuantisedState:
    return QuantisedState(
        header.index,
        header.captured_at_ns,
        header.identity_version,
        *now,
        header.translation,
        header.confidences,
        camera,
        active_joints(now[0], now[1]),
    )


def _numbers_before(
    now: QuantisedState, back: PreviousHeader, then: tuple[I32, I32, I32]
) -> QuantisedState:
    x, y, z = (a + b for a, b in zip(now.translation, back.translation_delta, strict=True))
    return QuantisedState(
        now.index - back.index_back,
        now.captured_at_ns - back.captured_back_ns,
        now.identity_version,
        *then,
        (x, y, z),
        back.confidences,
        now.camera,
        active_joints(then[0], then[1]),
    )
