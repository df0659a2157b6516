"""A clip in two passes: everything is seen first, then fitted as a whole and drawn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.engine import Engine, EngineOptions
from engine.errors import SourceError
from engine.fusion.base_avatar import BaseAvatar
from engine.offline import MOST_FRAMES, fit_clip
from engine.pipeline import Result
from engine.slot import Policy
from engine.sources.source import Source
from engine.types import AvatarState, Identity, Observation
from viewer.recording import SideBySide


@dataclass(frozen=True, slots=True)
class Seen:
    """What the first pass leaves: landmarks, never pictures."""

    base: BaseAvatar
    identity: Identity
    """As known at the end."""
    observations: list[Observation]
    backend: str
    field_of_view_deg: float | None


async def record_offline(
    options: EngineOptions,
    open_source: Callable[[], Source],
    folder: Path,
    *,
    on_progress: Callable[[str, int], None] = lambda _what, _frames: None,
    on_state: Callable[[AvatarState], None] = lambda _: None,
) -> tuple[int, FusedAvatar, str]:
    """Fit a whole clip, keep input and avatar side by side in ``folder``.

    Args:
        options: of the engine.
        open_source: opens the clip; called twice.
        folder: for the video and the picture.
        on_progress: told what is being done, and how many frames of it are.
        on_state: given every frame's pose.

    Returns:
        How many frames there were, the avatar, and what ran the networks.

    Raises:
        SourceError: the source is a camera, broke, is too long, or had no frames.
        GraphicsError: no OpenGL here.
    """
    seen = await watch(options, open_source, lambda n: on_progress("watching", n))
    on_progress("fitting", len(seen.observations))
    states = fit_clip(seen.base, seen.identity, seen.observations, seen.field_of_view_deg)
    avatar, _ = seen.base.avatars_of(seen.identity)
    poser = Poser(avatar, None, seen.base.corrections_of(avatar, seen.identity))
    with open_source() as source, SideBySide(folder, source.fps) as recorder:
        for number, (frame, state) in enumerate(zip(source, states, strict=False), 1):
            mesh = poser.pose(state)
            done_ns = time.monotonic_ns()
            observation = seen.observations[number - 1]
            recorder.add(Result(frame, observation, state, None, mesh, avatar, {}, done_ns))
            on_state(state)
            on_progress("drawing", number)
    return len(states), avatar, seen.backend


async def watch(
    options: EngineOptions, open_source: Callable[[], Source], on_frame: Callable[[int], None]
) -> Seen:
    """The first pass: landmarks of every frame, and who the person is.

    Raises:
        SourceError: the source is a camera, broke, or is too long.
    """
    observations: list[Observation] = []
    with Engine.open(options) as engine, open_source() as source:
        if source.live:
            raise SourceError("expected a file for --offline, found a camera, which has no end")
        async with engine.pipeline.run(source, Policy.BLOCK, pose=False) as results:
            async for result in results:
                observations.append(result.observation)
                if len(observations) > MOST_FRAMES:
                    raise SourceError(
                        f"expected at most {MOST_FRAMES} frames for --offline; cut the clip"
                    )
                on_frame(len(observations))
        reconstructor = engine.reconstructor
        return Seen(
            base=reconstructor.base,
            identity=reconstructor.identity,
            observations=observations,
            backend=engine.backend,
            field_of_view_deg=reconstructor.field_of_view_deg,
        )
