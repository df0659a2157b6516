"""The watcher's side of a connection: a state machine over a transport, without I/O of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.errors import PeerError
from engine.types import AvatarState
from stream.avatar_channel import AvatarAssembler, AvatarFile
from stream.clock_sync import ClockSync
from stream.mesh_codec import MeshDecoder, ReceivedMesh
from stream.motion_codec import decode_motion
from stream.motion_receiver import MotionReceiver
from stream.protocol import (
    AVATAR,
    AVATAR_MAX_BYTES,
    CONTROL,
    MESH,
    MOTION,
    PROTOCOL_VERSION,
    AvatarHeader,
    ChannelSpec,
    ControlMessage,
    Edit,
    Failure,
    Hello,
    IdentityNews,
    Ping,
    Pong,
    Progress,
    Refusal,
    SourceNews,
    SourceState,
    Statistics,
    Tier,
    decode_control,
    encode_control,
    wire_bytes,
)
from stream.transport import Transport

AGENT = "sars"


class AvatarReceiver:
    """Reads one server; what arrives is handed to the callbacks, on the event loop.

    Args:
        transport: the connection; this session becomes its handler.
        tiers: what to ask for.
        max_avatar_bytes: larger base avatars are refused.
        clock_ns: our monotonic clock.
    """

    def __init__(
        self,
        transport: Transport,
        tiers: tuple[Tier, ...] = ("motion",),
        max_avatar_bytes: int = AVATAR_MAX_BYTES,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._transport = transport
        self._tiers = tiers
        self._clock_ns = clock_ns
        self._assembler = AvatarAssembler(max_avatar_bytes)
        self._meshes = MeshDecoder()
        self.motion = MotionReceiver()
        self.clock = ClockSync()
        self.clock_offset_us: int | None = None
        """Set it where the offset is known, as on one machine (0); else it is measured."""
        self.heard_at_ns = clock_ns()
        """Our clock when the server last said anything."""
        self.heard = False
        """Whether it has said anything at all."""
        self.mesh_wire_bytes = 0
        """What the mesh tier has cost, packets' headers included."""
        self._newest_state_ns = self._newest_mesh_ns = 0
        self.server_statistics: dict[str, float] = {}
        self.source: SourceState = "live"
        """Where the server's frames come from, by its last word."""
        self.identity: IdentityNews | None = None
        """Who the avatar is, by the server's last word."""
        self.on_refusal: Callable[[str], None] = lambda _: None
        """Why an edit was not done."""
        self.on_avatar: Callable[[AvatarFile], None] = lambda _: None
        self.on_state: Callable[[AvatarState], None] = lambda _: None
        """Every frame once, in order; one that was lost and recovered comes with the next."""
        self.on_mesh: Callable[[ReceivedMesh], None] = lambda _: None
        """Every mesh that is not older than what has been handed on."""
        transport.start(self)

    def opened(self) -> None:
        """See :class:`stream.transport.Handler`."""
        self._say(Hello(PROTOCOL_VERSION, AGENT, self._tiers))
        self.ping()

    def received(self, channel: ChannelSpec, message: bytes | str) -> None:
        """See :class:`stream.transport.Handler`.

        Raises:
            PeerError: what came is not allowed.
        """
        self.heard, self.heard_at_ns = True, self._clock_ns()
        if isinstance(message, str):
            self._text(channel, decode_control(message))
        elif channel is MOTION:
            self._packet(message)
        elif channel is CONTROL:
            self._last_state(decode_motion(message).state)
        elif channel is AVATAR:
            self._chunk(message)
        elif channel is MESH:
            self._fragment(message)

    def drained(self, channel: ChannelSpec) -> None:
        """See :class:`stream.transport.Handler`."""

    def ping(self) -> None:
        """Ask for the server's clock, and show that we are here; due every second."""
        self._say(Ping(self._clock_ns() // 1000))

    def edit(self, edit: Edit) -> None:
        """Ask the server to change the avatar; ``on_refusal`` hears of it where it does not."""
        self._say(edit)

    def _packet(self, packet: bytes) -> None:
        offset = self.clock_offset_us
        if offset is None:
            offset = self.clock.offset_us
        for state in self.motion.feed(packet, self.heard_at_ns // 1000, offset):
            self._hand_on(state)

    def _last_state(self, state: AvatarState) -> None:
        """For a late joiner; the intra mesh that comes first is older and must not be shown."""
        self._newest_mesh_ns = max(self._newest_mesh_ns, state.captured_at_ns)
        self._hand_on(state)

    def _hand_on(self, state: AvatarState) -> None:
        if state.captured_at_ns >= self._newest_state_ns:
            self._newest_state_ns = state.captured_at_ns
            self.on_state(state)

    def _chunk(self, chunk: bytes) -> None:
        avatar = self._assembler.add(chunk)
        received = len(avatar.glb) if avatar is not None else self._assembler.progress()
        if received is not None:
            self._say(Progress(received))
        if avatar is not None:
            self.on_avatar(avatar)

    def _fragment(self, message: bytes) -> None:
        self.mesh_wire_bytes += wire_bytes(len(message))
        mesh = self._meshes.feed(message)
        if mesh is not None and mesh.captured_at_ns >= self._newest_mesh_ns:
            self._newest_mesh_ns = mesh.captured_at_ns
            self.on_mesh(mesh)

    def _text(self, channel: ChannelSpec, message: ControlMessage) -> None:
        if isinstance(message, AvatarHeader) and channel is AVATAR:
            self._assembler.begin(message)
        elif channel is not CONTROL:
            raise PeerError(f"the server sent text on {channel.label}")
        else:
            self._control(message)

    def _control(self, message: ControlMessage) -> None:
        match message:
            case Hello():
                if message.protocol != PROTOCOL_VERSION:
                    raise PeerError(
                        f"the server speaks protocol {message.protocol}, this client "
                        f"{PROTOCOL_VERSION}: update the older one"
                    )
            case Ping():
                self._say(Pong(message.sent_at_us, self._clock_ns() // 1000))
            case Pong():
                now_us = self._clock_ns() // 1000
                self.clock.add(message.sent_at_us, message.received_at_us, now_us)
            case Statistics():
                self.server_statistics = message.values
            case Failure():
                raise PeerError(f"the server ended the connection: {message.reason!r}")
            case SourceNews():
                self.source = message.state
            case IdentityNews():
                self.identity = message
            case Refusal():
                self.on_refusal(message.reason)
            case AvatarHeader() | Progress() | Edit():
                raise PeerError(f"the server may not send {type(message).__name__} here")

    def _say(self, message: ControlMessage) -> None:
        self._transport.send(CONTROL, encode_control(message))
