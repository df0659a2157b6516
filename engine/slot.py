"""Hand-over between two pipeline stages, with its length and its policy in plain sight."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from typing import Generic, TypeVar

T = TypeVar("T")


class Policy(Enum):
    """What a full slot does with one more item."""

    LATEST = "latest"
    """The oldest item is dropped: a live picture is worth nothing once a newer one is there."""
    BLOCK = "block"
    """The sender waits: nothing is lost, for files and benchmarks."""


class Slot(Generic[T]):
    """A queue of ``length`` items between one sender and one receiver on one event loop.

    ``async for item in slot`` ends after :meth:`close`, or raises what :meth:`close` was given
    once the items before it have been taken.
    """

    def __init__(self, policy: Policy, length: int = 1) -> None:
        self._policy = policy
        self._length = length
        self._items: deque[T] = deque()
        self._changed = asyncio.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self.dropped = 0
        """Items that the LATEST policy threw away."""

    async def put(self, item: T) -> None:
        """Hand one item over; after :meth:`close` it is ignored."""
        async with self._changed:
            if self._policy is Policy.BLOCK:
                await self._changed.wait_for(
                    lambda: len(self._items) < self._length or self._closed
                )
            if self._closed:
                return
            if len(self._items) >= self._length:
                self._items.popleft()
                self.dropped += 1
            self._items.append(item)
            self._changed.notify_all()

    async def close(self, error: BaseException | None = None) -> None:
        """No more items will come; the first call decides the reason."""
        async with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
                self._changed.notify_all()

    def __aiter__(self) -> Slot[T]:
        return self

    async def __anext__(self) -> T:
        async with self._changed:
            await self._changed.wait_for(lambda: self._items or self._closed)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            raise StopAsyncIteration
