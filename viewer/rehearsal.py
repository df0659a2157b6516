"""Runs every compiled kernel once, so that the first real start does not wait for compilers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import numpy as np

from engine.engine import Engine, EngineOptions
from engine.errors import GraphicsError
from engine.face import appearance
from engine.face.relief import relief
from engine.inference.store import ModelStore
from engine.slot import Policy
from engine.sources import open_source
from engine.types import FaceShape, Identity
from stream import motion_codec

ACTS = (("portrait", 12), ("performer", 40), ("performer:full", 12))


async def rehearse(store: ModelStore, progress: Callable[[float], None]) -> None:
    """Run a few frames of everything that needs no camera.

    Args:
        store: a complete model store.
        progress: told the finished share.
    """
    total, done = sum(frames for _, frames in ACTS), 0
    with Engine.open(EngineOptions(store=store)) as engine:
        unknown = np.zeros(engine.reconstructor.base.model.identity_count, np.float32)
        # A face of one's own is fused, and the neck's normals are corrected, on every frame below.
        engine.reconstructor.become(Identity(face=FaceShape(unknown, 0.0)))
        for spec, frames in ACTS:
            with contextlib.suppress(GraphicsError):  # nothing to warm where nothing is drawn
                await _act(engine, spec, frames)
            done += frames
            progress(done / total)
        appearance.rehearse(engine.reconstructor.fitted_avatar)
        relief.rehearse(engine.reconstructor.fitted_avatar)
    motion_codec.warm_up()


async def _act(engine: Engine, spec: str, frames: int) -> None:
    with open_source(spec, frames=frames) as source:
        async with engine.pipeline.run(source, Policy.BLOCK) as results:
            async for _ in results:
                pass
