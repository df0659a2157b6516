"""The loop itself, with stand-ins for the networks and the fit: order, ends, stalls, leaks."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from engine import pipeline as pipeline_module
from engine.errors import AvatarError, SourceError
from engine.pipeline import Pipeline, Result
from engine.slot import Policy
from engine.types import Frame, Observation


class FakeObserver:
    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def reset(self) -> None:
        pass

    async def observe(self, frame: Frame) -> tuple[Observation, dict[str, float]]:
        await asyncio.sleep(self.seconds)
        return Observation(frame.index, frame.captured_at_ns, 4, 4), {"body": 1.0}


class FakeReconstructor:
    avatar = head = None
    strangers = 0
    stranger_at: int | None = None
    state = None

    def __init__(self) -> None:
        self.ahead_s: list[float] = []

    def reset(self) -> None:
        pass

    def look_through(self, field_of_view_deg: float | None) -> None:
        pass

    def reconstruct(
        self, seen: Observation, *, pose: bool, ahead_s: float
    ) -> tuple[Any, Any, dict[str, float]]:
        time.sleep(0.002)
        self.ahead_s.append(ahead_s)
        self.strangers += seen.index == self.stranger_at
        return SimpleNamespace(index=seen.index), "mesh" if pose else None, {"fit": 2.0}


class FakeSource:
    size, fps, live = (4, 4), 30.0, False
    field_of_view_deg = None

    def __init__(self, frames: Callable[[], Iterator[Frame]]) -> None:
        self._frames = frames

    def __iter__(self) -> Iterator[Frame]:
        return self._frames()

    def close(self) -> None:
        pass


def numbered(count: int, pause_s: float = 0.0) -> FakeSource:
    def frames() -> Iterator[Frame]:
        for index in range(count):
            time.sleep(pause_s)
            yield Frame(np.zeros((4, 4, 3), np.uint8), time.monotonic_ns(), index)

    return FakeSource(frames)


def make(observer: FakeObserver | None = None) -> Pipeline:
    return Pipeline(observer or FakeObserver(), FakeReconstructor())  # type: ignore[arg-type]


async def collect(pipeline: Pipeline, source: FakeSource, policy: Policy) -> list[Result]:
    async with pipeline.run(source, policy) as results:  # type: ignore[arg-type]
        return [result async for result in results]


async def test_blocking_run_gives_every_frame_in_order_with_its_times() -> None:
    results = await collect(make(), numbered(30), Policy.BLOCK)
    assert [result.state.index for result in results] == list(range(30))
    assert {"body", "fit", "decode", "latency"} <= set(results[0].stages_ms)


async def test_live_run_drops_old_frames_and_keeps_order() -> None:
    results = await collect(make(FakeObserver(0.02)), numbered(60, 0.001), Policy.LATEST)
    indices = [result.state.index for result in results]
    assert indices == sorted(set(indices))
    assert len(indices) < 30
    assert indices[-1] == 59


@pytest.mark.parametrize(("live", "predict"), [(True, True), (True, False), (False, True)])
async def test_only_live_states_are_predicted_and_by_the_delay_that_was_measured(
    live: bool, predict: bool
) -> None:
    source, fit = numbered(20, 0.03), FakeReconstructor()
    source.live = live
    pipeline = Pipeline(FakeObserver(0.02), fit, predict=predict)  # type: ignore[arg-type]
    await collect(pipeline, source, Policy.LATEST)
    if live and predict:
        assert fit.ahead_s[0] == 0.0, "nothing is known of the delay yet"
        assert all(0.02 < ahead < 0.2 for ahead in fit.ahead_s[1:])
    else:
        assert not any(fit.ahead_s)


async def test_an_unplugged_camera_ends_the_run_with_its_reason() -> None:
    def frames() -> Iterator[Frame]:
        yield from iter(numbered(3))
        raise SourceError("camera 0 was unplugged")

    seen: list[int] = []
    with pytest.raises(SourceError, match="unplugged"):
        async with make().run(FakeSource(frames), Policy.BLOCK) as results:  # type: ignore[arg-type]
            while True:
                seen.append((await anext(results)).state.index)
    assert seen == [0, 1, 2]


async def test_a_stalled_source_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline_module, "STALL_S", 0.1)
    monkeypatch.setattr(pipeline_module, "READER_JOIN_S", 0.1)
    release = threading.Event()

    def frames() -> Iterator[Frame]:
        yield from iter(numbered(1))
        release.wait(5)

    with pytest.raises(SourceError, match="stalled"):
        await collect(make(), FakeSource(frames), Policy.LATEST)
    release.set()


async def test_the_next_source_works_after_one_that_failed() -> None:
    pipeline = make()

    def broken() -> Iterator[Frame]:
        raise SourceError("not a video")
        yield

    with pytest.raises(SourceError):
        await collect(pipeline, FakeSource(broken), Policy.BLOCK)
    assert len(await collect(pipeline, numbered(4), Policy.BLOCK)) == 4


async def test_leaving_early_stops_every_task_and_thread() -> None:
    before = set(asyncio.all_tasks())
    async with make().run(numbered(10_000, 0.001), Policy.LATEST) as results:  # type: ignore[arg-type]
        async for result in results:
            if result.state.index > 3:
                break
    await asyncio.sleep(0.05)
    assert set(asyncio.all_tasks()) == before
    assert not [t for t in threading.enumerate() if t.name == "reader" and t.is_alive()]


@pytest.mark.parametrize("policy", list(Policy))
async def test_a_network_that_fails_ends_the_run_with_its_reason(policy: Policy) -> None:
    """Many times: what once hung depended on which of two tasks the loop woke first."""

    class Failing(FakeObserver):
        async def observe(self, frame: Frame) -> tuple[Observation, dict[str, float]]:
            if frame.index >= 2:
                raise SourceError("the network is damaged")
            return await super().observe(frame)

    unheard: list[str] = []
    asyncio.get_running_loop().set_exception_handler(
        lambda _loop, context: unheard.append(context["message"])
    )
    for _ in range(15):
        async with asyncio.timeout(5):
            with pytest.raises(SourceError, match="damaged"):
                await collect(make(Failing(0.001)), numbered(50, 0.0005), policy)
    gc.collect()
    assert unheard == []


async def test_no_source_is_closed_while_it_is_read() -> None:
    reading = threading.Event()

    def frames() -> Iterator[Frame]:
        for index in range(1000):
            reading.set()
            time.sleep(0.03)
            reading.clear()
            yield Frame(np.zeros((4, 4, 3), np.uint8), time.monotonic_ns(), index)

    for _ in range(5):
        async with make().run(FakeSource(frames), Policy.LATEST) as results:  # type: ignore[arg-type]
            await anext(results)
        assert not reading.is_set()


async def test_waiting_for_a_live_picture_is_no_work() -> None:
    source = numbered(5, 0.02)
    assert "decode" in (await collect(make(), source, Policy.BLOCK))[-1].stages_ms
    source.live = True
    assert "decode" not in (await collect(make(), source, Policy.BLOCK))[-1].stages_ms


async def test_a_new_source_starts_the_slow_loop_anew() -> None:
    resets: list[None] = []
    slow_loop = SimpleNamespace(reset=lambda: resets.append(None), offer=lambda *_: None)
    pipeline = Pipeline(FakeObserver(), FakeReconstructor(), slow_loop)  # type: ignore[arg-type]
    for count in (1, 2):
        await collect(pipeline, numbered(3), Policy.BLOCK)
        assert len(resets) == count


async def test_a_stranger_is_told_to_the_slow_loop_once_and_before_the_frame_that_shows_it() -> (
    None
):
    told: list[object] = []
    slow_loop = SimpleNamespace(
        reset=lambda: None,
        another_person=lambda: told.append("another"),
        offer=lambda _frame, view: told.append(view.observation.index),
    )
    reconstructor = FakeReconstructor()
    reconstructor.stranger_at = 2
    pipeline = Pipeline(FakeObserver(), reconstructor, slow_loop)  # type: ignore[arg-type]
    await collect(pipeline, numbered(4), Policy.BLOCK)
    assert told == [0, 1, "another", 2, 3]


async def test_a_run_without_posing_has_no_mesh() -> None:
    posed = await collect(make(), numbered(2), Policy.BLOCK)
    assert posed[-1].mesh == "mesh"
    async with make().run(numbered(2), Policy.BLOCK, pose=False) as results:  # type: ignore[arg-type]
        unposed = [result async for result in results]
    with pytest.raises(AvatarError, match="pose=True"):
        _ = unposed[-1].mesh
