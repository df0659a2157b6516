"""Runs the engine beside a window (or a recording) in one process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from engine.engine import Engine, EngineOptions
from engine.errors import AvatarError
from engine.pipeline import Result
from engine.slot import Policy
from engine.sources.source import Source
from engine.types import AvatarState
from viewer.feed import LocalFeed, Moment
from viewer.recording import SideBySide
from viewer.report import RunReport

log = logging.getLogger(__name__)


class EngineThread(threading.Thread):
    """Feeds a window: the window's thread draws, this one runs the engine."""

    def __init__(
        self, options: EngineOptions, open_source: Callable[[], Source], feed: LocalFeed
    ) -> None:
        super().__init__(name="engine", daemon=True)
        self._options, self._open_source, self._feed = options, open_source, feed

    def run(self) -> None:
        """Until the source ends or the viewer has gone; whatever fails reaches the window."""
        try:
            asyncio.run(self._publish())
        except AvatarError as error:
            self._feed.fail(error)
        except Exception as error:  # or the window would wait for ever
            log.exception("the engine failed by a defect of ours")
            self._feed.fail(AvatarError(f"the engine failed: {type(error).__name__}, see the log"))

    async def _publish(self) -> None:
        with Engine.open(self._options) as engine, self._open_source() as source:
            slow_loop = engine.slow_loop
            self._feed.on_identity = lambda: slow_loop.status
            self._feed.on_edit = slow_loop.edit
            # The window poses what it draws.
            async with engine.pipeline.run(source, Policy.LATEST, pose=False) as results:
                async for result in results:
                    if self._feed.closed.is_set():
                        return
                    self._feed.publish(Moment(result.avatar, result.state, result.frame))
                    latency_ms = result.stages_ms["latency"]
                    self._feed.report(engine_latency_ms=latency_ms)
        self._feed.report(status="The source has ended.")


async def record(
    options: EngineOptions,
    open_source: Callable[[], Source],
    folder: Path,
    *,
    live_seconds: float,
    on_frame: Callable[[int], None] = lambda _: None,
    on_state: Callable[[AvatarState], None] = lambda _: None,
) -> tuple[RunReport, Result, str]:
    """Run without a window, keep input and avatar side by side in ``folder``.

    Args:
        options: of the engine.
        open_source: opens what to look at.
        folder: for the video and the picture.
        live_seconds: how long to record a source that has no end of its own.
        on_frame: told the number of frames so far.
        on_state: given every frame's pose.

    Returns:
        The report, the last result, and what ran the networks.

    Raises:
        SourceError: the source broke, or had no frames.
        GraphicsError: no OpenGL here.
    """
    report, last = RunReport(), None
    loop = asyncio.get_running_loop()
    with (
        Engine.open(options) as engine,
        open_source() as source,
        ThreadPoolExecutor(1, "recording") as drawing,
        contextlib.ExitStack() as cleanup,
    ):
        recorder = SideBySide(folder, source.fps)
        cleanup.callback(lambda: drawing.submit(recorder.close).result())
        policy = Policy.LATEST if source.live else Policy.BLOCK
        end_ns = 0
        async with engine.pipeline.run(source, policy) as results:
            async for result in results:
                report.add(result)
                on_state(result.state)
                await loop.run_in_executor(drawing, recorder.add, result)
                on_frame(report.frames)
                last = result
                end_ns = end_ns or result.finished_at_ns + int(live_seconds * 1e9)
                if source.live and result.finished_at_ns >= end_ns:
                    break
        if last is None:
            raise AvatarError("the source had no frames, so there is nothing to show")
        return report, last, engine.backend
