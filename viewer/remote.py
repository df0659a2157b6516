"""A feed from a server: the stream's client on its own thread, avatars read on another."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor

from engine.avatar.glb_reader import read_glb
from engine.avatar.topology import FusedAvatar
from engine.errors import AvatarError
from engine.types import AvatarState
from stream.avatar_channel import AvatarFile
from stream.client import ClientOptions, ClientThread
from stream.motion_receiver import MotionStatistics
from viewer.feed import LocalFeed, Moment

log = logging.getLogger(__name__)

QUIET_S = 3.0
FAILURE_POLL_S = 0.2
KEPT_AVATARS = 2
"""The newest, and the one that states on their way still belong to."""


class RemoteFeed:
    """See :class:`viewer.feed.Feed`. Connects at once, and again whenever the server was away."""

    def __init__(self, options: ClientOptions) -> None:
        """Start to watch.

        Args:
            options: what to watch; ``attempts`` decides whether it ever gives up.
        """
        self._slot = LocalFeed("Receiving the avatar.")
        self._avatars: dict[int, FusedAvatar] = {}
        self._newest_state: AvatarState | None = None
        self._heard_at_s = time.monotonic()
        self._reading = ThreadPoolExecutor(1, "avatar")
        self._thread = ClientThread(options)
        self._thread.client.on_state = self._take_state
        self._thread.client.on_avatar = self._take_avatar
        self._thread.__enter__()

    def newest(self) -> Moment | None:
        """See :class:`viewer.feed.Feed`."""
        self._raise_failure()
        return self._slot.newest()

    def wait(self, after: Moment | None, timeout_s: float) -> Moment | None:
        """See :class:`viewer.feed.Feed`."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._raise_failure()
            left_s = deadline_s - time.monotonic()
            # In slices: the client's giving up wakes nobody.
            moment = self._slot.wait(after, max(0.0, min(left_s, FAILURE_POLL_S)))
            if moment is not None or left_s <= FAILURE_POLL_S:
                return moment

    def status(self) -> str:
        """See :class:`viewer.feed.Feed`."""
        waiting = self._thread.client.status or self._slot.status()
        if not waiting and time.monotonic() - self._heard_at_s > QUIET_S:
            return "No new pictures from the camera."
        return waiting

    def statistics(self) -> dict[str, float]:
        """See :class:`viewer.feed.Feed`: what arrives here, then what the server says."""
        motion = self.motion()
        here = {}
        if motion is not None and motion.received:
            here = {
                "packets": float(motion.received),
                "lost": float(motion.lost),
                "packet_bytes": motion.packet_bytes_p50,
                "capture_to_arrival_ms": motion.latency_ms_p50,
            }
        return here | self._thread.client.server_statistics()

    def motion(self) -> MotionStatistics | None:
        """How packets of the current connection arrive."""
        return self._thread.client.statistics()

    def close(self) -> None:
        """See :class:`viewer.feed.Feed`."""
        self._thread.close()
        self._reading.shutdown(cancel_futures=True)

    def _raise_failure(self) -> None:
        if self._thread.error is not None:
            raise self._thread.error

    def _take_state(self, state: AvatarState) -> None:
        """On the client's thread, for every frame."""
        self._newest_state, self._heard_at_s = state, time.monotonic()
        avatar = self._avatars.get(state.identity_version)
        if avatar is not None:
            self._slot.publish(Moment(avatar, state))

    def _take_avatar(self, file: AvatarFile) -> None:
        """On the client's thread: reading takes long, and packets must not wait for it."""
        self._reading.submit(self._read, file)

    def _read(self, file: AvatarFile) -> None:
        try:
            avatar = read_glb(file.glb)
        except AvatarError as error:
            self._slot.fail(AvatarError(f"the server sent an unusable avatar: {error}"))
            return
        avatars = {**self._avatars, file.identity_version: avatar}
        for version in list(avatars)[:-KEPT_AVATARS]:
            del avatars[version]
        self._avatars = avatars  # replaced as a whole: the client's thread reads it
        state = self._newest_state
        if state is not None and state.identity_version == file.identity_version:
            self._slot.publish(Moment(avatar, state))
