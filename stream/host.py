"""Runs the engine on one source after another and publishes what it makes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable
from functools import partial

from engine.avatar.topology import FusedAvatar
from engine.engine import Engine
from engine.errors import SourceError
from engine.pipeline import Result
from engine.slot import Policy
from engine.sources.source import Source
from stream.feed import LiveFeed

log = logging.getLogger(__name__)
REPORTED = ("body", "left_hand", "right_hand", "face", "face_fit", "body_fit", "mesh", "latency")


async def host(
    engine: Engine,
    sources: AsyncIterable[Source],
    feed: LiveFeed,
    write_glb: Callable[[FusedAvatar], bytes],
) -> None:
    """Publish every frame of every source until the sources end.

    A source that breaks is logged in one line; the next one is served.

    Args:
        engine: an open engine.
        sources: cameras as they are published, or one file.
        feed: what the server's watchers see.
        write_glb: from a fused avatar to the base avatar's bytes.
    """
    async for source in sources:
        try:
            await _serve(engine, source, feed, write_glb)
        except SourceError as error:
            log.warning("a source ended: %s", error)


async def _serve(
    engine: Engine, source: Source, feed: LiveFeed, write_glb: Callable[[FusedAvatar], bytes]
) -> None:
    known: FusedAvatar | None = None
    with source:
        async with engine.pipeline.run(source, Policy.LATEST) as results:
            async for result in results:
                if result.avatar is not known:
                    known = result.avatar
                    feed.publish_avatar(known.identity_version, partial(write_glb, known))
                await feed.publish(result.state, result.mesh)
                feed.report(**_figures(result))


def _figures(result: Result) -> dict[str, float]:
    return {f"{name}_ms": result.stages_ms[name] for name in REPORTED if name in result.stages_ms}
