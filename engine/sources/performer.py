"""The performer: a synthetic person in front of a synthetic camera, with exact truth per frame.

SOURCE is ``performer[:WHAT][,seed=N][,frames=N]`` with WHAT ``webcam`` (head, shoulders, hands),
``full`` (the whole person) or the path of a BVH file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.paint import Look, cached_texture
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.errors import SourceError
from engine.fusion.copy_paste import fuse
from engine.fusion.fusion_map_file import load_fusion_map
from engine.inference.store import ModelStore
from engine.rendering.background import room
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.sources.bvh import read_bvh
from engine.sources.motion.motion import Motion
from engine.sources.motion.retarget import MocapMotion
from engine.sources.motion.script import ScriptedMotion
from engine.sources.motion.skeleton import Skeleton
from engine.sources.opening import shortened, user_path
from engine.sources.source import Closing, stamped
from engine.types import (
    F32,
    U8,
    AvatarState,
    Camera,
    FaceShape,
    Frame,
    FusedMesh,
    Identity,
    Phenotypes,
)

DEFAULT_FRAMES = 720
MAX_FRAMES = 10_000_000
MAX_DIGITS = len(str(MAX_FRAMES))
FRAMINGS = ("webcam", "full")


@dataclass(frozen=True, slots=True)
class Framing:
    """Where the camera stands, in shares of the person's height."""

    distance: float
    eye_height: float

    def root_shift(self, height_m: float) -> F32:
        """(3,) m: brings the person at rest in front of the camera at the origin."""
        return np.array([0.0, -self.eye_height * height_m, -self.distance * height_m], np.float32)


WEBCAM = Framing(distance=0.50, eye_height=0.88)
FULL = Framing(distance=1.55, eye_height=0.53)


@dataclass(frozen=True, slots=True)
class PerformerOptions:
    """How a performance looks."""

    framing: str = "webcam"
    seed: int = 0
    frames: int = DEFAULT_FRAMES
    fps: float = 30.0
    size: tuple[int, int] = (640, 480)
    samples: int = 1
    """More cost three times the time without a GPU; the lens blur hides the steps."""
    paced: bool = False


@dataclass(frozen=True, slots=True)
class Take:
    """One frame's truth: what was drawn, and from where."""

    state: AvatarState
    mesh: FusedMesh
    camera: Camera


class Performer(Closing):
    """Draws a motion frame by frame. The same options give the same pictures, byte for byte.

    OpenGL belongs to a thread: all frames of one iteration must be taken on one thread.
    """

    def __init__(self, avatar: FusedAvatar, motion: Motion, options: PerformerOptions) -> None:
        """Put an avatar in front of a camera.

        Args:
            avatar: with its texture; also the topology of the truth.
            motion: what it does.
            options: camera, light, length.
        """
        self.avatar = avatar
        self.size = options.size
        self.fps = options.fps
        self.live = options.paced
        self.camera = Camera.from_size(*options.size)
        self._motion = motion
        self._options = options
        self._poser = Poser(avatar)
        framing = FULL if options.framing == "full" else WEBCAM
        self._shift = framing.root_shift(float(np.ptp(avatar.rest_vertices_m[:, 1])))

    def truth(self, index: int) -> Take:
        """The exact state and mesh of frame ``index``.

        The mesh is overwritten three calls later (see ``Poser``); copy what must last. Frames may
        be drawn on another thread meanwhile.
        ``captured_at_ns`` is 0: a pose has no clock until it is delivered.
        """
        return self._take(index, self._poser)

    def _take(self, index: int, poser: Poser) -> Take:
        moment = self._motion.at(index / self.fps)
        state = AvatarState(
            index=index,
            captured_at_ns=0,
            identity_version=self.avatar.identity_version,
            rotations_xyzw=moment.rotations_xyzw,
            translation_m=moment.root_m + self._shift,
            expression=moment.expression,
            camera=self.camera,
            body_confidence=1.0,
            face_confidence=1.0,
            left_hand_confidence=1.0,
            right_hand_confidence=1.0,
        )
        return Take(state, poser.pose(state), self.camera)

    def __iter__(self) -> Iterator[Frame]:
        """Draw every frame.

        Raises:
            GraphicsError: no OpenGL on this machine.
        """
        return stamped(self._pictures(), paced=self.live)

    def _pictures(self) -> Iterator[tuple[float, U8]]:
        seed, poser = self._options.seed, self._poser.with_identity(self.avatar)
        with OffscreenRenderer(*self.size, samples=self._options.samples) as renderer:
            renderer.set_texture(self.avatar.texture)
            renderer.set_light(Light.varied(seed) if seed else Light())
            renderer.set_background(room(seed))
            for index in range(self._options.frames):
                take = self._take(index, poser)
                yield index / self.fps, _through_lens(renderer.render(take.mesh, self.camera))


def _through_lens(picture: U8) -> U8:
    """A webcam is never sharp to the pixel; in place."""
    cv2.GaussianBlur(picture, (3, 3), 0.6, dst=picture)
    return picture


def open_performer(spec: str, *, paced: bool = False, frames: int | None = None) -> Performer:
    """A performer from what follows ``performer:`` on the command line.

    Raises:
        SourceError: unknown word, or a BVH file that cannot be read.
        ModelFileError: the baked body is missing; ``sars setup`` makes it.
    """
    what, options = _parse(spec, PerformerOptions(paced=paced))
    avatar = person(options.seed)
    skeleton = Skeleton.of(avatar)
    motion: Motion
    if what in FRAMINGS:
        options = replace(options, framing=what)
        motion = ScriptedMotion(skeleton, options.seed, full=what == "full")
    else:
        motion = MocapMotion(read_bvh(user_path(what)), skeleton)
        own = max(1, int(motion.duration_s * options.fps))
        options = replace(options, framing="full", frames=min(options.frames, own))
    if frames is not None:
        options = replace(options, frames=frames)
    return Performer(avatar, motion, options)


def person(seed: int, store: ModelStore | None = None) -> FusedAvatar:
    """A fused, painted avatar: average for seed 0, somebody else for every other seed.

    Raises:
        ModelFileError: the baked body is missing or damaged.
    """
    store = store or ModelStore.default()
    path = store.path(FILE_NAME)
    model = BodyModel.load(path)
    identity = Identity(phenotypes=phenotypes_of(seed), face=_face(seed, model.identity_count))
    avatar = fuse(model, load_fusion_map(path, model), identity)
    look = Look.varied(seed) if seed else Look()
    return replace(avatar, texture=cached_texture(avatar, look, store.folder))


def phenotypes_of(seed: int) -> Phenotypes:
    """Of the person that this seed draws."""
    if seed == 0:
        return Phenotypes()
    rng = np.random.default_rng([seed, 0xB0D7])
    age, rest = rng.uniform(0.55, 0.85), rng.uniform(0.25, 0.75, 4)
    muscle, weight, height, proportions = map(float, rest)
    return Phenotypes(float(rng.uniform(0, 1)), float(age), muscle, weight, height, proportions)


def _face(seed: int, count: int) -> FaceShape | None:
    """A face of their own: of an average spread, from the same prior that is fitted with."""
    if seed == 0:
        return None
    rng = np.random.default_rng([seed, 0xFACE])
    return FaceShape(rng.standard_normal(count).astype(np.float32), 1.0)


def _parse(spec: str, options: PerformerOptions) -> tuple[str, PerformerOptions]:
    what, *settings = spec.split(",")
    for setting in settings:
        key, _, value = setting.partition("=")
        known = key in ("seed", "frames") and value.isdecimal() and len(value) <= MAX_DIGITS
        if not known or int(value) > MAX_FRAMES:
            raise SourceError(
                f"the performer does not know {shortened(setting)!r}; it takes seed=N and frames=N"
            )
        options = (
            replace(options, seed=int(value))
            if key == "seed"
            else replace(options, frames=int(value))
        )
    return what or "webcam", options
