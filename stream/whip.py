"""WHIP: a browser's camera becomes a source of frames."""

from __future__ import annotations

import hmac

from aiortc import MediaStreamTrack, RTCPeerConnection

from engine.slot import Slot
from stream.peers import Peers
from stream.published_camera import CameraIngest, PublishedCamera
from stream.rtc import accept_offer, answer, close_connection, new_connection
from stream.signalling import UnsupportedOfferError


class Whip:
    """Begins and ends publishers. The newest camera is the one that counts.

    Args:
        cameras: where each new camera is put.
        peers: bounds and owns them.
    """

    def __init__(self, cameras: Slot[PublishedCamera], peers: Peers) -> None:
        self._cameras = cameras
        self._peers = peers
        self._current: PublishedCamera | None = None
        self._session = ""

    async def begin(self, offer: str) -> tuple[str, str]:
        """Answer an offer: (session id, SDP answer).

        Raises:
            PeerError: the offer cannot be used, or cameras come and go too fast.
        """
        with self._peers.reserve():
            connection = new_connection()
            try:
                await accept_offer(connection, offer)
                track = _video_track(connection)
                sdp = await answer(connection)
            except BaseException:
                await close_connection(connection)
                raise
            session = await self._peers.begin(
                lambda session: self._ingest(track, session), lambda: close_connection(connection)
            )
            return session, sdp

    async def end(self, session: str) -> bool:
        """End a publisher by its id; False where there is none."""
        return await self._peers.end(session)

    def owns_camera(self, session: str) -> bool:
        """Whether this is the session of the camera that is shown.

        Not of one that was only sent: a server that shows a file of its own takes no camera.
        """
        camera = self._current
        if camera is None or camera.closed or not camera.shown:
            return False
        return hmac.compare_digest(self._session.encode(), session.encode(errors="replace"))

    async def _ingest(self, track: MediaStreamTrack, session: str) -> str:
        ingest = CameraIngest(track)
        camera = await ingest.open()
        if self._current is not None:
            self._current.close()
        self._current, self._session = camera, session
        await self._cameras.put(camera)
        return await ingest.run(camera)


def _video_track(connection: RTCPeerConnection) -> MediaStreamTrack:
    """The first video that the peer sends; other audio and video is answered with inactive."""
    if connection.sctp is not None:
        raise UnsupportedOfferError("to publish, offer no data channels (m=application)")
    video = [t for t in connection.getTransceivers() if t.kind == "video"]
    track = video[0].receiver.track if video else None
    if track is None:
        raise UnsupportedOfferError("to publish, offer a video track (m=video, sendonly)")
    for transceiver in connection.getTransceivers():
        transceiver.direction = "recvonly" if transceiver is video[0] else "inactive"
    return track
