"""WHEP: a watcher's offer becomes a peer connection that the broadcast sends to."""

from __future__ import annotations

import asyncio

from aiortc import RTCPeerConnection

from engine.errors import PeerError
from stream.broadcast import Broadcast
from stream.peers import Peers
from stream.rtc import RtcTransport, accept_offer, answer, close_connection, new_connection
from stream.signalling import UnsupportedOfferError
from stream.steering import Steering
from stream.watcher import Watcher

_TICK_S = 1.0


class Whep:
    """Begins and ends watchers.

    Args:
        broadcast: what they watch.
        steering: does what they wish.
        peers: bounds and owns them.
    """

    def __init__(self, broadcast: Broadcast, steering: Steering, peers: Peers) -> None:
        self._broadcast, self._steering = broadcast, steering
        self._peers = peers
        self._live: dict[RtcTransport, Watcher] = {}

    async def begin(self, offer: str) -> tuple[str, str]:
        """Answer an offer: (session id, SDP answer).

        Raises:
            PeerError: the offer cannot be used, or the server is full.
        """
        with self._peers.reserve():
            connection = new_connection()
            try:
                await accept_offer(connection, offer)
                _check_offer(connection)
                transport = RtcTransport(connection)
                watcher = Watcher(transport)
                watcher.on_edit = self._steering.edit
                sdp = await answer(connection)
            except BaseException:
                await close_connection(connection)
                raise
            session = await self._peers.begin(
                lambda _: self._watch(transport, watcher), transport.close
            )
            return session, sdp

    async def end(self, session: str) -> bool:
        """End a watcher by its id; False where there is none."""
        return await self._peers.end(session)

    async def watch_over(self) -> None:
        """Once a second: end who has gone or misbehaves, send figures to the others."""
        while True:
            await asyncio.sleep(_TICK_S)
            for transport, watcher in self._live.items():
                try:
                    watcher.check_alive()
                    transport.check_memory()
                except PeerError as error:
                    transport.fail(str(error))
            self._broadcast.tell_news()
            self._broadcast.send_statistics()

    async def _watch(self, transport: RtcTransport, watcher: Watcher) -> str:
        self._live[transport] = watcher
        self._broadcast.add(watcher)
        try:
            return await transport.ended()
        finally:
            self._broadcast.discard(watcher)
            del self._live[transport]


def _check_offer(connection: RTCPeerConnection) -> None:
    """Data channels and nothing else: aiortc would decode audio and video that nobody reads."""
    if connection.sctp is None or connection.getTransceivers():
        raise UnsupportedOfferError("to watch, offer data channels alone (m=application)")
