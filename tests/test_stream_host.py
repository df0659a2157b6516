"""The server outlives its sources: whatever breaks, who watches stays and who joins sees."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from rigs import synthetic_avatar
from states import rest_state
from test_stream_loopback import GLB, serving, until, watching

from engine.errors import AvatarError, SourceError
from engine.identity_edit import IdentityEdit
from engine.identity_keeper import IdentityKeeper
from engine.pipeline import Result
from engine.slow_loop import SlowLoop
from engine.types import AvatarState, Identity
from stream.feed import LiveFeed
from stream.host import host

ROOT = Path(__file__).resolve().parents[1]


class Script:
    """A source whose frames the engine turns into these states, or raises."""

    def __init__(self, *acts: AvatarState | Exception) -> None:
        self.acts = acts
        self.closed = False

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


@dataclass
class ScriptedEngine:
    """``engine.pipeline.run`` without networks."""

    slow_loop: SlowLoop = field(
        default_factory=lambda: SlowLoop(IdentityKeeper(Identity()), [], lambda _: None)
    )

    @property
    def pipeline(self) -> ScriptedEngine:
        return self

    @asynccontextmanager
    async def run(
        self, source: Script, policy: object, *, pose: bool
    ) -> AsyncIterator[AsyncIterator[Result]]:
        assert not pose, "watchers pose for themselves"

        async def results() -> AsyncIterator[Result]:
            avatar = synthetic_avatar()
            for act in source.acts:
                if isinstance(act, Exception):
                    raise act
                yield Result(None, None, act, None, None, avatar, {"latency": 1.0}, 0)  # type: ignore
                await asyncio.sleep(0.05)  # for the feed keeps only the newest

        yield results()


async def each(sources: Iterable[Script]) -> AsyncIterator[Script]:
    for source in sources:
        yield source


@asynccontextmanager
async def hosting(*sources: Script) -> AsyncIterator[tuple[str, asyncio.Task[None]]]:
    feed = LiveFeed()
    async with serving(feed) as (url, _):
        work = host(ScriptedEngine(), each(sources), feed, lambda _: GLB)  # type: ignore
        task = asyncio.create_task(work)
        yield url, task
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def frame(index: int) -> AvatarState:
    return rest_state(index, synthetic_avatar().identity_version)


async def test_who_joins_after_the_end_sees_the_last_frame() -> None:
    source = Script(frame(1), frame(2))
    async with hosting(source) as (url, task):
        await until(lambda: source.closed)
        async with watching(url) as client:
            await until(lambda: client.state is not None and client.avatar is not None)
            assert client.state.index == 2
            assert client.status == ""
        assert not task.done()


async def test_after_the_end_nobody_is_promised_a_change() -> None:
    """The numbers would move and the avatar would not."""
    feed, engine = LiveFeed(), ScriptedEngine()
    task = asyncio.create_task(host(engine, each([Script(frame(0))]), feed, lambda _: GLB))  # type: ignore
    await until(lambda: feed.source == "live")
    feed.edit(IdentityEdit(weight=0.9))
    assert engine.slow_loop._edit == IdentityEdit(weight=0.9)
    await until(lambda: feed.source == "ended")
    with pytest.raises(AvatarError, match="no pictures"):
        feed.edit(IdentityEdit(weight=0.1))
    assert engine.slow_loop._edit == IdentityEdit(weight=0.9)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_watches_is_told_of_the_end() -> None:
    """A picture that stands still may be a network that is slow: people wait for it."""
    gate = asyncio.Event()

    async def sources() -> AsyncIterator[Script]:
        yield Script(frame(1))
        await gate.wait()

    feed = LiveFeed()
    async with serving(feed) as (url, _), watching(url) as client:
        work = host(ScriptedEngine(), sources(), feed, lambda _: GLB)  # type: ignore
        task = asyncio.create_task(work)
        await until(lambda: client.state is not None)
        await until(lambda: client.source == "waiting")
        gate.set()
        await until(lambda: client.source == "ended")
        async with watching(url) as late:
            await until(lambda: late.source == "ended" and late.state is not None)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (SourceError("the camera was unplugged"), "a source ended: the camera was unplugged"),
        (np.linalg.LinAlgError("singular"), "defect of ours"),
    ],
)
async def test_a_source_that_breaks_makes_way_for_the_next(failure, line, caplog) -> None:
    """A picture that a stranger publishes must not end the server for everybody."""
    async with hosting(Script(frame(1), failure), Script(frame(9))) as (url, task):
        async with watching(url) as client:
            await until(lambda: client.state is not None and client.state.index == 9)
        assert line in caplog.text
        assert not task.done()


async def test_sources_without_a_single_frame_are_an_error() -> None:
    """`sars serve` of an empty file ends with its reason instead of serving nothing for ever."""
    async with hosting(Script(SourceError("it is empty"))) as (_, task):
        with pytest.raises(SourceError, match="it is empty"):
            await asyncio.wait_for(asyncio.shield(task), 5)


SERVER = """
import asyncio
from types import SimpleNamespace
from stream.feed import LiveFeed
from stream.host import host
from stream.server import ServerOptions, StreamServer

async def serve():
    feed = LiveFeed()
    server = StreamServer(feed, ServerOptions(port=0))
    async with server.run() as url:
        print(url, flush=True)
        slow_loop = SimpleNamespace(status=None, edit=None)
        engine = SimpleNamespace(slow_loop=slow_loop)
        await host(engine, server.cameras, feed, None)
    print("left cleanly", flush=True)

asyncio.run(serve())
"""


async def test_sigterm_says_goodbye_to_who_watches() -> None:
    """A service manager stops a server like this; its watchers should not wait for silence."""
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGTERM")
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    url = (await asyncio.to_thread(process.stdout.readline)).strip()
    async with watching(url) as client:
        await until(lambda: client._receiver is not None and client._receiver.heard)
        process.send_signal(signal.SIGTERM)
        await until(lambda: "peer" in client.status or "reach" in client.status, 4)
    said, _ = await asyncio.to_thread(process.communicate, None, 10)
    assert (process.returncode, said) == (0, "left cleanly\n")
