"""Real peer connections on this machine: watching, publishing, and peers that misbehave."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
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
from engine.types import AvatarState
from stream.client import AvatarClient, ClientOptions, ClientThread
from stream.feed import LiveFeed
from stream.host_header import is_ours
from stream.mesh_codec import MeshEncoder
from stream.protocol import AVATAR_MAX_BYTES, PROTOCOL_VERSION, Hello, encode_control
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


def misplaced(index: int, z: float) -> AvatarState:
    return replace(rest_state(index), translation_m=np.array([0, 0, z], np.float32))


async def test_a_frame_that_cannot_be_sent_is_left_out(caplog) -> None:
    """One bad number from the engine must not end the server for everybody."""
    feed = LiveFeed()
    tiers = ("motion", "mesh")
    huge = sheet(1, np.array([[0, 0, 0], [0, 0, 20]], np.float32))
    async with serving(feed) as (url, server), watching(url, tiers=tiers) as client:
        await until(lambda: client._receiver is not None and client._receiver.heard)
        frames = [(misplaced(1, np.nan), None), (misplaced(2, 1e30), None)]
        frames += [(rest_state(3), huge), (rest_state(4), None)]
        for number, (state, mesh) in enumerate(frames, 1):
            await feed.publish(state, mesh and partial(replace, mesh))
            await until(lambda n=number: server.broadcast.frames == n)
        await until(lambda: client.state is not None and client.state.index == 4)
        await until(lambda: server.broadcast._left_out._left_out == 2)
    assert caplog.text.count("cannot be sent") == 1  # not a line for every frame


@pytest.mark.parametrize("glb", [b"", b"x" * (AVATAR_MAX_BYTES + 1), None])
async def test_an_avatar_that_cannot_be_sent_is_left_out(glb, caplog) -> None:
    feed = LiveFeed()
    feed.publish_avatar(1, lambda: bytes(memoryview(glb)))
    feed.publish_avatar(2, lambda: GLB)
    async with serving(feed) as (url, _), watching(url) as client:
        await feed.publish(rest_state(1, 1))
        await until(lambda: "no avatar for the watchers" in caplog.text)
        assert ("defect of ours" in caplog.text) == (glb is None)
        await feed.publish(rest_state(2, 2))
        await until(lambda: client.avatar is not None and client.avatar.identity_version == 2)


async def test_packets_do_not_wait_for_a_mesh(monkeypatch) -> None:
    """One watcher of the mesh tier must not cost all the others latency."""
    feed, encoding = LiveFeed(), threading.Event()
    monkeypatch.setattr(MeshEncoder, "encode", lambda *_: encoding.wait(30))
    async with (
        serving(feed) as (url, server),
        watching(url, tiers=("motion", "mesh")) as one,
        watching(url) as other,
    ):
        await until(lambda: len([w for w in server.broadcast._watchers if w.greeted]) == 2)
        try:
            for index in range(1, 4):
                await feed.publish(rest_state(index), partial(sheet, index))
                for client in (one, other):
                    await until(
                        lambda c=client, i=index: c.state is not None and c.state.index == i
                    )
        finally:
            encoding.set()


async def test_the_mesh_tier_is_sent_to_those_who_ask() -> None:
    feed = LiveFeed()
    async with (
        serving(feed) as (url, _),
        watching(url, tiers=("motion", "mesh")) as client,
        watching(url) as other,
    ):
        index = 0
        while client.mesh is None or client.mesh.index < 5:
            state = rest_state(index)
            mesh = replace(sheet(index), captured_at_ns=state.captured_at_ns)
            await feed.publish(state, partial(replace, mesh))
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
    for url in ("nonsense", "http://[::1", "http://host:port", "http://:80", "ftp://host"):
        with pytest.raises(PeerError, match="expected a URL"):
            await AvatarClient(ClientOptions(url)).run()


async def test_a_client_on_a_thread() -> None:
    feed = LiveFeed()
    async with serving(feed) as (url, _):
        await feed.publish(rest_state(3))
        with ClientThread(ClientOptions(url)) as watching_thread:
            await until(lambda: watching_thread.client.state is not None)
            # Leaving blocks this thread, which the goodbye needs: leave from another one.
            await asyncio.to_thread(watching_thread.close)
        assert watching_thread.error is None


def test_a_client_can_be_closed_before_it_has_begun() -> None:
    """A window that is closed at once must not leave a client that connects for ever."""
    client = ClientThread(ClientOptions("http://127.0.0.1:9"))
    client.close()
    with client:
        client._thread.join(5)
        assert not client._thread.is_alive()


def test_a_defect_of_the_client_reaches_who_waits_for_it(monkeypatch) -> None:
    async def fail(_: AvatarClient) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(AvatarClient, "run", fail)
    with ClientThread(ClientOptions("http://127.0.0.1:9")) as watching_thread:
        watching_thread._thread.join(10)
    assert "ZeroDivisionError" in str(watching_thread.error)


@pytest.mark.slow
async def test_a_watcher_whose_socket_vanishes_makes_way_for_the_next(monkeypatch, caplog) -> None:
    """A laptop that falls asleep says no goodbye; nothing may wait for it."""
    caplog.set_level(logging.INFO, "stream")
    monkeypatch.setattr("stream.watcher.SILENCE_S", 1.5)
    monkeypatch.setattr("stream.server.MAX_WATCHERS", 1)
    feed = LiveFeed()
    feed.publish_avatar(1, lambda: GLB)
    async with serving(feed) as (url, _):
        async with peer(url) as asleep:
            hello = encode_control(Hello(PROTOCOL_VERSION, "laptop"))
            asleep._channels["control"].send(hello)
            await feed.publish(rest_state(1, 1))
            came = asyncio.Event()
            asleep._channels["motion"].on("message", lambda _: came.set())
            asleep._channels["control"].on("message", lambda _: came.set())
            await asyncio.wait_for(came.wait(), 10)
            for pair in asleep._connection.sctp.transport.transport._connection._check_list:
                pair.protocol.transport.abort()
            for state in moving_states(60):
                await feed.publish(state)
                await asyncio.sleep(0.05)
            await until(lambda: "left: the watcher has been silent" in caplog.text)
        async with watching(url) as client:
            await feed.publish(rest_state(100, 1))
            await until(lambda: client.state is not None and client.avatar is not None)
    assert "Traceback" not in caplog.text


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


async def test_a_full_server_says_when_to_come_back(monkeypatch) -> None:
    monkeypatch.setattr("stream.server.MAX_WATCHERS", 1)
    async with (
        serving() as (url, _),
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


async def test_pages_of_other_origins_may_not_ask() -> None:
    async with serving() as (url, _), aiohttp.ClientSession() as http:
        origin = {"Origin": "https://evil.example"}
        async with http.options(f"{url}/whep", headers=origin) as response:
            assert response.status == 204
            assert response.headers["Accept-Post"] == "application/sdp"
            assert not any(name.startswith("Access-Control") for name in response.headers)


@pytest.mark.parametrize(
    ("token", "host", "path", "status"),
    [
        (None, "evil.example", "/whep", 421),
        (None, "evil.example:8080", "/", 421),
        (None, "127.0.0.1.evil.example", "/whip", 421),
        (None, "", "/whep", 421),
        (None, "[::1", "/whep", 421),
        (None, "localhost:8080", "/whep", 422),
        (None, "[::1]:8080", "/whep", 422),
        ("secret", "avatars.example", "/whep", 401),
    ],
)
async def test_a_rebound_name_does_not_open_a_loopback_server(token, host, path, status) -> None:
    """Else any web page that the user visits can watch through the user's own browser."""
    async with (
        serving(access=Access(token=token)) as (url, _),
        aiohttp.ClientSession() as http,
        http.post(url + path, data=b"v=0\n?", headers={**SDP, "Host": host}) as response,
    ):
        assert response.status == status


@pytest.mark.parametrize(
    ("header", "bound", "ours"),
    [
        ("192.0.2.7:8080", "192.0.2.7", True),
        ("192.0.2.8:8080", "192.0.2.7", False),
        ("studio.lan", "studio.lan", True),
        ("192.0.2.7", "0.0.0.0", True),
        ("[2001:db8::1]:80", "::", True),
        (socket.gethostname().upper(), "0.0.0.0", True),
        ("evil.example", "0.0.0.0", False),
        (socket.gethostname(), "127.0.0.1", False),
    ],
)
def test_a_server_is_known_by_its_addresses(header, bound, ours) -> None:
    assert is_ours(header, bound) == ours


async def test_an_address_that_others_reach_is_warned_about(caplog) -> None:
    for token, line in ((None, "use --token"), ("secret", "use --cert")):
        caplog.clear()
        async with serving(host="0.0.0.0", access=Access(token=token)):
            assert [line in record.message for record in caplog.records] == [True]
    caplog.clear()
    async with serving():
        assert not caplog.records


async def test_a_slow_client_does_not_hold_the_server_up() -> None:
    async with serving() as (url, _):
        _, writer = await asyncio.open_connection("127.0.0.1", URL(url).port)
        head = "POST /whep HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/sdp\r\n"
        writer.write(f"{head}Content-Length: 99\r\n\r\nv=0".encode())
        await writer.drain()
        await asyncio.sleep(0.2)
        left_at = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - left_at < 5.0
    writer.close()


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
