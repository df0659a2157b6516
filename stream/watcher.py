"""The server's side of one watcher: a state machine over a transport, without I/O of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

from engine.errors import PeerError
from stream.avatar_channel import AvatarFile, AvatarSender
from stream.latest_sender import LatestSender
from stream.mesh_codec import CodedMesh
from stream.protocol import (
    AVATAR,
    CONTROL,
    MESH,
    MOTION,
    PROTOCOL_VERSION,
    BadEditError,
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
    Statistics,
    decode_control,
    encode_control,
)
from stream.token_bucket import TokenBucket
from stream.transport import Transport

SILENCE_S = 10.0
"""A watcher pings every second; after this long without a word it has gone."""
MESSAGES_PER_S = 1000
"""A watcher has little to say, most of it while an avatar is on its way; more is a flood."""
EDITS_PER_S = 20
"""A slider that is dragged sends five; what is more is left out."""
MAX_UNSENT_BYTES = 64 * 1024
"""Of answers on the control channel: a watcher that asks and does not read is ended."""
AGENT = "sars"


class Watcher:
    """Greets a watcher, sends it avatar and frames, and tells a bad one from a good one.

    Args:
        transport: the connection; this session becomes its handler.
        clock_ns: the monotonic clock of ``captured_at_ns``.
    """

    def __init__(
        self, transport: Transport, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._transport = transport
        self._clock_ns = clock_ns
        self._avatars = AvatarSender(transport)
        self._motion = LatestSender(transport, MOTION)
        self._mesh = LatestSender(transport, MESH)
        self._intra_index: int | None = None
        self._heard_at_ns = clock_ns()
        self._messages, self._edits = TokenBucket(MESSAGES_PER_S), TokenBucket(EDITS_PER_S)
        self.greeted = False
        """Whether the watcher's hello has come: nothing is sent before."""
        self.wants_mesh = False
        self.on_greeted: Callable[[Watcher], None] = lambda _: None
        """Called once the hello has come, to send avatar and last state."""
        self.on_edit: Callable[[Edit], str] = lambda _: "this server takes no edits"
        """Does what a watcher wishes, or says in one sentence why not."""
        transport.start(self)

    def opened(self) -> None:
        """See :class:`stream.transport.Handler`."""

    def received(self, channel: ChannelSpec, message: bytes | str) -> None:
        """See :class:`stream.transport.Handler`.

        Raises:
            PeerError: what came is not allowed.
        """
        self._limit_rate()
        if channel is not CONTROL or isinstance(message, bytes):
            raise PeerError(f"a watcher may not send binary or on {channel.label}")
        try:
            self._handle(decode_control(message))
        except BadEditError as error:
            self._refuse(str(error))

    def drained(self, channel: ChannelSpec) -> None:
        """See :class:`stream.transport.Handler`."""
        if channel is AVATAR:
            self._avatars.pump()
        elif channel is MOTION:
            self._motion.drained()
        elif channel is MESH:
            self._mesh.drained()

    def check_alive(self) -> None:
        """Raise PeerError where the watcher has been silent for too long."""
        silent_s = (self._clock_ns() - self._heard_at_ns) / 1e9
        if silent_s > SILENCE_S:
            raise PeerError(f"the watcher has been silent for {silent_s:.0f} s")

    def send_avatar(self, avatar: AvatarFile) -> None:
        """Send an identity's base avatar after the ones on their way."""
        self._avatars.offer(avatar)

    def send_last_state(self, packet: bytes) -> None:
        """Send a motion packet reliably: a still avatar must not wait for the next frame."""
        self._transport.send(CONTROL, packet)

    def send_motion(self, packet: bytes) -> None:
        """Send a frame, unless the one before is still waiting."""
        if self.greeted:
            self._motion.offer(packet)

    def send_mesh(self, coded: CodedMesh, intra: CodedMesh) -> None:
        """Send a mesh frame; the intra frame that it needs goes first where it is missing."""
        if not (self.greeted and self.wants_mesh and self._mesh.ready):
            return
        missing = self._intra_index != intra.index and coded is not intra
        self._mesh.offer(*(intra.messages if missing else ()), *coded.messages)
        self._intra_index = intra.index

    def send_statistics(self, values: dict[str, float]) -> None:
        """Send figures for the overlay."""
        if self.greeted and values:
            self._say(Statistics(values))

    def tell(self, news: SourceNews | IdentityNews) -> None:
        """Send what has changed."""
        if self.greeted:
            self._say(news)

    def _handle(self, message: ControlMessage) -> None:
        match message:
            case Hello():
                self._greet(message)
            case Ping():
                self._say(Pong(message.sent_at_us, self._clock_ns() // 1000))
            case Progress():
                self._avatars.progress(message.received)
            case Edit():
                self._edit(message)
            case Statistics() | Pong():
                pass
            case _:
                raise PeerError(f"a watcher may not send {type(message).__name__.lower()!r}")

    def _greet(self, hello: Hello) -> None:
        if self.greeted:
            raise PeerError("the watcher said hello twice")
        if hello.protocol != PROTOCOL_VERSION:
            reason = (
                f"this server speaks protocol {PROTOCOL_VERSION}, the watcher "
                f"{hello.protocol}: update the older one"
            )
            self._say(Failure(reason))
            raise PeerError(reason)
        self.greeted = True
        self.wants_mesh = "mesh" in hello.tiers
        self._say(Hello(PROTOCOL_VERSION, AGENT, ("motion", "mesh")))
        self.on_greeted(self)

    def _edit(self, edit: Edit) -> None:
        reason = f"more than {EDITS_PER_S} edits a second: this one was left out"
        if self._edits.take(self._heard_at_ns):
            reason = self.on_edit(edit)
        if reason:
            self._refuse(reason)

    def _refuse(self, reason: str) -> None:
        self._say(Refusal(reason[:200]))

    def _limit_rate(self) -> None:
        self._heard_at_ns = self._clock_ns()
        if not self._messages.take(self._heard_at_ns):
            raise PeerError(f"the watcher sent more than {MESSAGES_PER_S} messages a second")

    def _say(self, message: ControlMessage) -> None:
        if self._transport.buffered(CONTROL) > MAX_UNSENT_BYTES:
            self._transport.fail("the watcher does not take the answers to what it asks")
        self._transport.send(CONTROL, encode_control(message))
