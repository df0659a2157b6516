"""Every message between server and watcher, defined once.

``PROTOCOL.md`` beside this file explains the layout in words; ``viewer/web/src/protocol.ts`` is
generated from these definitions by ``stream.generate_ts``. A change of any layout is a new
``PROTOCOL_VERSION``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

import msgspec
import numpy as np
from msgspec import Meta

from engine.errors import PeerError
from engine.identity_edit import RANGES, IdentityEdit, IdentityStatus
from engine.types import I32, JOINT_COUNT
from stream.binary import F32, I16X3, I32X3, U8, U8X4, U16, U32, U64, Layout

PROTOCOL_VERSION = 2

# --- channels -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChannelSpec:
    """A data channel both sides create by themselves (negotiated), so that ids are fixed."""

    label: str
    id: int
    ordered: bool
    max_retransmits: int | None
    max_message_bytes: int
    """Longest message a receiver takes; a longer one ends the connection."""


CONTROL = ChannelSpec("control", 0, ordered=True, max_retransmits=None, max_message_bytes=4096)
AVATAR = ChannelSpec("avatar", 1, ordered=True, max_retransmits=None, max_message_bytes=16384)
MOTION = ChannelSpec("motion", 2, ordered=False, max_retransmits=0, max_message_bytes=1100)
MESH = ChannelSpec("mesh", 3, ordered=True, max_retransmits=None, max_message_bytes=16384)
CHANNELS = (CONTROL, AVATAR, MOTION, MESH)

# --- motion packet --------------------------------------------------------------------------

MOTION_MAGIC = 0x4D53
"""Little-endian ``SM``."""
MOTION_MAX_BYTES = MOTION.max_message_bytes
PACKET_OVERHEAD_BYTES = 93
"""Of IP, UDP, DTLS and SCTP around every packet."""
PACKET_PAYLOAD_BYTES = 1200
"""Longer messages travel as several packets."""
MOTION_TARGET_BYTES = 740
"""With what is around it, 30 a second make 0.2 Mbit/s."""
FLAG_PREVIOUS = 1
"""The packet carries the previous frame too."""
TRANSLATION_UNIT_M = 1e-5
EXPRESSION_BITS = 10
EXPRESSION_BLOCK = 4
"""Neighbouring expressions of the previous frame that share one delta width."""
WIDTH_BITS = 4
"""Bits of a delta width."""
MAX_SHIFT = 5
ABSOLUTE_WIDTH = 15
"""The delta width that means: no delta, the full value follows."""

JOINT_BITS_RUNS: tuple[tuple[int, int], ...] = (
    (6, 15), (1, 13), (14, 11),  # root, left leg; foot; toes
    (5, 15), (1, 13), (14, 11),  # right leg; foot; toes
    (5, 15),  # spine
    (6, 15), (2, 13), (2, 11), (1, 13), (3, 11),  # arm; wrist, thumb
    (1, 13), (3, 11), (1, 13), (3, 11), (1, 13), (3, 11),  # metacarpal and finger, three times
    (6, 15), (2, 13), (2, 11), (1, 13), (3, 11),  # arm; wrist, thumb
    (1, 13), (3, 11), (1, 13), (3, 11), (1, 13), (3, 11),  # metacarpal and finger, three times
    (4, 13), (2, 11),  # neck and head; eyes
)  # fmt: skip
"""Bits per quaternion component, as (joints, bits) runs in the order of Anny's skeleton.

An error of a joint's angle moves everything below it by angle times distance, so joints with a
long reach (up to 1 m: limbs and spine) get more bits than hands (0.2 m), fingers and toes (0.1 m).
"""


def wire_bytes(message_bytes: int) -> int:
    """Bytes of one message on the network, with what is around each of its packets."""
    packets = -(-message_bytes // PACKET_PAYLOAD_BYTES)
    return message_bytes + packets * PACKET_OVERHEAD_BYTES


def joint_bits() -> I32:
    """Bits per quaternion component for each joint, (JOINT_COUNT,)."""
    counts, bits = zip(*JOINT_BITS_RUNS, strict=True)
    table = np.repeat(np.array(bits, np.int32), counts)
    if len(table) != JOINT_COUNT:
        raise ValueError(f"JOINT_BITS_RUNS covers {len(table)} joints, not {JOINT_COUNT}")
    return table


@dataclass(frozen=True, slots=True)
class MotionHeader:
    """The fixed start of a motion packet; bit-packed joints and expressions follow."""

    magic: Annotated[int, U16]
    version: Annotated[int, U8]
    flags: Annotated[int, U8]
    sequence: Annotated[int, U32]
    """Counts packets of this stream: a gap is a loss."""
    index: Annotated[int, U32]
    """The source frame; a gap may be a frame that the engine left out."""
    identity_version: Annotated[int, U32]
    captured_at_ns: Annotated[int, U64]
    """The sender's monotonic clock."""
    translation: Annotated[tuple[int, int, int], I32X3]
    """In TRANSLATION_UNIT_M."""
    focal_px: Annotated[float, F32]
    cx: Annotated[float, F32]
    cy: Annotated[float, F32]
    width: Annotated[int, U16]
    height: Annotated[int, U16]
    confidences: Annotated[tuple[int, int, int, int], U8X4]
    """Body, face, left hand, right hand; 255 is 1."""


@dataclass(frozen=True, slots=True)
class PreviousHeader:
    """Follows MotionHeader when FLAG_PREVIOUS is set: the previous packet's frame, as deltas."""

    shift: Annotated[int, U8]
    """Low bits that the joint deltas lost, at most MAX_SHIFT; 0 is exact."""
    index_back: Annotated[int, U16]
    """Its index is ``index - index_back``; its sequence is ``sequence - 1``."""
    captured_back_ns: Annotated[int, U32]
    translation_delta: Annotated[tuple[int, int, int], I16X3]
    """Previous minus current, in TRANSLATION_UNIT_M."""
    confidences: Annotated[tuple[int, int, int, int], U8X4]


MOTION_HEADER = Layout(MotionHeader)
PREVIOUS_HEADER = Layout(PreviousHeader)

# --- mesh message ---------------------------------------------------------------------------

MESH_MAGIC = 0x5653
"""Little-endian ``SV``."""
MESH_UNIT_M = 2e-4
MESH_MAX_VERTICES = 200_000
MESH_MAX_FRAGMENTS = 256


@dataclass(frozen=True, slots=True)
class MeshFragmentHeader:
    """The start of every message on the mesh channel; a slice of the coded vertices follows."""

    magic: Annotated[int, U16]
    version: Annotated[int, U8]
    flags: Annotated[int, U8]
    """FLAG_INTRA or 0."""
    index: Annotated[int, U32]
    intra_index: Annotated[int, U32]
    """Frame whose vertices a delta is added to; its own index for an intra frame."""
    identity_version: Annotated[int, U32]
    captured_at_ns: Annotated[int, U64]
    origin: Annotated[tuple[int, int, int], I32X3]
    """In MESH_UNIT_M; added to every vertex of this frame."""
    vertices: Annotated[int, U32]
    coded_bytes: Annotated[int, U32]
    """Of the whole frame."""
    fragment: Annotated[int, U16]
    fragments: Annotated[int, U16]


FLAG_INTRA = 1
MESH_FRAGMENT_HEADER = Layout(MeshFragmentHeader)
MESH_FRAGMENT_BYTES = MESH.max_message_bytes - MESH_FRAGMENT_HEADER.size

# --- control messages: JSON text on the control and avatar channels ---------------------------

AVATAR_CHUNK_BYTES = 4096
AVATAR_MAX_BYTES = 64 * 2**20
AVATAR_WINDOW_BYTES = 48 * 1024
"""Bytes of an avatar on their way at most, so that they overflow no socket's buffer."""
AVATAR_PROGRESS_BYTES = 16 * 1024
"""A receiver says how far it has got at least this often."""

Tier: TypeAlias = Literal["motion", "mesh"]
Text: TypeAlias = Annotated[str, Meta(max_length=200)]
Sha256: TypeAlias = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count: TypeAlias = Annotated[int, Meta(ge=0, lt=2**53)]
Unit: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Years: TypeAlias = Annotated[float, Meta(ge=0.0, le=100.0)]
Caricature: TypeAlias = Annotated[float, Meta(ge=0.0, le=2.0)]
SourceState: TypeAlias = Literal["waiting", "live", "ended"]


class _Message(msgspec.Struct, frozen=True, tag_field="type", forbid_unknown_fields=False):
    """Base of the control messages; ``type`` says which one it is."""


class Hello(_Message, frozen=True, tag="hello"):
    """The first message of either side; the server starts to send once it has the watcher's."""

    protocol: Count
    agent: Text
    tiers: Annotated[tuple[Tier, ...], Meta(max_length=2)] = ("motion",)
    """What the watcher wants, or what the server offers."""


class AvatarHeader(_Message, frozen=True, tag="avatar"):
    """On the avatar channel, before the binary chunks of one GLB."""

    identity_version: Count
    sha256: Sha256
    size: Annotated[int, Meta(gt=0, le=AVATAR_MAX_BYTES)]


class Progress(_Message, frozen=True, tag="progress"):
    """Watcher to server on the control channel: bytes of the current avatar received so far."""

    received: Count


class Ping(_Message, frozen=True, tag="ping"):
    """Answered at once with a Pong."""

    sent_at_us: Count


class Pong(_Message, frozen=True, tag="pong"):
    """Answer to a Ping; the three times give clock offset and round trip (RFC 5905, section 8)."""

    sent_at_us: Count
    """Copied from the Ping: the asker's clock."""
    received_at_us: Count
    """The answerer's monotonic clock, as in ``captured_at_ns``."""


class Statistics(_Message, frozen=True, tag="statistics"):
    """Named figures of the server, for a watcher's overlay; it ignores a watcher's."""

    values: Annotated[dict[Annotated[str, Meta(max_length=40)], float], Meta(max_length=32)]


class SourceNews(_Message, frozen=True, tag="source"):
    """Server to watcher, at first and whenever it changes: where the frames come from."""

    state: SourceState
    """``waiting`` for a camera, ``live``, or ``ended``: no more frames will come."""


class IdentityNews(_Message, frozen=True, tag="identity"):
    """Server to watcher, at first and whenever it changes: who the avatar is, how surely.

    The numbers are those of the avatar, as an Edit would set them.
    """

    version: Count
    """Of the newest identity; its avatar may still be on the way."""
    age_years: Years
    gender: Unit
    weight: Unit
    muscle: Unit
    height: Unit
    proportions: Unit
    caricature: Caricature
    confidence: Unit
    """Of the estimates; falls while the person is seen badly or not at all."""
    locked: bool
    """Estimates have settled and change nothing until somebody else comes."""
    pinned: bool
    """A user keeps the shape as it is."""
    open: bool
    """Every watcher may edit; else only who publishes the camera."""

    @staticmethod
    def of(status: IdentityStatus, *, is_open: bool) -> IdentityNews:
        """As the engine knows it; confidence in hundredths, so that it is not news all the time."""
        numbers = {name: round(getattr(status, name), 4) for name in RANGES}
        return IdentityNews(
            version=status.version,
            confidence=round(status.confidence, 2),
            locked=status.locked,
            pinned=status.pinned,
            open=is_open,
            **numbers,
        )


class Edit(_Message, frozen=True, omit_defaults=True, tag="edit"):
    """Watcher to server: change the avatar. What is left out stays as it is.

    What is set no estimate changes any more. An edit that cannot be done is answered with a
    Refusal; the connection stays.
    """

    age_years: Years | None = None
    gender: Unit | None = None
    """0 male, 1 female."""
    weight: Unit | None = None
    muscle: Unit | None = None
    height: Unit | None = None
    proportions: Unit | None = None
    caricature: Caricature | None = None
    """How much of the person's own face is shown: 0 average, 1 theirs, more exaggerates."""
    pin: bool | None = None
    """Whether the whole shape is kept as it is, whatever is estimated."""
    reset: bool = False
    """First drop all edits and estimate the person again."""
    camera: Text | None = None
    """Proof of who publishes the camera: the last part of its WHIP session's URL."""

    def identity_edit(self) -> IdentityEdit:
        """For the engine."""
        numbers = {name: getattr(self, name) for name in RANGES}
        return IdentityEdit(**numbers, pin=self.pin, reset=self.reset)

    @staticmethod
    def of(edit: IdentityEdit) -> Edit:
        """From a viewer's wish."""
        numbers = {name: getattr(edit, name) for name in RANGES}
        return Edit(**numbers, pin=edit.pin, reset=edit.reset)


class Refusal(_Message, frozen=True, tag="refused"):
    """Server to watcher: an edit was not done, and why."""

    reason: Text


class Failure(_Message, frozen=True, tag="error"):
    """Why the sender is about to close the connection."""

    reason: Text


ControlMessage: TypeAlias = (
    Hello | AvatarHeader | Progress | Ping | Pong | Statistics | SourceNews | IdentityNews
    | Edit | Refusal | Failure
)  # fmt: skip
CONTROL_MESSAGES: tuple[type[msgspec.Struct], ...] = (
    Hello, AvatarHeader, Progress, Ping, Pong, Statistics, SourceNews, IdentityNews,
    Edit, Refusal, Failure,
)  # fmt: skip


class BadEditError(PeerError):
    """An edit that is not one: its sender is told, and nothing else happens."""


_decoder: msgspec.json.Decoder[ControlMessage] = msgspec.json.Decoder(ControlMessage)
_encoder = msgspec.json.Encoder()


def encode_control(message: ControlMessage) -> str:
    """The JSON text of a control message."""
    return _encoder.encode(message).decode()


def decode_control(text: str) -> ControlMessage:
    """Read a peer's control message.

    Raises:
        BadEditError: an edit with values that it may not have.
        PeerError: too long, not JSON, or not one of the messages above.
    """
    if len(text) > CONTROL.max_message_bytes:
        raise PeerError(
            f"a control message may have {CONTROL.max_message_bytes} characters, "
            f"the peer sent {len(text)}"
        )
    try:
        return _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        kind = BadEditError if _claims_to_be_edit(text) else PeerError
        raise kind(f"the peer sent an invalid control message: {error}") from error


def _claims_to_be_edit(text: str) -> bool:
    """Leniently: Python's own reader takes NaN, which is not JSON."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(message, dict) and message.get("type") == Edit.__struct_config__.tag
