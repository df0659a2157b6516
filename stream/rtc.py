"""The transport over WebRTC: an aiortc peer connection with the protocol's four channels."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import aioice.ice
from aiortc import (
    RTCConfiguration,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)

from engine.errors import PeerError
from stream.protocol import CHANNELS, ChannelSpec
from stream.transport import Handler, size_of

log = logging.getLogger(__name__)
# aiortc prints the traceback of whatever a peer breaks; the session's own line says it already.
logging.getLogger("aiortc").setLevel(logging.ERROR)
logging.getLogger("aioice").setLevel(logging.WARNING)

NEGOTIATION_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5.0
_DEAD_STATES = ("failed", "closed")

_host_addresses = aioice.ice.get_host_addresses


def _host_addresses_or_loopback(use_ipv4: bool, use_ipv6: bool) -> list[str]:
    """Loopback where there is no other address: aioice leaves it out."""
    return _host_addresses(use_ipv4, use_ipv6) or (["127.0.0.1"] if use_ipv4 else [])


aioice.ice.get_host_addresses = _host_addresses_or_loopback


def new_connection() -> RTCPeerConnection:
    """A peer connection that asks no STUN server (aiortc's default asks Google's)."""
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


class RtcTransport:
    """See :class:`stream.transport.Transport`.

    Args:
        connection: open or not yet; owned by this object from now on.
    """

    def __init__(self, connection: RTCPeerConnection) -> None:
        self._connection = connection
        self._handler: Handler | None = None
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.on("connectionstatechange", self._state_changed)
        connection.on("datachannel", self._unknown_channel)
        self._channels = {spec.label: self._create(spec) for spec in CHANNELS}

    def start(self, handler: Handler) -> None:
        """See :class:`stream.transport.Transport`."""
        self._handler = handler

    def send(self, channel: ChannelSpec, message: bytes | str) -> None:
        """See :class:`stream.transport.Transport`."""
        data_channel = self._channels[channel.label]
        if data_channel.readyState == "open" and not self._ended.done():
            data_channel.send(message)

    def buffered(self, channel: ChannelSpec) -> int:
        """See :class:`stream.transport.Transport`."""
        return int(self._channels[channel.label].bufferedAmount)

    def fail(self, reason: str) -> None:
        """See :class:`stream.transport.Transport`."""
        if not self._ended.done():
            self._ended.set_result(reason)

    async def ended(self) -> str:
        """See :class:`stream.transport.Transport`."""
        return await asyncio.shield(self._ended)

    async def close(self) -> None:
        """See :class:`stream.transport.Transport`."""
        self.fail("closed by this side")
        await close_connection(self._connection)

    def check_memory(self) -> None:
        """Raise PeerError where a peer piles up pieces of messages that it never completes.

        aiortc advertises a receive window of 1 MiB and does not enforce it. The attribute is
        aiortc's own: where a later version renames it, nothing is checked and our test fails.
        """
        sctp = self._connection.sctp
        if sctp is not None and getattr(sctp, "_advertised_rwnd", 1) <= 0:
            raise PeerError("the peer sent a megabyte without completing a message")

    def _create(self, spec: ChannelSpec) -> RTCDataChannel:
        channel = self._connection.createDataChannel(
            spec.label,
            negotiated=True,
            id=spec.id,
            ordered=spec.ordered,
            maxRetransmits=spec.max_retransmits,
        )
        channel.on("open", self._channel_opened)
        channel.on("close", lambda: self.fail(f"the peer closed the channel {spec.label}"))
        channel.on("message", lambda message: self._received(spec, message))
        channel.on("bufferedamountlow", lambda: self._drained(spec))
        return channel

    def _channel_opened(self) -> None:
        everything_is = all(channel.readyState == "open" for channel in self._channels.values())
        if everything_is and self._handler is not None:
            self._guard(self._handler.opened)

    def _received(self, spec: ChannelSpec, message: bytes | str) -> None:
        size = size_of(message)
        if size > spec.max_message_bytes:
            self.fail(
                f"the peer sent {size} bytes on {spec.label}, which takes {spec.max_message_bytes}"
            )
        elif self._handler is not None and not self._ended.done():
            handler = self._handler
            self._guard(lambda: handler.received(spec, message))

    def _drained(self, spec: ChannelSpec) -> None:
        if self._handler is not None and not self._ended.done():
            handler = self._handler
            self._guard(lambda: handler.drained(spec))

    def _guard(self, event: Callable[[], None]) -> None:
        """A handler's PeerError ends this connection; nothing may reach aiortc's own tasks."""
        try:
            event()
        except PeerError as error:
            self.fail(str(error))
        except Exception:
            log.exception("a session failed")
            self.fail("a defect on this side, see the log")

    def _state_changed(self) -> None:
        if self._connection.connectionState in _DEAD_STATES:
            self.fail("the peer went away")

    def _unknown_channel(self, channel: RTCDataChannel) -> None:
        self.fail(f"the peer opened the unknown channel {channel.label[:40]!r}")


async def close_connection(connection: RTCPeerConnection) -> None:
    """Close a peer connection and see its tasks end; a hung one is left behind with a warning."""
    try:
        await asyncio.wait_for(connection.close(), _CLOSE_TIMEOUT_S)
    except TimeoutError:
        log.warning("a peer connection did not close within %.0f s", _CLOSE_TIMEOUT_S)


async def accept_offer(connection: RTCPeerConnection, sdp: str) -> None:
    """Apply a remote offer.

    Raises:
        PeerError: aiortc cannot read it or refuses it.
    """
    if not sdp.startswith("v=0"):  # aiortc reads anything else as a description of nothing
        raise PeerError("the offer is not SDP: it must begin with v=0")
    try:
        await asyncio.wait_for(
            connection.setRemoteDescription(RTCSessionDescription(sdp, "offer")),
            NEGOTIATION_TIMEOUT_S,
        )
    except Exception as error:  # aiortc raises anything from KeyError to its own on a bad SDP
        raise PeerError(f"the offer is not valid SDP: {_one_line(error)}") from error


async def answer(connection: RTCPeerConnection) -> str:
    """Gather candidates and return the SDP answer to the offer accepted before.

    Raises:
        PeerError: the offer asks for something that aiortc cannot answer, or time is up.
    """
    try:
        async with asyncio.timeout(NEGOTIATION_TIMEOUT_S):
            await connection.setLocalDescription(await connection.createAnswer())
    except Exception as error:
        raise PeerError(f"the offer cannot be answered: {_one_line(error)}") from error
    return str(connection.localDescription.sdp)


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:160]
