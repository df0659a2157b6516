"""The page in a real browser: it sends a camera, shows the avatar, and says what is wrong."""

from __future__ import annotations

import asyncio
import io
import itertools
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from rigs import synthetic_avatar
from states import rest_state

from engine.engine import Engine, EngineOptions
from engine.identity_edit import IdentityEdit
from engine.identity_keeper import IdentityKeeper
from engine.types import AvatarState, Identity
from exporters.glb import write_glb
from stream.feed import LiveFeed
from stream.host import host
from stream.server import ServerOptions, StreamServer
from stream.signalling import Access

playwright = pytest.importorskip("playwright.async_api", reason="needs playwright")

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGES = Path(__file__).resolve().parents[1] / "viewer" / "web" / "dist"
FLAGS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-quic",
    "--no-first-run",
    "--disable-component-update",
    "--disable-sync",
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
)
WINDOW = {"width": 320, "height": 360}
PATIENCE_MS = 60_000


@pytest.fixture
def fake_camera(tmp_path) -> Path:
    """A film of one orange picture, 64x48."""
    path = tmp_path / "camera.y4m"
    luma, blue, red = 150, 60, 190
    planes = bytes([luma]) * (64 * 48) + bytes([blue]) * (32 * 24) + bytes([red]) * (32 * 24)
    path.write_bytes(b"YUV4MPEG2 W64 H48 F30:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + planes) * 30)
    return path


@asynccontextmanager
async def open_page(*flags: str, camera: bool = True) -> AsyncIterator:
    if CHROMIUM is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=CHROMIUM, headless=True, args=[*FLAGS, *flags]
        )
        context = await browser.new_context(
            viewport=WINDOW, permissions=["camera"] if camera else []
        )
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.defects = []
        page.on("pageerror", lambda error: page.defects.append(str(error)))
        yield page
        assert page.defects == []
        await browser.close()


class Puppet:
    """A feed that shows one state until it is given another."""

    def __init__(self) -> None:
        self.feed = LiveFeed()
        self.ended = False
        self.state = replace(
            rest_state(identity_version=3), translation_m=np.array([0, 0, -2], np.float32)
        )
        avatar = synthetic_avatar()
        self.feed.publish_avatar(3, lambda: write_glb(avatar))
        self.keeper = IdentityKeeper(Identity())
        self.edits: list[IdentityEdit] = []
        self.feed.steer(lambda: self.keeper.status, self.edit)

    def edit(self, edit: IdentityEdit) -> None:
        self.edits.append(edit)
        self.keeper.edit(edit)

    async def play(self) -> None:
        index = 0
        while not self.ended:
            index += 1
            await self.feed.publish(replace(self.state, index=index))
            await asyncio.sleep(1 / 15)
        await self.feed.close()


@asynccontextmanager
async def served(
    puppet: Puppet, port: int = 0, *, allow_control: bool = False
) -> AsyncIterator[tuple[StreamServer, str]]:
    access = Access(allow_control=allow_control)
    server = StreamServer(puppet.feed, ServerOptions(port=port, pages=PAGES, access=access))
    async with server.run() as url:
        playing = asyncio.create_task(puppet.play())
        try:
            yield server, url
        finally:
            playing.cancel()


async def picture_of(page) -> np.ndarray:
    """(H, W, 3) of the stage alone."""
    data = await page.locator("#stage").screenshot(timeout=PATIENCE_MS)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def figure(picture: np.ndarray) -> np.ndarray:
    """Where the reddish avatar covers the bluish grey background, without toolbar and inset."""
    middle = picture[40:260, 40:280]
    return middle[..., 0] > middle[..., 2] + 10


async def until(condition, what: str, seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        if await condition():
            return
        await asyncio.sleep(0.2)
    pytest.fail(f"{what} did not happen within {seconds:.0f} s")


async def test_a_watcher_sees_the_avatar_follow_its_state():
    puppet = Puppet()
    async with served(puppet) as (_, url), open_page() as page:
        await page.goto(f"{url}/?watch")

        async def has_figure() -> bool:
            return bool(figure(await picture_of(page)).mean() > 0.05)

        await until(has_figure, "an avatar on the stage")
        before = figure(await picture_of(page))
        puppet.state = shifted(puppet.state, 0.3)

        async def has_moved() -> bool:
            after = figure(await picture_of(page))
            return after.any() and centre(after) > centre(before) + 10

        await until(has_moved, "the avatar's step to its left, the picture's right")
        await page.click("#mirror")

        async def is_mirrored() -> bool:
            after = figure(await picture_of(page))
            return after.any() and centre(after) < centre(before) - 10

        await until(is_mirrored, "the mirror image")


def shifted(state: AvatarState, x: float) -> AvatarState:
    return replace(state, translation_m=state.translation_m + np.array([x, 0, 0], np.float32))


def centre(mask: np.ndarray) -> float:
    return float(np.nonzero(mask)[1].mean())


async def test_the_avatar_moves_on_while_a_new_identity_is_on_its_way():
    """Age and gender change the avatar after seconds; nobody wants the picture to freeze then."""
    puppet, written = Puppet(), threading.Event()

    def write_slowly() -> bytes:
        written.wait(PATIENCE_MS / 1000)
        return write_glb(synthetic_avatar())

    async with served(puppet) as (_, url), open_page() as page:
        await page.goto(f"{url}/?watch")

        async def has_figure() -> bool:
            return bool(figure(await picture_of(page)).mean() > 0.05)

        try:
            await until(has_figure, "an avatar on the stage")
            before = figure(await picture_of(page))
            puppet.feed.publish_avatar(4, write_slowly)
            puppet.state = replace(shifted(puppet.state, 0.3), identity_version=4)

            async def has_moved() -> bool:
                after = figure(await picture_of(page))
                return after.any() and centre(after) > centre(before) + 10

            await until(has_moved, "a step that the new identity takes", 20)
        finally:
            written.set()
        await until(has_figure, "the new avatar on the stage")


async def test_a_new_body_and_skin_take_the_place_of_the_old_ones():
    """The person's own shape and texture come seconds after the first picture."""
    puppet = Puppet()
    smaller = synthetic_avatar()
    blue = replace(
        smaller,
        identity_version=4,
        rest_vertices_m=np.float32(0.6) * smaller.rest_vertices_m,
        texture=np.full((8, 8, 3), (30, 60, 200), np.uint8),
    )
    async with served(puppet) as (_, url), open_page() as page:
        await page.goto(f"{url}/?watch")

        async def skin() -> float:
            return float(figure(await picture_of(page)).mean())

        async def blueness() -> float:
            middle = (await picture_of(page))[40:260, 40:280]
            return float((middle[..., 2] > middle[..., 0] + 60).mean())

        async def is_there() -> bool:
            return await skin() > 0.05

        async def is_blue() -> bool:
            return await blueness() > 0.02

        await until(is_there, "an avatar on the stage")
        before = await skin()
        assert not await is_blue()
        puppet.feed.publish_avatar(4, lambda: write_glb(blue))
        puppet.state = replace(puppet.state, identity_version=4)
        await until(is_blue, "the new skin")
        assert await skin() < 0.01
        assert await blueness() < 0.6 * before, "the new body is smaller"


async def slide(page, name: str, value: float) -> None:
    await page.locator(f"#edit-{name}").fill(str(value))


async def test_sliders_change_the_avatar_and_show_what_came_of_it():
    puppet = Puppet()
    async with served(puppet, allow_control=True) as (_, url), open_page() as page:
        await page.goto(f"{url}/?watch")
        await page.click("#show-identity")
        await page.locator("#identity-summary", has_text="0 % sure").wait_for(state="visible")
        await slide(page, "age_years", 70)
        await slide(page, "caricature", 1.5)
        await page.click("#pin")

        async def all_done() -> bool:
            status = puppet.keeper.status
            return (status.age_years, status.caricature, status.pinned) == (70, 1.5, True)

        await until(all_done, "three edits")
        await page.locator("#identity-summary", has_text="pinned").wait_for(state="visible")
        await page.click("#estimate-again")

        async def is_reset() -> bool:
            return not puppet.keeper.status.pinned

        await until(is_reset, "the reset")
        await page.locator("#identity-summary", has_text="estimating").wait_for(state="visible")
        age = page.locator("#edit-age_years")

        async def slider_follows() -> bool:
            return abs(float(await age.input_value()) - puppet.keeper.status.age_years) < 1

        await until(slider_follows, "the slider's return to the estimate")


async def test_only_who_sends_the_camera_has_sliders(fake_camera):
    puppet = Puppet()
    flags = ("--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={fake_camera}")
    async with served(puppet) as (server, url), open_page(*flags) as page:
        await page.goto(f"{url}/?watch")
        await page.click("#show-identity")
        await page.locator("#identity-summary", has_text="sure").wait_for(state="visible")
        assert await page.locator("#edit-weight").is_disabled()
        assert await page.locator("#identity .hint").is_visible()
        await page.click("#start-camera")
        await page.locator("#camera").wait_for(state="visible")

        async def weight_changes() -> bool:
            await slide(page, "weight", 0.9)
            return puppet.keeper.status.weight == 0.9

        assert not await weight_changes()  # a camera that is sent and not shown gives no right
        with await asyncio.wait_for(anext(server.cameras), 60):
            await until(weight_changes, "an edit by the camera's owner")


async def test_the_end_of_the_source_is_said():
    puppet = Puppet()
    async with served(puppet) as (_, url), open_page() as page:
        await page.goto(f"{url}/?watch")
        await page.locator("#status").wait_for(state="hidden")
        puppet.ended = True
        await page.locator("#status", has_text="The source has ended").wait_for(state="visible")


async def test_the_camera_reaches_the_server(fake_camera):
    puppet = Puppet()
    flags = ("--use-fake-ui-for-media-stream", f"--use-file-for-fake-video-capture={fake_camera}")
    async with served(puppet) as (server, url), open_page(*flags) as page:
        await page.goto(url)
        await page.click("#send-camera")
        camera = await asyncio.wait_for(anext(server.cameras), 60)
        frame = await asyncio.to_thread(next, iter(camera))
        assert frame.image.shape[2] == 3
        red, green, blue = frame.image.reshape(-1, 3).mean(axis=0)
        assert red > green + 30 and green > blue + 30  # the fake camera's orange
        await page.locator("#camera").wait_for(state="visible")
        await page.click("#stop-camera")

        async def camera_left() -> bool:
            return camera.closed

        await until(camera_left, "the end of the camera")
        assert await page.locator("#camera").is_hidden()


@pytest.fixture
def talking_camera(shared_data, tmp_path) -> Path:
    """Six seconds of a person who talks into a webcam, as Chromium's fake camera reads them."""
    path = tmp_path / "talking.y4m"
    with (
        av.open(str(shared_data / "clips" / "webcam_talking_400x300_25fps.mp4")) as clip,
        av.open(str(path), "w", format="yuv4mpegpipe") as film,
    ):
        stream = film.add_stream("wrapped_avframe", rate=25)
        stream.width, stream.height, stream.pix_fmt = 400, 300, "yuv420p"
        for picture in itertools.islice(clip.decode(video=0), 150):
            picture.pts = None
            film.mux(stream.encode(picture.reformat(format="yuv420p")))
        film.mux(stream.encode(None))
    return path


async def test_a_person_in_front_of_the_camera_moves_the_avatar(model_cache, talking_camera):
    """The whole way: browser's camera, WHIP, engine, WHEP, and pixels in the same browser."""
    flags = (
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={talking_camera}",
    )
    feed = LiveFeed()
    server = StreamServer(feed, ServerOptions(port=0, pages=PAGES))
    with Engine.open(EngineOptions(store=model_cache, semantics=False)) as engine:
        async with server.run() as url, open_page(*flags) as page:
            hosting = asyncio.create_task(host(engine, server.cameras, feed, write_glb))
            try:
                await page.goto(url)
                await page.click("#send-camera")

                async def head_is_there() -> bool:
                    return bool(figure(await picture_of(page)).mean() > 0.2)

                await page.click("#face")
                await until(head_is_there, "a head on the stage", 120)
                heads: list[tuple[float, float]] = []

                async def head_has_moved() -> bool:
                    heads.append(await head_of(page))
                    return bool(np.ptp(heads, axis=0).max() > 1.0)

                await until(head_has_moved, "a movement of the head")
                # And it was the person who moved: without a camera the picture is still.
                await page.click("#stop-camera")
                await page.locator("#status", has_text="Waiting for a camera").wait_for(
                    state="visible"
                )
                still = [await head_of(page) for _ in range(2)]
                assert np.ptp(still, axis=0).max() < 0.2
            finally:
                hosting.cancel()
                await asyncio.gather(hosting, return_exceptions=True)


async def head_of(page) -> tuple[float, float]:
    """Where the middle of the drawn skin is, pixels across and down."""
    down, across = np.nonzero(figure(await picture_of(page)))
    return float(across.mean()), float(down.mean())


async def test_a_refused_camera_is_explained_and_watching_still_works():
    puppet = Puppet()
    flags = ("--deny-permission-prompts",)
    async with served(puppet) as (_, url), open_page(*flags, camera=False) as page:
        await page.goto(url)
        await page.click("#send-camera")
        await page.locator("#problem").wait_for(state="visible")
        assert "camera was refused" in await page.inner_text("#problem")
        await page.click("#watch-only")
        await page.locator("#toolbar").wait_for(state="visible")


async def test_the_page_comes_back_when_the_server_does():
    puppet = Puppet()
    async with open_page() as page:
        async with served(puppet) as (_, url):
            port = int(url.rsplit(":", 1)[1])
            await page.goto(f"{url}/?watch")
            await page.locator("#status").wait_for(state="hidden")
        await page.locator("#status", has_text="Trying again").wait_for(state="visible")
        async with served(Puppet(), port):
            await page.locator("#status").wait_for(state="hidden")


async def test_garbage_from_the_server_is_said_and_not_drawn():
    puppet = Puppet()
    puppet.feed.publish_avatar(3, lambda: b"not a GLB at all")
    async with served(puppet) as (_, url), open_page() as page:
        await page.goto(f"{url}/?watch")
        await page.locator("#status", has_text="cannot be read").wait_for(state="visible")
        assert not figure(await picture_of(page)).any()
