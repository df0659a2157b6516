"""Sends frames on a channel so that at most one waits: a newer frame replaces it."""

from __future__ import annotations

from stream.protocol import ChannelSpec
from stream.transport import Transport


class LatestSender:
    """Queue policy: latest(1). The transport's own queue never holds more than one frame."""

    def __init__(self, transport: Transport, channel: ChannelSpec) -> None:
        self._transport = transport
        self._channel = channel
        self._waiting: list[bytes] | None = None

    @property
    def ready(self) -> bool:
        """Whether a frame offered now is sent at once."""
        return not self._transport.buffered(self._channel)

    def offer(self, *messages: bytes) -> None:
        """Send one frame's messages now, or once the frame before is on its way."""
        if not self.ready:
            self._waiting = list(messages)
            return
        self._waiting = None
        self._send(messages)

    def drained(self) -> None:
        """The transport has sent everything: the waiting frame's turn."""
        waiting, self._waiting = self._waiting, None
        self._send(waiting or ())

    def _send(self, messages: tuple[bytes, ...] | list[bytes]) -> None:
        for message in messages:
            self._transport.send(self._channel, message)
