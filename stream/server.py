"""The server: sends a live avatar to whoever watches, takes cameras from whoever publishes.

feed ──► encode once ──► Watcher, Watcher, …   (WHEP, POST /whep)
browser's camera ──► PublishedCamera ──► cameras   (WHIP, POST /whip)
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from engine.errors import AvatarError
from engine.slot import Policy, Slot
from stream.broadcast import Broadcast
from stream.feed import AvatarFeed
from stream.host_header import is_loopback
from stream.peers import Peers
from stream.published_camera import PublishedCamera
from stream.signalling import MAX_SDP_BYTES, WHEP_PATH, WHIP_PATH, Access, Endpoint, guard
from stream.steering import Steering
from stream.whep import Whep
from stream.whip import Whip

log = logging.getLogger(__name__)

MAX_WATCHERS = 16
MAX_CAMERAS = 2
"""The newest one replaces the one before, which takes a moment to leave."""
SHUTDOWN_S = 1.0
"""For requests on their way when the server ends; aiohttp would give a slow client a minute."""


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where and for whom a server runs.

    On another interface than loopback give ``certificate`` and ``key``: browsers open a camera
    only for https or localhost, and a bearer token must not travel in the clear.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any free one."""
    access: Access = field(default_factory=Access)
    certificate: Path | None = None
    """PEM."""
    key: Path | None = None
    pages: Path | None = None
    """Folder of the browser viewer; nothing outside of it is served."""


class StreamServer:
    """Serves one feed. Use ``async with server.run() as url``.

    Args:
        feed: what watchers see.
        options: where and for whom.
    """

    def __init__(self, feed: AvatarFeed, options: ServerOptions | None = None) -> None:
        self._feed = feed
        self._options = options or ServerOptions()
        self.cameras: Slot[PublishedCamera] = Slot(Policy.LATEST)
        """Cameras as browsers publish them; a new one ends the one before."""
        self.broadcast = Broadcast(feed, is_open=self._options.access.allow_control)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[str]:
        """Serve until the block is left; then every peer is gone and every task has ended.

        Yields:
            The URL to open or to give to a client.

        Raises:
            AvatarError: the port or the certificate cannot be used.
        """
        tls = self._tls()
        listener = self._bind()
        _warn(self._options)
        async with asyncio.TaskGroup() as tasks:
            watchers = Peers("watcher", MAX_WATCHERS, tasks)
            publishers = Peers("camera", MAX_CAMERAS, tasks)
            whip = Whip(self.cameras, publishers)
            is_open = self._options.access.allow_control
            steering = Steering(self._feed, whip.owns_camera, is_open=is_open)
            whep = Whep(self.broadcast, steering, watchers)
            runner = web.AppRunner(
                self._app(whep, whip), access_log=None, shutdown_timeout=SHUTDOWN_S
            )
            loops = [tasks.create_task(self.broadcast.run()), tasks.create_task(whep.watch_over())]
            try:
                yield await self._listen(runner, listener, tls)
            finally:
                await runner.cleanup()
                await watchers.end_all()
                await publishers.end_all()
                await self.cameras.close()
                for task in loops:
                    task.cancel()

    def _app(self, whep: Whep, whip: Whip) -> web.Application:
        options = self._options
        app = web.Application(
            client_max_size=MAX_SDP_BYTES,
            middlewares=[guard(options.access, options.host, (WHEP_PATH, WHIP_PATH))],
        )
        app.add_routes(Endpoint(WHEP_PATH, whep.begin, whep.end).routes())
        app.add_routes(Endpoint(WHIP_PATH, whip.begin, whip.end).routes())
        add_pages(app, options.pages)
        return app

    def _bind(self) -> socket.socket:
        host, port = self._options.host, self._options.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            return socket.create_server((host, port), family=family)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise AvatarError(
                f"cannot listen on {host}:{port} ({reason}): choose another port or address"
            ) from error

    async def _listen(
        self, runner: web.AppRunner, listener: socket.socket, tls: ssl.SSLContext | None
    ) -> str:
        await runner.setup()
        await web.SockSite(runner, listener, ssl_context=tls).start()
        host, port = listener.getsockname()[:2]
        scheme = "http" if tls is None else "https"
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"

    def _tls(self) -> ssl.SSLContext | None:
        certificate, key = self._options.certificate, self._options.key
        if certificate is None and key is None:
            return None
        if certificate is None or key is None:
            raise AvatarError("TLS needs both a certificate and a key")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise AvatarError(
                f"cannot use the certificate {certificate} with the key {key}: {error}"
            ) from error
        return context


def _warn(options: ServerOptions) -> None:
    """Of what the user may not know about an address that others can reach."""
    if is_loopback(options.host):
        return
    if options.access.token is None:
        log.warning("whoever reaches %s can watch and send a camera: use --token", options.host)
    elif options.certificate is None:
        log.warning("the token travels in the clear: use --cert and --key")


def add_pages(app: web.Application, pages: Path | None) -> None:
    """Serve the browser viewer's folder; aiohttp refuses paths and links that leave it."""
    index = pages / "index.html" if pages is not None else None
    if pages is None or index is None or not index.is_file():
        app.router.add_get("/", _no_pages)
        return

    async def first_page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(index)

    app.router.add_get("/", first_page)
    app.router.add_static("/", pages)


async def _no_pages(_: web.Request) -> web.Response:
    return web.Response(text="The avatar is at /whep. The browser viewer has not been built.\n")
