"""Two transports joined in memory, with loss where the channel allows it. For tests.

Nothing moves until :meth:`LossyLink.deliver`, so a test decides how far the network falls behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from engine.errors import PeerError
from stream.protocol import ChannelSpec
from stream.transport import Handler, size_of


class LossyEnd:
    """One end of a :class:`LossyLink`."""

    def __init__(self, lose: Callable[[int], bool]) -> None:
        self._lose = lose
        self._unreliable_sent = 0
        self.queue: deque[tuple[ChannelSpec, bytes | str]] = deque()
        """Sent and not delivered; as long as the test lets it grow."""
        self.handler: Handler | None = None
        self.reason: str | None = None
        self._ended = asyncio.Event()

    def start(self, handler: Handler) -> None:
        """See :class:`stream.transport.Transport`."""
        self.handler = handler

    def send(self, channel: ChannelSpec, message: bytes | str) -> None:
        """See :class:`stream.transport.Transport`."""
        if self.reason is None:
            self.queue.append((channel, message))

    def buffered(self, channel: ChannelSpec) -> int:
        """See :class:`stream.transport.Transport`."""
        return sum(size_of(message) for queued, message in self.queue if queued is channel)

    def fail(self, reason: str) -> None:
        """See :class:`stream.transport.Transport`."""
        if self.reason is None:
            self.reason = reason
            self._ended.set()

    async def ended(self) -> str:
        """See :class:`stream.transport.Transport`."""
        await self._ended.wait()
        return self.reason or ""

    async def close(self) -> None:
        """See :class:`stream.transport.Transport`."""
        self.fail("closed by this side")

    def pop(self) -> tuple[ChannelSpec, bytes | str] | None:
        """The next message and None instead of a lost one; the queue must not be empty."""
        channel, message = self.queue.popleft()
        if channel.max_retransmits is None:
            return channel, message
        self._unreliable_sent += 1
        return None if self._lose(self._unreliable_sent - 1) else (channel, message)


class LossyLink:
    """Joins two ends.

    Args:
        lose: whether the n-th message on an unreliable channel is lost, for each end.
    """

    def __init__(self, lose: Callable[[int], bool] = lambda _: False) -> None:
        self.left, self.right = LossyEnd(lose), LossyEnd(lose)

    def open(self) -> None:
        """Tell both sides that the channels are open."""
        for end in (self.left, self.right):
            if end.handler is not None:
                end.handler.opened()

    def deliver(self) -> None:
        """Move messages until both queues are empty."""
        while self.left.queue or self.right.queue:
            self._move(self.left, self.right)
            self._move(self.right, self.left)

    def _move(self, sender: LossyEnd, receiver: LossyEnd) -> None:
        if not sender.queue:
            return
        channel = sender.queue[0][0]
        item = sender.pop()
        if item is not None and receiver.handler is not None and receiver.reason is None:
            self._guard(receiver, item)
        if sender.handler is not None and not sender.buffered(channel):
            sender.handler.drained(channel)

    def _guard(self, receiver: LossyEnd, item: tuple[ChannelSpec, bytes | str]) -> None:
        channel, message = item
        if receiver.handler is None:
            return
        try:
            if size_of(message) > channel.max_message_bytes:
                raise PeerError(f"the peer sent {size_of(message)} bytes on {channel.label}")
            receiver.handler.received(channel, message)
        except PeerError as error:
            receiver.fail(str(error))
