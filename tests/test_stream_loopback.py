"""Real peer connections on this machine: watching, publishing, and peers that misbehave."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.rtcsctptransport import SCTP_DATA_LAST_FRAG, DataChunk
from av import VideoFrame
from states import moving_states, rest_state, sheet
from yarl import URL

from engine.errors import AvatarError, PeerError
from stream.client import AvatarClient, ClientOptions, ClientThread
from stream.feed import LiveFeed
from stream.rtc import RtcTransport, new_connection
from stream.server import ServerOptions, StreamServer
from stream.signalling import MAX_SDP_BYTES, Access

GLB = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
SDP = {"Content-Type": "application/sdp"}


async def until(condition, timeout: float = 15.0) -> None:
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.02)


@asynccontextmanager
async def no_task_left() -> AsyncIterator[None]:
    """What starts inside must have ended shortly after."""
    before = asyncio.all_tasks()
    yield
    async with asyncio.timeout(5):
        while asyncio.all_tasks() - before:
            await asyncio.sleep(0.02)
    gc.collect()


@asynccontextmanager
async def serving(
    feed: LiveFeed | None = None, **options
) -> AsyncIterator[tuple[str, StreamServer]]:
    async with no_task_left():
        server = StreamServer(feed or LiveFeed(), ServerOptions(port=0, **options))
        async with server.run() as url:
            yield url, server


@asynccontextmanager
async def watching(url: str, **options) -> AsyncIterator[AvatarClient]:
    client = AvatarClient(ClientOptions(url, **options))
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def peer(url: str) -> AsyncIterator[RtcTransport]:
    """A connected watcher that has said nothing yet, to misbehave with."""
    connection = new_connection()
    transport = RtcTransport(connection)
    opened = asyncio.Event()
    for channel in transport._channels.values():
        channel.on("open", opened.set)
    await connection.setLocalDescription(await connection.createOffer())
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}/whep", data=connection.localDescription.sdp, headers=SDP) as response,
    ):
        assert response.status == 201
        answer = await response.text()
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await asyncio.wait_for(opened.wait(), 10)
    try:
        yield transport
    finally:
        await transport.close()


async def test_a_watcher_gets_avatar_statistics_and_frames() -> None:
    feed = LiveFeed()
    feed.publish_avatar(1, lambda: GLB)
    feed.report(fps=30.0)
    async with serving(feed) as (url, _), watching(url, shared_clock=True) as client:
        seen: list[int] = []
        client.on_state = lambda state: seen.append(state.index)
        await feed.publish(rest_state(0, 1))
        await until(lambda: client.state is not None and client.avatar is not None)
        for state in moving_states(40):
            await feed.publish(replace(state, index=state.index + 1))
            await asyncio.sleep(0.01)
        await until(lambda: seen[-1] == 40)
        assert seen == sorted(set(seen))
        assert len(seen) >= 40
        assert client.avatar is not None
        assert (client.avatar.identity_version, client.avatar.glb) == (1, GLB)
        await until(lambda: client.server_statistics() == {"fps": 30.0})
        assert client.status == ""


async def test_a_late_joiner_sees_a_source_that_has_already_ended() -> None:
    feed = LiveFeed()
    feed.publish_avatar(5, lambda: GLB)
    async with serving(feed) as (url, server):
        await feed.publish(rest_state(77, 5))
        await until(lambda: server.broadcast.frames == 1)
        await feed.close()
        async with watching(url) as client:
            await until(lambda: client.state is not None and client.avatar is not None)
            assert client.state is not None
            assert client.state.index == 77


async def test_a_new_identity_brings_a_new_avatar() -> None:
    feed = LiveFeed()
    async with serving(feed) as (url, _), watching(url) as client:
        for version in (1, 2):
            feed.publish_avatar(version, lambda v=version: GLB[v:])
            await feed.publish(rest_state(version, version))
            await until(
                lambda v=version: client.avatar is not None and client.avatar.glb == GLB[v:]
            )
            assert client.avatar is not None
            assert client.avatar.identity_version == version


async def test_an_avatar_that_is_missing_is_a_line_in_the_log(caplog) -> None:
    feed = LiveFeed()
    async with serving(feed) as (url, _), watching(url) as client:
        await feed.publish(rest_state(1, 9))
        await until(lambda: client.state is not None)
        await until(lambda: "identity 9 has no base avatar" in caplog.text)


async def test_the_mesh_tier_is_sent_to_those_who_ask() -> None:
    feed = LiveFeed()
    async with (
        serving(feed) as (url, _),
        watching(url, tiers=("motion", "mesh")) as client,
        watching(url) as other,
    ):
        index = 0
        while client.mesh is None or client.mesh.index < 5:
            await feed.publish(rest_state(index), sheet(index))
            await asyncio.sleep(0.05)
            index += 1
            assert index < 300
        expected = sheet(client.mesh.index).vertices_m
        np.testing.assert_allclose(client.mesh.vertices_m, expected, atol=2e-4)
        assert other.state is not None
        assert other.mesh is None


async def test_garbage_ends_one_watcher_and_the_others_stay(caplog) -> None:
    caplog.set_level(logging.INFO, "stream")
    feed = LiveFeed()
    async with serving(feed) as (url, _), watching(url) as good:
        await feed.publish(rest_state(1))
        await until(lambda: good.state is not None)
        async with peer(url) as bad:
            bad._channels["control"].send("garbage")
            await asyncio.wait_for(bad.ended(), 10)
        async with peer(url) as bad:
            bad._channels["motion"].send(b"x" * 50_000)
            await asyncio.wait_for(bad.ended(), 10)
        async with peer(url) as bad:
            bad._connection.createDataChannel("surprise")
            await asyncio.wait_for(bad.ended(), 10)
        assert "invalid control message" in caplog.text
        assert "50000 bytes on motion" in caplog.text
        assert "unknown channel 'surprise'" in caplog.text
        await feed.publish(rest_state(2))
        await until(lambda: good.state.index == 2)
    assert "Traceback" not in caplog.text


async def test_pieces_of_an_endless_message_end_their_sender(caplog) -> None:
    """aiortc keeps them all: without the check a watcher fills the server's memory."""
    caplog.set_level(logging.INFO, "stream")
    async with serving() as (url, _), peer(url) as bad:
        sctp = bad._connection.sctp
        send_chunk = sctp._send_chunk

        async def send_unfinished(chunk) -> None:
            if isinstance(chunk, DataChunk):
                chunk.flags &= ~SCTP_DATA_LAST_FRAG
            await send_chunk(chunk)

        sctp._send_chunk = send_unfinished
        for _ in range(5):
            bad._channels["control"].send(b"x" * (1 << 18))
        await until(lambda: "without completing a message" in caplog.text)


async def test_a_watcher_that_vanishes_is_cleared_away(monkeypatch, caplog) -> None:
    caplog.set_level(logging.INFO, "stream")
    monkeypatch.setattr("stream.watcher.SILENCE_S", 0.5)
    async with serving() as (url, _), peer(url):
        await until(lambda: "the watcher has been silent" in caplog.text)


async def test_a_server_that_restarts_is_found_again(monkeypatch) -> None:
    feed = LiveFeed()
    async with serving(feed) as (url, _):
        port = int(url.rsplit(":", 1)[1])
        client = AvatarClient(ClientOptions(url))
        task = asyncio.create_task(client.run())
        await feed.publish(rest_state(1))
        await until(lambda: client.state is not None)
        task.cancel()
        await asyncio.wait([task])
    task = asyncio.create_task(client.run())
    await until(lambda: "cannot reach" in client.status)
    feed = LiveFeed()
    server = StreamServer(feed, ServerOptions(port=port))
    async with server.run():
        await feed.publish(rest_state(2))
        await until(lambda: client.state is not None and client.state.index == 2)
        task.cancel()
        await asyncio.wait([task])


async def test_a_client_gives_up_when_told_to(unused_tcp_port: int) -> None:
    client = AvatarClient(ClientOptions(f"http://127.0.0.1:{unused_tcp_port}", attempts=1))
    with pytest.raises(PeerError, match="cannot reach"):
        await client.run()
    with pytest.raises(PeerError, match="expected a URL"):
        await AvatarClient(ClientOptions("nonsense")).run()


async def test_a_client_on_a_thread() -> None:
    feed = LiveFeed()
    async with serving(feed) as (url, _):
        await feed.publish(rest_state(3))
        with ClientThread(ClientOptions(url)) as watching_thread:
            await until(lambda: watching_thread.client.state is not None)
            # Leaving blocks this thread, which the goodbye needs: leave from another one.
            await asyncio.to_thread(watching_thread.close)
        assert watching_thread.error is None


class Picture(VideoStreamTrack):
    """A grey picture whose left half is red."""

    def __init__(self, width: int = 320, height: int = 240) -> None:
        super().__init__()
        self.image = np.full((height, width, 3), 128, np.uint8)
        self.image[:, : width // 2] = (200, 30, 30)

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = VideoFrame.from_ndarray(self.image, format="rgb24")
        frame.pts, frame.time_base = pts, Fraction(time_base)
        return frame


async def publish(url: str, track: VideoStreamTrack) -> tuple[RTCPeerConnection, str]:
    connection = new_connection()
    connection.addTrack(track)
    await connection.setLocalDescription(await connection.createOffer())
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}/whip", data=connection.localDescription.sdp, headers=SDP) as response,
    ):
        assert response.status == 201
        answer, location = await response.text(), response.headers["Location"]
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return connection, url + location


async def test_a_published_camera_is_a_source_of_frames() -> None:
    async with serving() as (url, server):
        connection, location = await publish(url, Picture())
        camera = await asyncio.wait_for(anext(server.cameras), 15)
        assert camera.size == (320, 240)
        frames = iter(camera)
        first = await asyncio.to_thread(next, frames)
        second = await asyncio.to_thread(next, frames)
        assert first.image.shape == (240, 320, 3)
        assert second.index > first.index
        assert second.captured_at_ns > first.captured_at_ns
        np.testing.assert_allclose(first.image[120, 60], (200, 30, 30), atol=25)
        np.testing.assert_allclose(first.image[120, 260], 128, atol=25)
        async with aiohttp.ClientSession() as http, http.delete(location) as response:
            assert response.status == 200
        assert await asyncio.to_thread(list, frames) == []
        await connection.close()


async def test_the_newest_camera_replaces_the_one_before() -> None:
    async with serving() as (url, server):
        first_connection, _ = await publish(url, Picture())
        first = await asyncio.wait_for(anext(server.cameras), 15)
        second_connection, _ = await publish(url, Picture(160, 120))
        second = await asyncio.wait_for(anext(server.cameras), 15)
        assert (first.closed, second.closed) == (True, False)
        assert second.size == (160, 120)
        await first_connection.close()
        await second_connection.close()


async def test_a_camera_too_narrow_for_the_engine_is_refused(caplog) -> None:
    """1600 pixels wide it would reach the networks 26 pixels high."""
    caplog.set_level(logging.INFO, "stream")
    async with serving() as (url, _):
        connection, _ = await publish(url, Picture(1600, 32))
        await until(lambda: "camera's picture is 1600x32" in caplog.text)
        await connection.close()


async def test_a_camera_that_vanishes_ends_its_source(monkeypatch) -> None:
    async with serving() as (url, server):
        connection, _ = await publish(url, Picture())
        camera = await asyncio.wait_for(anext(server.cameras), 15)
        await connection.close()
        await until(lambda: camera.closed)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("POST", "/whep", {"Content-Type": "text/plain"}, b"v=0", 415),
        ("POST", "/whep", SDP, b"", 400),
        ("POST", "/whep", SDP, b"garbage", 400),
        ("POST", "/whep", SDP, b"\xff\xfe\x00", 400),
        ("POST", "/whep", SDP, b"v=0\r\n" * MAX_SDP_BYTES, 413),
        ("POST", "/whip", SDP, b"garbage", 400),
        ("DELETE", "/whep/nobody", {}, b"", 404),
        ("PATCH", "/whep/nobody", {}, b"", 405),
        ("PUT", "/whip", {}, b"", 405),
        ("GET", "/", {}, b"", 200),
        ("GET", "/../server.py", {}, b"", 404),
        ("GET", "/nothing", {}, b"", 404),
    ],
)
async def test_bad_requests_have_a_status_and_a_line(method, path, headers, body, status) -> None:
    async with (
        serving() as (url, _),
        aiohttp.ClientSession() as http,
        http.request(method, url + path, headers=headers, data=body) as response,
    ):
        text = await response.text()
        assert response.status == status
        assert "Traceback" not in text
        assert len(text) < 400


@pytest.mark.parametrize(
    ("path", "data", "video"),
    [
        ("/whep", False, "recvonly"),
        ("/whep", True, "sendonly"),
        ("/whip", True, None),
        ("/whip", True, "sendonly"),
    ],
)
async def test_an_offer_for_something_else_is_unprocessable(path, data, video) -> None:
    """A watcher's video would be decoded for nobody, a camera's channels read by nobody."""
    async with serving() as (url, _), aiohttp.ClientSession() as http:
        connection = new_connection()
        if data:
            connection.createDataChannel("x")
        if video is not None:
            connection.addTransceiver("video", direction=video)
        offer = await connection.createOffer()
        async with http.post(url + path, data=offer.sdp, headers=SDP) as response:
            assert response.status == 422
        await connection.close()


async def test_a_full_server_says_when_to_come_back() -> None:
    async with (
        serving(max_watchers=1) as (url, _),
        peer(url),
        aiohttp.ClientSession() as http,
        http.post(f"{url}/whep", data=b"v=0", headers=SDP) as response,
    ):
        assert response.status == 503
        assert response.headers["Retry-After"] == "10"


async def test_the_token_is_needed_and_enough() -> None:
    feed = LiveFeed()
    async with serving(feed, access=Access(token="secret")) as (url, _):
        await feed.publish(rest_state(1))
        async with aiohttp.ClientSession() as http:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "ünicode"}):
                request = http.post(f"{url}/whep", data=b"v=0", headers={**SDP, **headers})
                async with request as response:
                    assert response.status == 401
                    assert response.headers["WWW-Authenticate"] == "Bearer"
        async with watching(url, token="secret") as client:
            await until(lambda: client.state is not None)


async def test_only_named_origins_may_ask_from_other_pages() -> None:
    access = Access(origins=("https://friend.example",))
    async with serving(access=access) as (url, _), aiohttp.ClientSession() as http:
        for origin, allowed in (("https://friend.example", True), ("https://evil.example", False)):
            async with http.options(f"{url}/whep", headers={"Origin": origin}) as response:
                assert response.status == 204
                assert response.headers["Accept-Post"] == "application/sdp"
                granted = response.headers.get("Access-Control-Allow-Origin")
                assert granted == (origin if allowed else None)


async def test_pages_are_served_and_nothing_else(tmp_path: Path) -> None:
    pages = tmp_path / "dist"
    pages.mkdir()
    (pages / "index.html").write_text("the viewer")
    (tmp_path / "secret.txt").write_text("secret")
    (pages / "link.txt").symlink_to(tmp_path / "secret.txt")
    async with serving(pages=pages) as (url, _), aiohttp.ClientSession() as http:
        async with http.get(url) as response:
            assert await response.text() == "the viewer"
        for path in ("/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/link.txt"):
            async with http.get(URL(url + path, encoded=True)) as response:
                assert response.status in (403, 404)


async def test_a_port_that_is_taken_is_one_clear_line() -> None:
    async with serving() as (url, _):
        port = int(url.rsplit(":", 1)[1])
        with pytest.raises(AvatarError, match="choose another port"):
            async with StreamServer(LiveFeed(), ServerOptions(port=port)).run():
                pass


async def test_a_certificate_that_cannot_be_read_is_one_clear_line(tmp_path: Path) -> None:
    options = ServerOptions(port=0, certificate=tmp_path / "c.pem", key=tmp_path / "k.pem")
    with pytest.raises(AvatarError, match="certificate"):
        async with StreamServer(LiveFeed(), options).run():
            pass
