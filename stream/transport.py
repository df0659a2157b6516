"""What a session needs of a connection: four channels, how full they are, and an end.

Sessions are written against these two protocols, as with ``asyncio.Transport``: ``stream.rtc``
carries them over WebRTC, ``stream.lossy_link`` in memory for tests.
"""

from __future__ import annotations

from typing import Protocol

from stream.protocol import ChannelSpec


class Handler(Protocol):
    """One side's session. Any method may raise PeerError, which ends the connection."""

    def opened(self) -> None:
        """All channels can send now."""

    def received(self, channel: ChannelSpec, message: bytes | str) -> None:
        """A whole message, no longer than the channel allows."""

    def drained(self, channel: ChannelSpec) -> None:
        """Everything queued on the channel is on its way."""


class Transport(Protocol):
    """One connection to one peer."""

    def start(self, handler: Handler) -> None:
        """Report events to ``handler`` from now on."""

    def send(self, channel: ChannelSpec, message: bytes | str) -> None:
        """Queue a message; ignored once the connection has ended."""

    def buffered(self, channel: ChannelSpec) -> int:
        """Bytes queued on the channel and not yet on their way."""

    def fail(self, reason: str) -> None:
        """End the connection; the first reason counts."""

    async def ended(self) -> str:
        """Wait for the end and say its reason, one sentence."""

    async def close(self) -> None:
        """Release everything; safe to call twice."""


def size_of(message: bytes | str) -> int:
    """Bytes of a message on the wire."""
    return len(message) if isinstance(message, bytes) else len(message.encode())
