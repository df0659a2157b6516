"""Before and after: ``python -m benchmarks.identity_sheet CLIP PICTURE.png``.

A clip goes through the engine, as much of it as the slow loop needs; then its person is drawn as
the average avatar, with their own face by copy-paste and by optimisation, and with their own skin;
from the front, from the side, and the neck close by.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from engine import quaternions
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.engine import Engine, EngineOptions, estimators_of
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.modes import COPY_PASTE, OPTIMISATION
from engine.identity_keeper import IdentityKeeper
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.slot import Policy
from engine.slow_views import View, ViewQueue
from engine.sources import open_source
from engine.types import ARKIT_NAMES, F32, U8, AvatarState, Camera, Identity
from viewer.snapshot import save_png

CELL = 360
TURN_EVERY = 15
"""Frames between two turns of the estimators, which a live run would ask about once a second."""
SIDE_RAD = 0.9
FACE_M, NECK_M = 0.75, 0.38
"""How far the camera stands from the face, and from the neck."""
NECK_BELOW_M = 0.13
BACKGROUND = np.full((1, 1, 3), 196, np.uint8)


async def known_person(clip: str, frames: int, options: EngineOptions) -> tuple[Identity, U8]:
    """Who is in a clip, as the slow loop's estimators have it at the end, and a picture of them."""
    keeper, queue = IdentityKeeper(Identity()), ViewQueue()
    picture = np.zeros((CELL, CELL, 3), np.uint8)
    with Engine.open(replace(options, identity=False)) as engine, open_source(clip) as source:
        told = estimators_of(options, engine.networks, engine.reconstructor)
        async with engine.pipeline.run(source, Policy.BLOCK, pose=False) as results:
            async for result in results:
                queue.put(result.frame, View(result.observation, result.state, result.head))
                if result.frame.index % TURN_EVERY != TURN_EVERY - 1:
                    continue
                views = queue.drain()
                if views.picture is not None:
                    picture = _cropped(views.picture.frame.image)
                for estimator in told:
                    estimator.look(views)
                    if (news := estimator.tell(keeper)) is not None:
                        engine.reconstructor.become(news)
                if result.frame.index >= frames:
                    break
    return keeper.identity, picture


def sheet(base: BaseAvatar, identity: Identity, picture: U8) -> U8:
    """(H, W, 3): the input, then four avatars from the front; below them the sides and the neck."""
    face_alone = replace(identity, texture=None, detail_m=None)
    optimised = replace(base, mode=OPTIMISATION)
    avatars = (
        base.average,
        replace(base, mode=COPY_PASTE).avatar_of(face_alone),
        optimised.avatar_of(face_alone),
        optimised.avatar_of(identity),
    )
    with OffscreenRenderer(CELL, CELL) as renderer:
        renderer.set_background(BACKGROUND)
        renderer.set_light(Light())
        front = [picture, *_portraits(renderer, avatars, 0.0, FACE_M, 0.0)]
        below = [*_portraits(renderer, avatars, SIDE_RAD, FACE_M, 0.0)]
        neck = [*_portraits(renderer, avatars[-1:], 0.35, NECK_M, NECK_BELOW_M)]
    return np.vstack([np.hstack(front), np.hstack([*neck, *below])])


def _portraits(
    renderer: OffscreenRenderer,
    avatars: tuple[FusedAvatar, ...],
    turned: float,
    distance_m: float,
    below_m: float,
) -> Iterator[U8]:
    camera = Camera.from_size(CELL, CELL, 22.0)
    for avatar in avatars:
        eyes = avatar.joints_m[[avatar.joint_names.index(f"eye.{side}") for side in "LR"]]
        target = eyes.mean(axis=0) - np.array([0.0, 0.035 + below_m, 0.0], np.float32)
        turn = quaternions.from_rotation_vector(np.array([0.0, turned, 0.0]))
        rotations: F32 = np.tile(np.array([0, 0, 0, 1], np.float32), (len(avatar.parents), 1))
        rotations[0] = turn.astype(np.float32)
        root = avatar.joints_m[0]
        moved = np.asarray(quaternions.to_matrix(turn)) @ (target - root) + root
        place = (np.array([0.0, 0.0, -distance_m]) - moved).astype(np.float32)
        still = np.zeros(len(ARKIT_NAMES), np.float32)
        renderer.set_texture(avatar.texture)
        state = AvatarState(0, 0, 0, rotations, place, still, camera)
        yield renderer.render(Poser(avatar).pose(state), camera).copy()


def _cropped(image: U8) -> U8:
    """The middle square of a picture."""
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    square = image[top : top + side, left : left + side]
    return np.asarray(cv2.resize(square, (CELL, CELL), interpolation=cv2.INTER_AREA), np.uint8)


def main() -> None:
    """Read the arguments and write the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--frames", type=int, default=900)
    given = parser.parse_args()
    options = EngineOptions()
    identity, seen = asyncio.run(known_person(given.clip, given.frames, options))
    save_png(sheet(BaseAvatar.load(options.store), identity, seen), given.picture)
    sure = 0.0 if identity.face is None else identity.face.confidence
    print(
        f"{given.picture}: version {identity.version}, face {sure:.2f} sure, "
        f"{'own' if identity.texture is not None else 'painted'} skin, "
        f"{'with' if identity.detail_m is not None else 'without'} relief"
    )


if __name__ == "__main__":
    main()
