"""The peers of one server: bounded in number, each with one task that owns its connection."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from engine.errors import AvatarError
from stream.signalling import TooManyPeersError

log = logging.getLogger(__name__)


class Peers:
    """Sessions by their unguessable id.

    Args:
        kind: the word for the log.
        limit: how many there may be.
        tasks: the group that waits for them.
    """

    def __init__(self, kind: str, limit: int, tasks: asyncio.TaskGroup) -> None:
        self._kind = kind
        self._limit = limit
        self._tasks = tasks
        self._reserved = 0
        self._sessions: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """A place for one more while its offer is negotiated.

        Raises:
            TooManyPeersError: all places are taken.
        """
        if len(self._sessions) + self._reserved >= self._limit:
            raise TooManyPeersError(f"this server takes {self._limit} {self._kind}s at a time")
        self._reserved += 1
        try:
            yield
        finally:
            self._reserved -= 1

    async def begin(
        self, live: Callable[[str], Awaitable[str]], close: Callable[[], Awaitable[None]]
    ) -> str:
        """Run a session until it ends by itself or by :meth:`end`; its id.

        Args:
            live: runs while the session lives, given its id; returns why it ended.
            close: releases the connection, whatever happened.
        """
        session = secrets.token_urlsafe(16)
        task = self._tasks.create_task(self._run(session, live, close), name=self._kind)
        self._sessions[session] = task
        await asyncio.sleep(0)  # let it start: a task cancelled before that would not clean up
        return session

    async def end(self, session: str) -> bool:
        """End one session and wait for it; False where there is none of that id."""
        task = self._sessions.get(session)
        if task is None:
            return False
        task.cancel()
        await asyncio.wait([task])
        return True

    async def end_all(self) -> None:
        """End every session."""
        for session in list(self._sessions):
            await self.end(session)

    async def _run(
        self,
        session: str,
        live: Callable[[str], Awaitable[str]],
        close: Callable[[], Awaitable[None]],
    ) -> None:
        """One bad peer never ends the server: whatever happens is a line in the log."""
        reason = "ended by request"
        log.info("%s %s joined", self._kind, session[:6])
        try:
            reason = await live(session)
        except AvatarError as error:
            reason = str(error)
        except asyncio.CancelledError:
            pass
        except Exception:
            log.exception("%s %s failed by a defect of ours", self._kind, session[:6])
        finally:
            del self._sessions[session]
            await close()
            log.info("%s %s left: %s", self._kind, session[:6], reason)
