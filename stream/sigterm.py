"""SIGTERM as a wish to leave, like Ctrl-C: what the block opened is closed, peers hear goodbye."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def until_sigterm() -> AsyncIterator[None]:
    """Leave the block, as if it had ended by itself, when the process is asked to terminate.

    Without signals (Windows, a loop that is not the main thread's) it does nothing.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    asked = False

    def leave() -> None:
        nonlocal asked
        if task is not None and not asked:
            asked = True
            task.cancel()

    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        loop.add_signal_handler(signal.SIGTERM, leave)
    try:
        yield
    except asyncio.CancelledError:
        if not asked or task is None or task.uncancel() > 0:
            raise
    finally:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.remove_signal_handler(signal.SIGTERM)
