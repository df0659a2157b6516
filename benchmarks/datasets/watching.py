"""A person in a film or a still as the engine knows them, whatever the machine's pace.

The slow loop looks once a second by the clock and publishes a face when it is sure: over a short
film that is the average face, and how long a film is short depends on the machine. So that a
measurement is none of the clock, the face is read off every frame here by the loop's own fitter,
as ``sars eval heads`` does. Age, gender and build are still those that the loop had at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from engine.engine import Engine, EngineOptions
from engine.errors import SourceError
from engine.face.identity_fit import IdentityFitter
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.estimates import FaceView
from engine.slot import Policy
from engine.sources.source import Source
from engine.types import AvatarState, Identity, Observation


@dataclass(frozen=True, slots=True)
class Watched:
    """What is known at the end. Pictures are not kept."""

    base: BaseAvatar
    identity: Identity
    """With the face of all frames."""
    observations: list[Observation]
    state: AvatarState
    """Of the last frame."""
    view: FaceView | None
    """How the last face was seen; None where none was."""
    field_of_view_deg: float | None


async def watch_person(options: EngineOptions, open_source: Callable[[], Source]) -> Watched:
    """Run a film through the engine.

    Args:
        options: of the engine.
        open_source: opens the film.

    Raises:
        SourceError: it broke, or has no frames.
    """
    observations: list[Observation] = []
    state: AvatarState | None = None
    view: FaceView | None = None
    with Engine.open(options) as engine, open_source() as source:
        reconstructor = engine.reconstructor
        fitter = IdentityFitter(reconstructor.base.model)
        async with engine.pipeline.run(source, Policy.BLOCK, pose=False) as results:
            async for result in results:
                state, face, head = result.state, result.observation.face, result.head
                observations.append(result.observation)
                if face is None or head is None:
                    continue
                sure = state.face_confidence
                fitter.observe(face, head, state.expression, state.camera, sure, result.frame.image)
                view = FaceView.of(head, face, sure)
        identity = reconstructor.identity
        if state is None:
            raise SourceError("expected pictures of a person, found none")
        return Watched(
            base=reconstructor.base,
            identity=replace(identity, face=fitter.estimate(identity.phenotypes)),
            observations=observations,
            state=state,
            view=view,
            field_of_view_deg=reconstructor.field_of_view_deg,
        )
