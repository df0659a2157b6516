"""One feed to many watchers: every frame is encoded once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from engine.errors import AvatarError
from engine.slot import Policy, Slot
from engine.types import AvatarState, FusedMesh
from stream.avatar_channel import AvatarFile
from stream.feed import AvatarFeed, FeedItem
from stream.mesh_codec import CodedMesh, MeshEncoder
from stream.motion_codec import MotionEncoder, warm_up
from stream.protocol import IdentityNews, SourceNews
from stream.rare_log import RareLog
from stream.watcher import Watcher

log = logging.getLogger(__name__)

AVATAR_REST = 2.0
"""Times as long as an avatar took to write no other one is: a slider that is dragged must not
take a core from the frames."""


class Broadcast:
    """Reads the feed and hands its frames and avatars to the watchers.

    What cannot be sent, a frame or an avatar, is left out and logged: the others still count.
    """

    def __init__(self, feed: AvatarFeed, *, is_open: bool = False) -> None:
        """Nothing is read yet.

        Args:
            feed: what to send.
            is_open: whether every watcher may edit the avatar, which they are told.
        """
        self._feed, self._is_open = feed, is_open
        self._motion = MotionEncoder()
        self._mesh = MeshEncoder()
        self._meshes: Slot[tuple[Callable[[], FusedMesh], AvatarState]] = Slot(Policy.LATEST)
        self._left_out = RareLog(log)
        self._watchers: set[Watcher] = set()
        self._wanted_version: int | None = None
        self._wanted = asyncio.Event()
        self._avatar: AvatarFile | None = None
        self._last_packet: bytes | None = None
        self._source: SourceNews | None = None
        self._identity: IdentityNews | None = None
        self.frames = 0
        """Frames read from the feed."""

    def add(self, watcher: Watcher) -> None:
        """Send to this watcher from its hello on."""
        watcher.on_greeted = self._catch_up
        self._watchers.add(watcher)

    def discard(self, watcher: Watcher) -> None:
        """Stop sending to it."""
        self._watchers.discard(watcher)

    async def run(self) -> None:
        """Forward frames until the feed ends, then stay for those who join late."""
        await asyncio.to_thread(warm_up)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._load_avatars())
            tasks.create_task(self._send_meshes())
            async for item in self._feed.items():
                await self._forward(item)

    def send_statistics(self) -> None:
        """Send the feed's figures to everybody."""
        for watcher in self._watchers:
            watcher.send_statistics(self._feed.statistics())

    def tell_news(self) -> None:
        """Tell everybody of the source and the identity, where they are not what they were."""
        source = SourceNews(self._feed.source)
        if source != self._source:
            self._source = source
            self._tell(source)
        status = self._feed.identity()
        identity = None if status is None else IdentityNews.of(status, is_open=self._is_open)
        if identity is not None and identity != self._identity:
            self._identity = identity
            self._tell(identity)

    def _tell(self, news: SourceNews | IdentityNews) -> None:
        for watcher in self._watchers:
            watcher.tell(news)

    def _catch_up(self, watcher: Watcher) -> None:
        self.tell_news()
        for news in (self._source, self._identity):
            if news is not None:
                watcher.tell(news)
        if self._avatar is not None:
            watcher.send_avatar(self._avatar)
        if self._last_packet is not None:
            watcher.send_last_state(self._last_packet)

    async def _forward(self, item: FeedItem) -> None:
        self.frames += 1
        self.tell_news()
        if item.state.identity_version != self._wanted_version:
            self._wanted_version = item.state.identity_version
            self._wanted.set()
        try:
            self._last_packet = self._motion.encode(item.state)
        except Exception as error:
            self._left_out.warning(f"frame {item.state.index} cannot be sent: {error}")
            return
        for watcher in self._watchers:
            watcher.send_motion(self._last_packet)
        if item.pose is not None and any(watcher.wants_mesh for watcher in self._watchers):
            await self._meshes.put((item.pose, item.state))

    async def _send_meshes(self) -> None:
        """Posing and encoding a mesh take a while, so packets do not wait for them."""
        async for pose, state in self._meshes:
            try:
                coded = await asyncio.to_thread(self._coded, pose, state)
            except Exception as error:
                self._left_out.warning(f"mesh {state.index} cannot be sent: {error}")
                continue
            intra = self._mesh.intra
            for watcher in self._watchers:
                if intra is not None:
                    watcher.send_mesh(coded, intra)

    def _coded(self, pose: Callable[[], FusedMesh], state: AvatarState) -> CodedMesh:
        return self._mesh.encode(pose(), state)

    async def _load_avatars(self) -> None:
        """Writing a GLB takes a while, so frames do not wait for it."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            version = self._wanted_version
            if version is not None:
                started_s = time.monotonic()
                await self._load_avatar(version)
                await asyncio.sleep(AVATAR_REST * (time.monotonic() - started_s))

    async def _load_avatar(self, version: int) -> None:
        try:
            glb = await asyncio.to_thread(self._feed.avatar_glb, version)
            self._avatar = AvatarFile.of(version, glb)
        except (AvatarError, ValueError) as error:
            log.warning("no avatar for the watchers: %s", error)
            return
        except Exception:
            log.exception("no avatar for the watchers by a defect of ours")
            return
        for watcher in self._watchers:
            if watcher.greeted:
                watcher.send_avatar(self._avatar)
