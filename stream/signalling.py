"""WHIP (RFC 9725) and WHEP over HTTP: resources, status codes, who may ask. No WebRTC here."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from engine.errors import PeerError
from stream.host_header import is_ours

log = logging.getLogger(__name__)

WHEP_PATH = "/whep"
WHIP_PATH = "/whip"
MAX_SDP_BYTES = 64 * 1024
"""A browser's offer with all its codecs has about 8 kB."""
BODY_TIMEOUT_S = 10.0
SDP = "application/sdp"


class UnsupportedOfferError(PeerError):
    """The offer is valid SDP, but asks for something else than this endpoint gives."""


class TooManyPeersError(PeerError):
    """The server is full."""


@dataclass(frozen=True, slots=True)
class Access:
    """Who may use the endpoints."""

    token: str | None = None
    """Bearer token, or None for everybody who can reach the port."""
    allow_control: bool = False
    """Whether every watcher may edit the avatar; else only who publishes the camera may."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One signalling endpoint.

    ``begin`` takes an offer and gives (session id, answer), or raises PeerError; ``end`` ends a
    session and says whether there was one.
    """

    path: str
    begin: Callable[[str], Awaitable[tuple[str, str]]]
    end: Callable[[str], Awaitable[bool]]

    def routes(self) -> list[web.RouteDef]:
        """POST to begin, DELETE to end, OPTIONS to say what may be posted.

        Web pages of other origins may not ask: no answer carries a CORS header.
        Trickle ICE and ICE restarts are not supported, so PATCH is 405 (RFC 9725, section 4.3)
        and no ETag is sent: offer and answer carry all candidates.
        """
        return [
            web.post(self.path, self._post),
            web.options(self.path, _options),
            web.delete(self.path + "/{session}", self._delete),
            web.options(self.path + "/{session}", _options),
        ]

    async def _post(self, request: web.Request) -> web.Response:
        if request.content_type != SDP:
            raise web.HTTPUnsupportedMediaType(text=f"expected {SDP}\n")
        try:
            offer = await asyncio.wait_for(request.text(), BODY_TIMEOUT_S)
        except (UnicodeDecodeError, LookupError) as error:
            raise web.HTTPBadRequest(text="the offer is not UTF-8 text\n") from error
        except TimeoutError as error:
            raise web.HTTPRequestTimeout(text="the offer did not arrive in time\n") from error
        session, answer = await self._begin(offer)
        headers = {"Location": f"{self.path}/{session}"}
        return web.Response(status=201, text=answer, content_type=SDP, headers=headers)

    async def _begin(self, offer: str) -> tuple[str, str]:
        try:
            return await self.begin(offer)
        except TooManyPeersError as error:
            retry = {"Retry-After": "10"}
            raise web.HTTPServiceUnavailable(text=f"{error}\n", headers=retry) from error
        except UnsupportedOfferError as error:
            raise web.HTTPUnprocessableEntity(text=f"{error}\n") from error
        except PeerError as error:
            log.warning("%s refused an offer: %s", self.path, error)
            raise web.HTTPBadRequest(text=f"{error}\n") from error

    async def _delete(self, request: web.Request) -> web.Response:
        if not await self.end(request.match_info["session"]):
            raise web.HTTPNotFound(text="there is no such session\n")
        return web.Response()


async def _options(_: web.Request) -> web.Response:
    return web.Response(status=204, headers={"Accept-Post": SDP})


def guard(access: Access, bound: str, paths: tuple[str, ...]) -> Middleware:
    """Middleware: who may ask.

    Args:
        access: the bearer token for ``paths``; without one the Host header must be ours.
        bound: the address or name that the server listens on.
        paths: of the endpoints; the pages are for everybody who names the server.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if access.token is None:
            _check_host(request.headers.get("Host", ""), bound)
        elif request.method != "OPTIONS" and request.path.startswith(paths):
            _check_token(access.token, request.headers.get("Authorization", ""))
        response = await handler(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return middleware


def _check_host(header: str, bound: str) -> None:
    if not is_ours(header, bound):
        raise web.HTTPMisdirectedRequest(
            text="without a token this server answers only to its own address, not to a name\n"
        )


def _check_token(token: str, authorization: str) -> None:
    expected = f"Bearer {token}".encode()
    if not hmac.compare_digest(authorization.encode(errors="replace"), expected):
        raise web.HTTPUnauthorized(
            text="a bearer token is needed\n", headers={"WWW-Authenticate": "Bearer"}
        )
