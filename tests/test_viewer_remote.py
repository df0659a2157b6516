"""Watching a server without a browser: headless figures, one picture, and plain words when not."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rigs import synthetic_avatar
from states import rest_state

from engine.avatar.topology import FusedAvatar
from engine.errors import AvatarError, GraphicsError, PeerError
from engine.rendering.context import create_headless_context
from engine.types import JOINT_COUNT
from exporters.glb import write_glb
from stream.client import ClientOptions
from stream.feed import LiveFeed
from stream.server import ServerOptions, StreamServer
from viewer.headless import run_headless
from viewer.remote import RemoteFeed
from viewer.snapshot import snapshot_remote

VERSION = 3


@pytest.fixture
def graphics() -> None:
    try:
        create_headless_context().release()
    except GraphicsError as error:
        pytest.skip(str(error))


def avatar_with_all_joints() -> FusedAvatar:
    """The synthetic avatar, with as many joints as a motion packet speaks of."""
    avatar = synthetic_avatar()
    spare = JOINT_COUNT - len(avatar.parents)
    return replace(
        avatar,
        joints_m=np.concatenate([avatar.joints_m, np.zeros((spare, 3), np.float32)]),
        joint_names=tuple(f"joint{j}" for j in range(JOINT_COUNT)),
        parents=np.concatenate([avatar.parents, np.zeros(spare, np.int32)]),
        identity_version=VERSION,
    )


@asynccontextmanager
async def served(glb: bytes | None = None) -> AsyncIterator[str]:
    """A server whose avatar stands two metres away, 30 times a second."""
    feed = LiveFeed()
    data = glb or write_glb(avatar_with_all_joints())
    feed.publish_avatar(VERSION, lambda: data)
    place = np.array([0, 0, -2], np.float32)
    state = replace(rest_state(identity_version=VERSION), translation_m=place)

    async def play() -> None:
        index = 0
        while True:
            index += 1
            now = time.monotonic_ns()
            await feed.publish(replace(state, index=index, captured_at_ns=now))
            await asyncio.sleep(1 / 30)

    async with StreamServer(feed, ServerOptions(port=0)).run() as url:
        playing = asyncio.create_task(play())
        try:
            yield url
        finally:
            playing.cancel()


async def test_headless_draws_what_is_sent_and_knows_how_old_it_is(graphics):
    async with served() as url:
        report = await asyncio.to_thread(run_headless, ClientOptions(url), 1.0, (64, 48))
    numbers = report.numbers()
    assert 0 < numbers["draw_ms"]["p50"] <= numbers["capture_to_draw_ms"]["p50"] < 5000
    assert 5 < numbers["frames"] <= 62
    assert 0.9 <= numbers["delivered"] <= 1.0
    # A rest pose packs into few bytes: the header, the bitmap and no joint.
    assert 56 <= numbers["frame_bytes"]["p50"] <= numbers["frame_bytes"]["max"] <= 1100
    packets = numbers["mbit_per_s"] * numbers["seconds"] / 8e-6 / numbers["frame_bytes"]["p50"]
    assert packets == pytest.approx(report.received, rel=0.3)


async def test_a_remote_snapshot_shows_the_avatar(graphics, tmp_path):
    path = tmp_path / "avatar.png"
    async with served() as url:
        await asyncio.to_thread(snapshot_remote, ClientOptions(url), path, (60, 80))
    with Image.open(path) as file:
        picture = np.asarray(file).astype(int)
    assert picture.shape == (80, 60, 3)
    assert picture[40, 30, 0] > picture[40, 30, 2] + 10  # skin, not the bluish background


async def test_the_newest_moment_arrives_with_its_avatar():
    async with served() as url:
        feed = RemoteFeed(ClientOptions(url, shared_clock=True))
        try:
            first = await asyncio.to_thread(feed.wait, None, 30.0)
            later = await asyncio.to_thread(feed.wait, first, 30.0)
            assert first is not None and later is not None
            assert later.state.index > first.state.index
            assert later.avatar.identity_version == VERSION
            assert feed.status() == ""
            assert feed.statistics()["packets"] >= 1
        finally:
            await asyncio.to_thread(feed.close)


async def test_an_unusable_avatar_ends_the_feed_with_a_reason():
    async with served(b"not a GLB at all") as url:
        feed = RemoteFeed(ClientOptions(url))
        try:
            with pytest.raises(AvatarError, match="unusable avatar"):
                for _ in range(100):
                    await asyncio.to_thread(feed.wait, None, 0.2)
        finally:
            await asyncio.to_thread(feed.close)


def test_no_server_is_one_sentence(graphics, tmp_path):
    nobody = ClientOptions("http://127.0.0.1:9", attempts=1)
    with pytest.raises(PeerError, match=r"127\.0\.0\.1:9"):
        run_headless(nobody, 1.0, (16, 16))
    with pytest.raises(PeerError, match=r"127\.0\.0\.1:9"):
        snapshot_remote(nobody, tmp_path / "avatar.png")
    with pytest.raises(PeerError, match="one clock"):
        run_headless(ClientOptions("http://192.0.2.1:8080"), 1.0)


WINDOW_SCRIPT = """
import numpy as np
from engine.types import Frame
from rigs import synthetic_avatar
from test_viewer_drawing import rest_state
from viewer.feed import LocalFeed, Moment
from viewer.window import WindowViewer, open_window, run_viewer
try:
    window = open_window((320, 240))
except Exception as error:
    print(type(error).__name__, error)
    raise SystemExit
feed = LocalFeed()
viewer = WindowViewer(window, feed)
viewer.step()
picture = np.zeros((48, 64, 3), np.uint8)
for index, key in enumerate("shmwg234c"):
    feed.publish(Moment(synthetic_avatar(), rest_state(index), Frame(picture, 0, index)))
    window.unicode_char_entered_func(key)
    window.mouse_drag_event_func(10, 10, 3, 2)
    window.mouse_scroll_event_func(0, 1)
    viewer.step()
assert viewer.controls.show_statistics and viewer.controls.view.wireframe
pixels = np.frombuffer(window.fbo.read(components=3), np.uint8)
assert len(np.unique(pixels)) > 20
window.close()
print("closed", window.is_closing)
"""


def run_window(*prefix: str, display: bool) -> str:
    environment = {k: v for k, v in os.environ.items() if display or "DISPLAY" not in k}
    environment["PYTHONPATH"] = os.pathsep.join(["tests", "."])
    command = [*prefix, sys.executable, "-c", WINDOW_SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_without_a_display_the_window_says_what_to_use():
    if sys.platform != "linux":
        pytest.skip("only Linux can be without a display")
    assert "--snapshot" in run_window(display=False)


def test_the_window_draws_and_listens():
    if shutil.which("xvfb-run") is None:
        pytest.skip("needs xvfb-run (Debian: apt-get install xvfb)")
    assert run_window("xvfb-run", "-a", display=True) == "closed True\n"
