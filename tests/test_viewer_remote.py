"""Watching a server without a browser: headless figures, one picture, and plain words when not."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pytest
from PIL import Image
from rigs import synthetic_avatar
from states import rest_state
from yarl import URL

from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.errors import AvatarError, GraphicsError, ModelFileError, PeerError
from engine.identity_edit import IdentityEdit
from engine.identity_keeper import IdentityKeeper, age_for
from engine.rendering.context import create_headless_context
from engine.sources.source import Source
from engine.types import JOINT_COUNT, Identity, Phenotypes
from exporters.glb import write_glb
from stream.avatar_channel import AvatarFile
from stream.client import ClientOptions
from stream.feed import LiveFeed
from stream.server import ServerOptions, StreamServer
from viewer.avatar_shelf import AvatarShelf
from viewer.canvas import Canvas
from viewer.draw_recorder import DrawRecorder
from viewer.feed import LocalFeed, Moment
from viewer.headless import drawn_share, run_headless
from viewer.local import EngineThread
from viewer.remote import RemoteFeed
from viewer.scene import FRAMINGS, View, frame_mesh
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


@dataclass
class Player:
    """A feed whose avatar stands two metres away, 30 times a second."""

    feed: LiveFeed = field(default_factory=LiveFeed)
    version: int = VERSION
    frame_step: int = 1
    """Source frames from one state to the next: more than 1 where the engine drops some."""
    meshes: bool = False
    period_s: float = 1 / 30

    async def play(self) -> None:
        place = np.array([0, 0, -2], np.float32)
        state, index = replace(rest_state(), translation_m=place), 0
        poser = Poser(avatar_with_all_joints()) if self.meshes else None
        while True:
            index += self.frame_step
            now = time.monotonic_ns()
            state = replace(state, index=index, captured_at_ns=now, identity_version=self.version)
            # Half a metre to the side, so that a test sees which of both was drawn.
            aside = replace(state, translation_m=place + np.array([0.5, 0, 0], np.float32))
            await self.feed.publish(state, poser and partial(poser.pose, aside))
            await asyncio.sleep(self.period_s)


@asynccontextmanager
async def served(
    glb: Callable[[], bytes] | None = None, player: Player | None = None, port: int = 0
) -> AsyncIterator[str]:
    """A server that plays."""
    player = player or Player()
    player.feed.publish_avatar(VERSION, glb or (lambda: write_glb(avatar_with_all_joints())))
    async with StreamServer(player.feed, ServerOptions(port=port)).run() as url:
        playing = asyncio.create_task(player.play())
        try:
            yield url
        finally:
            playing.cancel()


@asynccontextmanager
async def remote_feed(options: ClientOptions) -> AsyncIterator[RemoteFeed]:
    feed = RemoteFeed(options)
    try:
        yield feed
    finally:
        await asyncio.to_thread(feed.close)


async def next_moment(feed: RemoteFeed, after: Moment | None = None) -> Moment:
    moment = await asyncio.to_thread(feed.wait, after, 20.0)
    assert moment is not None, feed.status()
    return moment


async def test_headless_draws_what_is_sent_and_knows_how_old_it_is(graphics):
    async with served() as url:
        report = await asyncio.to_thread(run_headless, ClientOptions(url), 1.0, (64, 48))
    numbers = report.numbers()
    assert 0 < numbers["draw_ms"]["p50"] <= numbers["capture_to_draw_ms"]["p50"] < 5000
    assert 5 < numbers["frames"] <= 62
    assert 0.9 <= numbers["delivered"] <= 1.0
    assert 0.5 <= numbers["drawn_share"] <= 1.0
    assert 25 < numbers["longest_gap_ms"] < 1100
    assert (numbers["width"], numbers["height"]) == (64, 48)
    # A rest pose packs into few bytes: the header, the bitmap and no joint.
    assert 56 <= numbers["frame_bytes"]["p50"] <= numbers["frame_bytes"]["max"] <= 1100
    # IP, UDP, DTLS and SCTP are what a link carries too.
    around = numbers["frame_bytes"]["p50"] + 93
    packets = numbers["mbit_per_s"] * numbers["seconds"] / 8e-6 / around
    assert packets == pytest.approx(report.received, rel=0.2)


async def test_frames_that_never_reached_the_network_are_not_passed_over(graphics):
    """`delivered` counts packets; an engine that drops two frames of three still delivers all."""
    async with served(player=Player(frame_step=3)) as url:
        report = await asyncio.to_thread(run_headless, ClientOptions(url), 1.0, (16, 16))
    numbers = report.numbers()
    assert numbers["delivered"] > 0.9
    assert 0.15 < numbers["drawn_share"] <= 0.35


@pytest.mark.parametrize(
    ("indices", "share"),
    [([], 0.0), ([5], 1.0), ([5, 6, 7], 1.0), ([5, 7, 11], 3 / 7), ([5, 6, 0, 1, 3], 5 / 6)],
)
def test_drawn_share_counts_source_frames(indices, share):
    assert drawn_share(indices) == pytest.approx(share)


def test_the_longest_gap_includes_both_ends():
    recorder = DrawRecorder()
    for time_ms in (100, 140, 150):
        recorder.record(0, time_ms * 1_000_000)
    assert recorder.longest_gap_ms(90_000_000, 160_000_000) == 40.0
    assert recorder.longest_gap_ms(0, 160_000_000) == 100.0
    assert recorder.longest_gap_ms(90_000_000, 450_000_000) == 300.0


@pytest.mark.slow
async def test_two_connections_are_not_one_measurement(graphics):
    async with served() as url:
        measuring = asyncio.create_task(
            asyncio.to_thread(run_headless, ClientOptions(url, attempts=9), 5.0, (16, 16))
        )
        await asyncio.sleep(3.0)
    async with served(port=URL(url).port):
        with pytest.raises(PeerError, match="went away while it was watched"):
            await measuring


@pytest.mark.slow
@pytest.mark.parametrize("period_s", [0.5, 60.0])
async def test_a_server_that_hardly_sends_is_given_up(graphics, monkeypatch, period_s):
    """A bench must end with a reason, not wait a minute for each frame of the warm-up."""
    monkeypatch.setattr("viewer.headless.WARM_UP_S", 3.0)
    async with served(player=Player(period_s=period_s)) as url:
        with pytest.raises(PeerError, match="of 15 frames to warm up"):
            await asyncio.to_thread(run_headless, ClientOptions(url), 1.0, (16, 16))


@pytest.mark.slow
async def test_the_mesh_tier_is_drawn_as_the_server_posed_it(graphics):
    player = Player(meshes=True)
    async with served(player=player) as url:
        options = ClientOptions(url, tiers=("motion", "mesh"))
        async with remote_feed(options) as feed:
            moment = await next_moment(feed)
            while moment.mesh is None:
                moment = await next_moment(feed, moment)
            later = await next_moment(feed, moment)
            assert later.mesh is not None and later.mesh.index > moment.mesh.index
            posed = Poser(moment.avatar).pose(moment.state)
            moved = moment.mesh.vertices_m - posed.vertices_m
            np.testing.assert_allclose(moved, [[0.5, 0, 0]] * len(moved), atol=1e-3)
            assert (moment.mesh.normals * posed.normals).sum(axis=1).min() > 0.9
        mesh = await asyncio.to_thread(run_headless, options, 1.0, (64, 48))
        motion = await asyncio.to_thread(run_headless, ClientOptions(url), 1.0, (64, 48))
    assert mesh.drawn > 5
    assert mesh.bytes > 1.5 * motion.bytes  # the figure knows what meshes cost


async def test_a_still_avatar_is_seen_by_a_late_watcher_of_the_mesh_tier():
    feed = LiveFeed()
    feed.publish_avatar(VERSION, lambda: write_glb(avatar_with_all_joints()))
    async with StreamServer(feed, ServerOptions(port=0)).run() as url:
        await feed.publish(rest_state(7, VERSION))
        async with remote_feed(ClientOptions(url, tiers=("motion", "mesh"))) as watching:
            assert (await next_moment(watching)).index == 7


async def test_drawing_goes_on_while_a_new_identity_is_on_its_way():
    """Age and gender change the avatar after seconds; nobody wants the picture to freeze then."""
    player, written = Player(), threading.Event()
    glb = write_glb(avatar_with_all_joints())

    def write_slowly() -> bytes:
        written.wait(30)
        return glb

    async with served(player=player) as url, remote_feed(ClientOptions(url)) as feed:
        try:
            first = await next_moment(feed)
            player.feed.publish_avatar(VERSION + 1, write_slowly)
            player.version = VERSION + 1
            moment = first
            while moment.state.identity_version != VERSION + 1:
                moment = await next_moment(feed, moment)
            assert (await next_moment(feed, moment)).avatar is first.avatar
        finally:
            written.set()
        while moment.avatar is first.avatar:
            moment = await next_moment(feed, moment)


async def test_a_new_skin_and_body_are_drawn_without_a_pause(graphics):
    """Geometry and texture change together, in one drawing, and the motion goes on."""
    player, canvas = Player(), Canvas(64, 80, samples=1)
    blue = replace(
        avatar_with_all_joints(),
        identity_version=VERSION + 1,
        rest_vertices_m=1.2 * avatar_with_all_joints().rest_vertices_m,
        texture=np.full((8, 8, 3), (30, 60, 200), np.uint8),
    )
    async with served(player=player) as url, remote_feed(ClientOptions(url)) as feed:
        moment = await next_moment(feed)
        first = moment.avatar
        blueness: list[bool] = []
        indices: list[int] = []
        player.feed.publish_avatar(VERSION + 1, lambda: write_glb(blue))
        player.version = VERSION + 1
        while sum(blueness) < 3:
            moment = await next_moment(feed, moment)
            mesh = canvas.scene.mesh_of(moment)
            canvas.draw(mesh, View(frame_mesh(mesh, FRAMINGS["body"], 0.8)))
            pixels = canvas.pixels()[20:60, 16:48].astype(int)
            blueness.append(bool((pixels[..., 2] > pixels[..., 0] + 60).mean() > 0.1))
            indices.append(moment.index)
            assert blueness[-1] == (moment.avatar is not first), "skin and body of one identity"
        assert blueness == sorted(blueness), "it never flickers back"
        assert indices == sorted(indices)
    canvas.close()


async def test_a_source_that_ends_is_said():
    player = Player(period_s=60.0)
    async with served(player=player) as url, remote_feed(ClientOptions(url)) as feed:
        await next_moment(feed)
        player.feed.source = "waiting"
        await until(lambda: feed.status() == "Waiting for a camera.")
        await player.feed.close()
        await until(lambda: feed.status() == "The source has ended.")


async def test_a_viewer_that_may_not_edit_is_told_and_sees_who_it_is():
    player = Player()
    keeper = IdentityKeeper(Identity(phenotypes=Phenotypes(age=age_for(40))))
    player.feed.steer(lambda: keeper.status, lambda edit: keeper.edit(edit) and None)
    async with served(player=player) as url, remote_feed(ClientOptions(url)) as feed:
        await until(lambda: feed.identity() is not None)
        identity = feed.identity()
        assert identity is not None
        assert identity.age_years == pytest.approx(40, abs=0.01)
        feed.edit(IdentityEdit(age_years=80))
        await until(lambda: "--allow-control" in feed.status())
        assert keeper.identity.version == 0


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_another_server_poses_another_avatar():
    """Version 3 of one server is not version 3 of the next, which may be somebody else."""
    written, glb = threading.Event(), write_glb(avatar_with_all_joints())

    def write_slowly() -> bytes:
        written.wait(30)
        return glb

    one = served()
    url = await one.__aenter__()
    async with remote_feed(ClientOptions(url)) as feed:
        await next_moment(feed)
        await one.__aexit__(None, None, None)
        while not feed.status():
            await asyncio.sleep(0.05)
        last = feed.newest()
        try:
            async with served(write_slowly, port=URL(url).port):
                while not (feed.connections > 1 and (motion := feed.motion()) and motion.received):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(0.3)
                assert feed.newest() is last
                written.set()
                assert (await next_moment(feed, last)).avatar is not last.avatar
        finally:
            written.set()


def test_of_avatars_that_wait_only_the_newest_is_read(monkeypatch):
    """A server that sends faster than we read must not fill the memory."""
    busy, free, read = threading.Event(), threading.Event(), []

    def read_slowly(glb: bytes) -> FusedAvatar:
        read.append(glb)
        busy.set()
        free.wait(10)
        return synthetic_avatar()

    monkeypatch.setattr("viewer.avatar_shelf.read_glb", read_slowly)
    shelf = AvatarShelf(lambda: None, lambda _: None)
    shelf.put(AvatarFile.of(0, b"0"))
    busy.wait(10)
    for version in range(1, 10):
        shelf.put(AvatarFile.of(version, str(version).encode()))
    free.set()
    while shelf.get(9) is None or len(read) < 2:
        time.sleep(0.01)
    shelf.close()
    assert read == [b"0", b"9"]


def test_identities_on_one_topology_share_what_takes_long_to_prepare():
    """Else the window stands still for a moment at every change: sorting, textures, buffers."""
    shelf = AvatarShelf(lambda: None, lambda _: None)
    first = avatar_with_all_joints()
    taller = replace(first, rest_vertices_m=1.1 * first.rest_vertices_m, identity_version=4)
    retouched = replace(taller, texture=np.full((4, 4, 3), 9, np.uint8), identity_version=5)
    for avatar in (first, taller, retouched):
        version = avatar.identity_version
        shelf.put(AvatarFile.of(version, write_glb(avatar)))
        while getattr(shelf.get(version), "identity_version", None) != version:
            time.sleep(0.01)
    shelf.close()
    second, third = shelf.get(4), shelf.get(5)
    assert second is not None and third is not None
    for name in ("topology", "skin_weights", "skin_joints", "morph_offsets_m"):
        assert getattr(third, name) is getattr(second, name)
    assert third.texture is not second.texture
    np.testing.assert_allclose(second.rest_vertices_m, taller.rest_vertices_m, atol=1e-5)


@pytest.mark.parametrize("failure", [ModelFileError("it is cut short"), MemoryError()])
def test_whatever_reading_an_avatar_raises_is_said(monkeypatch, failure):
    """A thread that dies in silence leaves a viewer that waits for ever."""

    def fail(glb: bytes) -> FusedAvatar:
        raise failure

    monkeypatch.setattr("viewer.avatar_shelf.read_glb", fail)
    said: list[AvatarError] = []
    shelf = AvatarShelf(lambda: None, said.append)
    shelf.put(AvatarFile.of(1, b"1"))
    shelf.close()
    while not said:
        time.sleep(0.01)
    assert "the server sent an" in str(said[0])


def test_a_defect_of_the_engine_reaches_the_window():
    def open_source() -> Source:
        raise AssertionError("not reached")

    feed = LocalFeed()
    thread = EngineThread(None, open_source, feed)  # no options at all: a TypeError or the like
    thread.start()
    thread.join(30)
    with pytest.raises(AvatarError, match="the engine failed"):
        feed.newest()


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
    async with served(lambda: b"not a GLB at all") as url:
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
from engine.identity_keeper import IdentityKeeper
from engine.types import Frame, Identity
from rigs import synthetic_avatar
from test_viewer_drawing import rest_state
from viewer.feed import LocalFeed, Moment
from viewer.window import WindowViewer, open_window, run_viewer
try:
    window = open_window((320, 240))
except Exception as error:
    print(type(error).__name__, error)
    raise SystemExit
feed, edits = LocalFeed(), []
feed.on_identity = lambda: IdentityKeeper(Identity()).status
feed.on_edit = edits.append
viewer = WindowViewer(window, feed)
viewer.step()
picture = np.zeros((48, 64, 3), np.uint8)
for index, key in enumerate("shmwg234ce+p"):
    feed.publish(Moment(synthetic_avatar(), rest_state(index), Frame(picture, 0, index)))
    window.unicode_char_entered_func(key)
    window.mouse_drag_event_func(10, 10, 3, 2)
    window.mouse_scroll_event_func(0, 1)
    viewer.step()
assert [edit.pin for edit in edits] == [None, True]
assert "0 % sure" in window.title
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


@pytest.mark.slow
def test_the_window_draws_and_listens():
    if shutil.which("xvfb-run") is None:
        pytest.skip("needs xvfb-run (Debian: apt-get install xvfb)")
    assert run_window("xvfb-run", "-a", display=True) == "closed True\n"
