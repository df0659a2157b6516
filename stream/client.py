"""Watch an avatar: WHEP, four data channels, and the newest of everything.

``AvatarClient`` is for asyncio; ``ClientThread`` runs one beside a program that draws.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiortc import RTCPeerConnection, RTCSessionDescription

from engine.errors import AvatarError, PeerError
from engine.types import AvatarState
from stream.avatar_channel import AvatarFile
from stream.avatar_receiver import AvatarReceiver
from stream.mesh_codec import ReceivedMesh
from stream.motion_codec import warm_up
from stream.motion_receiver import MotionStatistics
from stream.protocol import AVATAR_MAX_BYTES, Edit, IdentityNews, SourceState, Tier
from stream.rtc import RtcTransport, new_connection
from stream.signalling import MAX_SDP_BYTES, SDP, WHEP_PATH

log = logging.getLogger(__name__)

PING_S = 1.0
SILENCE_S = 5.0
"""The server answers a ping every second; after this long without a word it has gone."""
CONNECT_TIMEOUT_S = 15.0
BACKOFF_S = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """What to watch, and how."""

    url: str
    """Of the server (``http://host:port``) or of its WHEP endpoint."""
    token: str | None = None
    tiers: tuple[Tier, ...] = ("motion",)
    shared_clock: bool = False
    """Server and client run on one machine: latencies need no clock offset."""
    max_avatar_bytes: int = AVATAR_MAX_BYTES
    attempts: int | None = None
    """Connections that may fail in a row before giving up; None never gives up."""

    @property
    def endpoint(self) -> str:
        """The WHEP endpoint.

        Raises:
            PeerError: the URL is not one.
        """
        try:
            parts = urlsplit(self.url)
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # an unclosed bracket, a port that is no number
            usable = False
        if not usable:
            raise PeerError(f"expected a URL like http://127.0.0.1:8080, found {self.url!r}")
        return self.url if parts.path.strip("/") else urljoin(self.url, WHEP_PATH)


class AvatarClient:
    """Connects, receives, and connects again when the server goes away.

    ``state``, ``avatar`` and ``mesh`` hold the newest of each and may be read from any thread.
    The callbacks run on the event loop, for every item.
    """

    def __init__(self, options: ClientOptions) -> None:
        self._options = options
        self._receiver: AvatarReceiver | None = None
        self.state: AvatarState | None = None
        self.avatar: AvatarFile | None = None
        self.mesh: ReceivedMesh | None = None
        self.connections = 0
        """How many have been begun, the present one included."""
        self.status = "Connecting."
        """One sentence for the user while nothing arrives, else empty."""
        self.on_connect: Callable[[], None] = lambda: None
        """A server has answered: what came before this belongs to another connection."""
        self.on_state: Callable[[AvatarState], None] = lambda _: None
        self.on_avatar: Callable[[AvatarFile], None] = lambda _: None
        self.on_mesh: Callable[[ReceivedMesh], None] = lambda _: None
        self.on_refusal: Callable[[str], None] = lambda _: None
        """Told in one sentence why an edit was not done."""

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            PeerError: ``attempts`` connections have failed in a row, or the URL is not one.
        """
        failures = 0
        endpoint = self._options.endpoint
        await asyncio.to_thread(warm_up)
        while True:
            heard = await self._session(endpoint)
            failures = 0 if heard else failures + 1
            if self._options.attempts is not None and failures >= self._options.attempts:
                raise PeerError(self.status)
            await asyncio.sleep(BACKOFF_S[min(failures, len(BACKOFF_S) - 1)])

    def statistics(self) -> MotionStatistics | None:
        """How packets of the current connection arrive."""
        receiver = self._receiver
        return None if receiver is None else receiver.motion.statistics()

    @property
    def mesh_wire_bytes(self) -> int:
        """What the mesh tier of the current connection has cost, packets' headers included."""
        receiver = self._receiver
        return 0 if receiver is None else receiver.mesh_wire_bytes

    def server_statistics(self) -> dict[str, float]:
        """The server's figures for an overlay."""
        receiver = self._receiver
        return {} if receiver is None else receiver.server_statistics

    @property
    def source(self) -> SourceState:
        """Where the server's frames come from."""
        receiver = self._receiver
        return "live" if receiver is None else receiver.source

    @property
    def identity(self) -> IdentityNews | None:
        """Who the avatar is, as the server knows it."""
        receiver = self._receiver
        return None if receiver is None else receiver.identity

    def edit(self, edit: Edit) -> None:
        """Ask the server to change the avatar; on the event loop."""
        if self._receiver is not None:
            self._receiver.edit(edit)

    async def _session(self, endpoint: str) -> bool:
        """One connection from beginning to end; whether a frame came over it."""
        headers = {"Content-Type": SDP}
        if self._options.token is not None:
            headers["Authorization"] = f"Bearer {self._options.token}"
        timeout = aiohttp.ClientTimeout(total=CONNECT_TIMEOUT_S)
        try:
            async with aiohttp.ClientSession(headers=headers, timeout=timeout) as http:
                await self._watch(http, endpoint)
        except PeerError as error:
            self.status = str(error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self.status = f"cannot reach {endpoint}: {error or type(error).__name__}"
        log.info("%s", self.status)
        return self._receiver is not None and self._receiver.motion.received > 0

    async def _watch(self, http: aiohttp.ClientSession, endpoint: str) -> None:
        connection = new_connection()
        transport = RtcTransport(connection)
        self._receiver = receiver = self._new_receiver(transport)
        self.connections += 1
        location = None
        try:
            await connection.setLocalDescription(await connection.createOffer())
            location, answer = await _post(http, endpoint, connection.localDescription.sdp)
            self.on_connect()
            await _apply(connection, answer)
            await self._stay(transport, receiver)
        finally:
            await transport.close()
            if location is not None:
                await _delete(http, location)

    def _new_receiver(self, transport: RtcTransport) -> AvatarReceiver:
        options = self._options
        receiver = AvatarReceiver(transport, options.tiers, options.max_avatar_bytes)
        receiver.clock_offset_us = 0 if options.shared_clock else None
        receiver.on_state = self._take_state
        receiver.on_avatar = self._take_avatar
        receiver.on_mesh = self._take_mesh
        receiver.on_refusal = lambda reason: self.on_refusal(reason)
        return receiver

    async def _stay(self, transport: RtcTransport, receiver: AvatarReceiver) -> None:
        """Keep the connection alive until it ends.

        Raises:
            PeerError: always: why it ended.
        """
        ended = asyncio.ensure_future(transport.ended())
        try:
            while True:
                done, _ = await asyncio.wait([ended], timeout=PING_S)
                if done:
                    raise PeerError(ended.result())
                silent_s = (time.monotonic_ns() - receiver.heard_at_ns) / 1e9
                if silent_s > (SILENCE_S if receiver.heard else CONNECT_TIMEOUT_S):
                    raise PeerError(f"the server has been silent for {silent_s:.0f} s")
                receiver.ping()
                transport.check_memory()
        finally:
            ended.cancel()

    def _take_state(self, state: AvatarState) -> None:
        self.state, self.status = state, ""
        self.on_state(state)

    def _take_avatar(self, avatar: AvatarFile) -> None:
        self.avatar = avatar
        self.on_avatar(avatar)

    def _take_mesh(self, mesh: ReceivedMesh) -> None:
        self.mesh = mesh
        self.on_mesh(mesh)


class ClientThread:
    """An AvatarClient on a thread of its own: ``with ClientThread(options) as watching``."""

    def __init__(self, options: ClientOptions) -> None:
        self.client = AvatarClient(options)
        self.error: AvatarError | None = None
        """Why the client gave up; a defect of ours too, in one sentence."""
        self._leaving = False
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="client", daemon=True)

    def __enter__(self) -> ClientThread:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def edit(self, edit: Edit) -> None:
        """Ask the server to change the avatar; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self.client.edit, edit)

    def close(self) -> None:
        """Say goodbye and end the thread; safe to call twice, and at any time."""
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._cancel)
        if self._thread.ident is not None:
            self._thread.join(timeout=10.0)

    def _cancel(self) -> None:
        self._leaving = True  # perhaps before there is a task
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._watch())

    async def _watch(self) -> None:
        if self._leaving:
            return
        self._task = asyncio.ensure_future(self.client.run())
        try:
            await self._task
        except asyncio.CancelledError:
            pass
        except AvatarError as error:
            self.error = error
        except Exception as error:  # or whoever draws would wait for ever
            log.exception("the client failed by a defect of ours")
            self.error = PeerError(f"the client failed: {type(error).__name__}, see the log")


async def _post(http: aiohttp.ClientSession, endpoint: str, offer: str) -> tuple[str, str]:
    """Session URL and SDP answer."""
    async with http.post(endpoint, data=offer) as response:
        body = await response.content.read(MAX_SDP_BYTES + 1)
        text = body.decode(errors="replace")
        if response.status != 201:
            reason = text.strip().splitlines()[0][:200] if text.strip() else response.reason
            raise PeerError(f"{endpoint} refused to be watched ({response.status}): {reason}")
        if len(body) > MAX_SDP_BYTES or "Location" not in response.headers:
            raise PeerError(f"{endpoint} is not a WHEP endpoint")
        location = urljoin(endpoint, response.headers["Location"])
        if urlsplit(location).netloc != urlsplit(endpoint).netloc:
            raise PeerError(f"{endpoint} put its session on another host: {location[:200]}")
        return location, text


async def _apply(connection: RTCPeerConnection, answer: str) -> None:
    try:
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    except Exception as error:  # aiortc raises anything on a bad SDP
        raise PeerError(f"the server's answer is not valid SDP: {type(error).__name__}") from error


async def _delete(http: aiohttp.ClientSession, location: str) -> None:
    """Say goodbye; a server that is gone does not mind."""
    try:
        async with http.delete(location):
            pass
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.debug("%s: %s", location, error)
