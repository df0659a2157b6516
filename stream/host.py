"""Runs the engine on one source after another and publishes what it makes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, Callable
from functools import partial

from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.engine import Engine
from engine.errors import AvatarError, SourceError
from engine.identity_edit import IdentityEdit
from engine.pipeline import Result
from engine.slot import Policy
from engine.sources.source import Source
from engine.types import AvatarState, FusedMesh
from stream.feed import LiveFeed
from stream.sigterm import until_sigterm

log = logging.getLogger(__name__)
REPORTED = ("body", "left_hand", "right_hand", "face", "face_fit", "body_fit", "latency")


async def host(
    engine: Engine,
    sources: AsyncIterable[Source],
    feed: LiveFeed,
    write_glb: Callable[[FusedAvatar], bytes],
) -> None:
    """Publish every frame of every source, then keep the last one for those who join late.

    A source that ends or breaks is a line in the log, and the next one is served. Returns at
    SIGTERM; otherwise it runs until it is cancelled.

    Args:
        engine: an open engine.
        sources: cameras as they are published, or one file.
        feed: what the server's watchers see.
        write_glb: from a fused avatar to the base avatar's bytes.

    Raises:
        AvatarError: the sources are over and none of them had a frame: there is nothing to keep.
    """
    async with until_sigterm():
        await _Host(engine, feed, write_glb).serve_all(sources)
        log.info("every source has ended; the last frame stays for those who join")
        await asyncio.Event().wait()


class _Host:
    """One engine behind one feed."""

    def __init__(
        self, engine: Engine, feed: LiveFeed, write_glb: Callable[[FusedAvatar], bytes]
    ) -> None:
        self._engine, self._feed, self._write_glb = engine, feed, write_glb
        slow_loop = engine.slow_loop
        feed.steer(lambda: slow_loop.status, self._edit)
        self._published = False

    def _edit(self, edit: IdentityEdit) -> None:
        """An identity is worn from the next frame on: where none comes, nobody would see it."""
        if self._feed.source != "live":
            raise AvatarError("no pictures come that the change could be seen on")
        self._engine.slow_loop.edit(edit)

    async def serve_all(self, sources: AsyncIterable[Source]) -> None:
        nothing: Exception = SourceError("the source had no frames: there is nothing to serve")
        async for source in sources:
            try:
                await self._serve(source)
            except AvatarError as error:
                log.warning("a source ended: %s", error)
                nothing = error
            except Exception as error:  # one picture that breaks the engine is not the server's end
                log.exception("a source ended by a defect of ours")
                nothing = error
            self._feed.source = "waiting"
        self._feed.source = "ended"
        if not self._published:
            raise nothing

    async def _serve(self, source: Source) -> None:
        known: FusedAvatar | None = None
        feed = self._feed
        with source:
            async with self._engine.pipeline.run(source, Policy.LATEST, pose=False) as results:
                async for result in results:
                    if result.avatar is not known:
                        known = result.avatar
                        glb = partial(self._write_glb, known)
                        feed.publish_avatar(known.identity_version, glb)
                        pose = _posing(known)
                    await feed.publish(result.state, partial(pose, result.state))
                    feed.report(**_figures(result))
                    self._published = True


def _posing(avatar: FusedAvatar) -> Callable[[AvatarState], FusedMesh]:
    """Poses an avatar; ready when the first mesh is asked for, which on most servers is never."""
    made: list[Poser] = []

    def pose(state: AvatarState) -> FusedMesh:
        if not made:
            made.append(Poser(avatar))
        return made[0].pose(state)

    return pose


def _figures(result: Result) -> dict[str, float]:
    return {f"{name}_ms": result.stages_ms[name] for name in REPORTED if name in result.stages_ms}
