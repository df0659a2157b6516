"""The per-frame loop: frames in, fused meshes out, each stage on its own thread.

    source ──► Slot ──► observe (networks, two at a time) ──► Slot ──► reconstruct ──► Slot ──► you

While the networks look at frame t+1, the fit of frame t runs and the source decodes t+2. All
heavy calls release the GIL. Order is kept: every hand-over has one sender and one receiver, and
what is handed to the fit is the running observation, in the order in which frames came.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from engine.avatar.topology import FusedAvatar
from engine.errors import AvatarError, SourceError
from engine.face.head_pose import HeadPose
from engine.perception.observer import Observer
from engine.reconstructor import Reconstructor
from engine.slot import Policy, Slot
from engine.slow_loop import SlowLoop
from engine.slow_views import View
from engine.sources.source import Source
from engine.types import AvatarState, Frame, FusedMesh, Observation

STALL_S = 5.0
"""A source that gives no picture for this long, and three frames of its own, has stalled."""
READER_JOIN_S = 2.0
"""How long a source may take over the picture it is at before it is closed all the same."""
DELAY_FRAMES = 10
"""Over which the delay from picture to state is averaged, to be predicted away."""
OBSERVED_AT_ONCE = {Policy.LATEST: 1, Policy.BLOCK: 3}
"""Frames in the hands of the networks. Where none may be lost, the next ones fill the core that
this one's last tracker leaves idle; live, that would make them wait, older pictures."""


@dataclass(frozen=True, slots=True)
class Result:
    """One frame's way through the engine."""

    frame: Frame
    observation: Observation
    state: AvatarState
    head: HeadPose | None
    """As fitted to the landmarks of the face; None where none is seen."""
    posed: FusedMesh | None
    """None where the run was started without posing."""
    avatar: FusedAvatar
    """The rest-pose avatar that ``state`` poses; a new object when the identity changed."""
    stages_ms: dict[str, float]
    """Work per stage, and ``latency``: from having the frame to having its mesh."""
    finished_at_ns: int

    @property
    def mesh(self) -> FusedMesh:
        """The posed mesh.

        Raises:
            AvatarError: the run was started without posing.
        """
        if self.posed is None:
            raise AvatarError("this run poses no meshes: start it with pose=True")
        return self.posed


@dataclass(frozen=True, slots=True)
class _Observed:
    frame: Frame
    taken_at_ns: int
    observation: Observation
    stages_ms: dict[str, float]


class Pipeline:
    """Runs one source at a time through the engine's stages."""

    def __init__(
        self,
        observer: Observer,
        reconstructor: Reconstructor,
        slow_loop: SlowLoop | None = None,
        *,
        predict: bool = False,
    ) -> None:
        """Stages that are loaded and ready.

        Args:
            observer: stage one.
            reconstructor: stages two to four.
            slow_loop: what is found out beside them.
            predict: whether live states are those of the moment when they are done, not of when
                their pictures were taken.
        """
        self._predict = predict
        self._observer = observer
        self._reconstructor = reconstructor
        self._slow_loop = slow_loop

    @asynccontextmanager
    async def run(
        self, source: Source, policy: Policy, *, pose: bool = True
    ) -> AsyncIterator[Slot[Result]]:
        """Start every stage on ``source``; leaving the block stops them all.

        Args:
            source: where frames come from; closed by its owner, not here.
            policy: LATEST for live pictures, BLOCK to lose nothing.
            pose: whether results carry a mesh. Who draws elsewhere, or streams parameters, poses
                there, and gets each state a millisecond earlier.

        Yields:
            The results in order. They end with the source, or raise its SourceError.
        """
        frames: Slot[tuple[Frame, float | None]] = Slot(policy)
        observing: Slot[asyncio.Task[_Observed]] = Slot(Policy.BLOCK)
        results: Slot[Result] = Slot(policy)
        reader = _Reader(source, frames, asyncio.get_running_loop())
        with ThreadPoolExecutor(1, "reconstruct") as fitting:
            # Not a TaskGroup: it would wrap the receiver's own exceptions in a group.
            patience_s = STALL_S + 3.0 / source.fps
            at_once = OBSERVED_AT_ONCE[policy]
            tasks = [
                asyncio.create_task(self._observe(frames, observing, at_once, patience_s)),
                asyncio.create_task(
                    self._reconstruct(
                        observing, results, fitting, pose, self._predict and source.live
                    )
                ),
            ]
            self._reconstructor.look_through(source.field_of_view_deg)
            if self._slow_loop is not None:
                self._slow_loop.reset()
            reader.start()
            try:
                yield results
            finally:
                reader.stop()
                await frames.close()
                await observing.close()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                # The owner closes the source next, which must not happen under a read.
                await asyncio.to_thread(reader.join, READER_JOIN_S)

    async def _observe(
        self,
        frames: Slot[tuple[Frame, float | None]],
        observing: Slot[asyncio.Task[_Observed]],
        at_once: int,
        patience_s: float,
    ) -> None:
        """Stage 1: landmarks. The trackers' state lives in the observer."""
        error: BaseException | None = None
        free = asyncio.Semaphore(at_once)
        running: set[asyncio.Task[_Observed]] = set()

        def finished(task: asyncio.Task[_Observed]) -> None:
            running.discard(task)
            free.release()
            if not task.cancelled():
                task.exception()  # of two that failed only the first is waited for

        self._observer.reset()
        try:
            while True:
                await free.acquire()
                # Not wait_for: before Python 3.12 it may swallow a cancellation.
                async with asyncio.timeout(patience_s):
                    frame, decode_ms = await anext(frames)
                task = asyncio.create_task(self._observe_one(frame, decode_ms))
                running.add(task)
                task.add_done_callback(finished)
                await observing.put(task)
        except StopAsyncIteration:
            pass
        except TimeoutError:
            error = SourceError(
                f"the source has stalled: no picture for {patience_s:.0f} s; "
                "check the camera's cable or the file, then start again"
            )
        except Exception as cause:
            error = cause
        finally:
            await observing.close(error)
            await asyncio.gather(*running, return_exceptions=True)

    async def _observe_one(self, frame: Frame, decode_ms: float | None) -> _Observed:
        taken = time.monotonic_ns()
        observation, stages_ms = await self._observer.observe(frame)
        if decode_ms is not None:
            stages_ms["decode"] = decode_ms
        return _Observed(frame, taken, observation, stages_ms)

    async def _reconstruct(
        self,
        observing: Slot[asyncio.Task[_Observed]],
        results: Slot[Result],
        fitting: ThreadPoolExecutor,
        pose: bool,
        predict: bool,
    ) -> None:
        """Stages 2-4: face, body, fusion."""
        loop = asyncio.get_running_loop()
        delay_s = 0.0
        error: BaseException | None = None
        self._reconstructor.reset()
        strangers = self._reconstructor.strangers
        try:
            async for task in observing:
                item = await task
                ahead_s = delay_s if predict else 0.0
                fit = partial(
                    self._reconstructor.reconstruct, item.observation, pose=pose, ahead_s=ahead_s
                )
                state, mesh, fit_ms = await loop.run_in_executor(fitting, fit)
                finished = time.monotonic_ns()
                late_s = (finished - item.frame.captured_at_ns) * 1e-9
                delay_s += (late_s - delay_s) / DELAY_FRAMES if delay_s else late_s
                stages_ms = item.stages_ms | fit_ms
                stages_ms["latency"] = (finished - item.taken_at_ns) / 1e6
                head = self._reconstructor.head
                if self._slow_loop is not None:
                    if self._reconstructor.strangers != strangers:
                        strangers = self._reconstructor.strangers
                        self._slow_loop.another_person()
                    fitted = self._reconstructor.state or state
                    self._slow_loop.offer(item.frame, View(item.observation, fitted, head))
                avatar, seen = self._reconstructor.avatar, item.observation
                await results.put(
                    Result(item.frame, seen, state, head, mesh, avatar, stages_ms, finished)
                )
        except Exception as cause:
            error = cause
        finally:
            await results.close(error)


class _Reader(threading.Thread):
    """Iterates the source on a thread of its own, because a camera read blocks.

    A frame goes on with the milliseconds that reading it took, unless the source is live: then
    most of them were spent waiting for it.
    """

    def __init__(
        self,
        source: Source,
        frames: Slot[tuple[Frame, float | None]],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(name="reader", daemon=True)
        self._source, self._frames, self._loop = source, frames, loop
        self._stopped = threading.Event()

    def stop(self) -> None:
        """The thread ends after the picture it is waiting for (a daemon: it may wait for ever)."""
        self._stopped.set()

    def run(self) -> None:
        error: BaseException | None = None
        try:
            self._forward(iter(self._source))
        except Exception as cause:
            error = cause
        if not self._stopped.is_set():
            self._call(self._frames.close(error))

    def _forward(self, frames: Iterator[Frame]) -> None:
        while not self._stopped.is_set():
            started = time.perf_counter()
            frame = next(frames, None)
            if frame is None:
                return
            decode_ms = None if self._source.live else (time.perf_counter() - started) * 1e3
            if not self._stopped.is_set():
                self._call(self._frames.put((frame, decode_ms)))

    def _call(self, coroutine: object) -> None:
        """Run a coroutine on the loop and wait; a loop that is gone means nobody is listening."""
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()  # type: ignore[arg-type]
        except RuntimeError:
            self._stopped.set()
