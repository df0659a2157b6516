"""Painted people under known poses and expressions, and where the network saw their landmarks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import cv2
import numpy as np

from engine import quaternions
from engine.avatar.anny import BodyModel
from engine.avatar.paint import Look, paint_texture
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.fusion.copy_paste import build_topology, fuse
from engine.perception.face import FaceTracker
from engine.rendering.background import room
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import F32, F64, I32, U8, AvatarState, Camera, Identity, Phenotypes
from exporters.face_calibration.expressions import random_expression

SIDE = 320
TEXTURE = 1024
NECK = "neck02"
HEAD = "head"
MAX_YAW, MAX_PITCH, MAX_ROLL = np.radians((45.0, 25.0, 15.0))
FACE_HEIGHT_M = 0.17
SMALLEST, LARGEST = 0.3, 0.65
"""Of a face, as a share of the picture's side: from across a desk to close before the camera."""
FACE_CENTRE_M = np.array([0.0, 0.01, 0.09])
"""From the head joint, roughly."""


@dataclass(frozen=True, slots=True)
class Samples:
    """N pictures of P people, as numbers."""

    phenotypes: F64
    """(P, 6) in the order of Phenotypes."""
    people: I32
    """(N,) who is seen."""
    expressions: F64
    """(N, 52)."""
    rotations: F64
    """(N, 3, 3) head to camera."""
    translations: F64
    """(N, 3) the head joint in camera space, metres."""
    lenses: F64
    """(N, 3) focal length, cx, cy in pixels."""
    points_px: F32
    """(N, 478, 3) what the network found."""


@dataclass(frozen=True, slots=True)
class _Shot:
    """One picture's ground truth."""

    expression: F64
    rotation: F64
    translation: F64
    camera: Camera

    @property
    def lens(self) -> tuple[float, float, float]:
        return self.camera.focal_px, self.camera.cx, self.camera.cy


def random_phenotypes(rng: np.random.Generator) -> Phenotypes:
    """Somebody between a school child and an old person."""
    age = float(np.clip(rng.normal(0.68, 0.14), 0.34, 1.0))
    others = np.clip(rng.normal(0.5, 0.25, 4), 0.0, 1.0)
    muscle, weight, height, proportions = (float(value) for value in others)
    gender = float(rng.beta(0.4, 0.4))
    return Phenotypes(gender, age, muscle, weight, height, proportions)


def observe_people(
    model: BodyModel, tracker: FaceTracker, people: int, shots: int, seed: int
) -> Samples:
    """Render ``people`` different people ``shots`` times each and track their faces.

    Args:
        model: the baked body.
        tracker: unsmoothed.
        people: how many identities, each with its own skin and hair.
        shots: pictures of each.
        seed: of everything random.
    """
    rng = np.random.default_rng([seed, 0xFACE])
    fusion_map, identities, rows = build_topology(model), [], []
    with OffscreenRenderer(SIDE, SIDE, samples=1) as renderer:
        for person in range(people):
            identities.append(random_phenotypes(rng))
            avatar = fuse(model, fusion_map, Identity(phenotypes=identities[-1]))
            look = Look.varied(seed * 1000 + person)
            renderer.set_texture(paint_texture(avatar, look, TEXTURE))
            for shot, points in _observe(avatar, renderer, tracker, shots, rng):
                rows.append((person, shot, points))
    return Samples(
        phenotypes=np.array([[getattr(p, f.name) for f in fields(p)] for p in identities]),
        people=np.array([row[0] for row in rows], np.int32),
        expressions=np.array([row[1].expression for row in rows]),
        rotations=np.array([row[1].rotation for row in rows]),
        translations=np.array([row[1].translation for row in rows]),
        lenses=np.array([row[1].lens for row in rows]),
        points_px=np.array([row[2] for row in rows], np.float32),
    )


def _observe(
    avatar: FusedAvatar,
    renderer: OffscreenRenderer,
    tracker: FaceTracker,
    shots: int,
    rng: np.random.Generator,
) -> Iterator[tuple[_Shot, F32]]:
    poser = Poser(avatar)
    for _ in range(shots):
        seed = int(rng.integers(1 << 30))
        renderer.set_light(Light.varied(seed))
        renderer.set_background(room(seed))
        shot, state = _random_shot(poser, rng)
        picture = _photographed(renderer.render(poser.pose(state), shot.camera), rng)
        tracker.reset()
        # The second look's region comes from landmarks, as in a video.
        if tracker.track(picture, None) and (face := tracker.track(picture, None)):
            yield shot, face.points_px.copy()


def _photographed(picture: U8, rng: np.random.Generator) -> U8:
    """As a cheap camera delivers it: not sharp to the pixel, with noise, compressed."""
    cv2.setRNGSeed(int(rng.integers(1 << 30)))
    strength = np.full(3, rng.uniform(0.0, 4.0))
    noise = cv2.randn(np.empty(picture.shape, np.int16), np.zeros(3), strength)
    soft = cv2.GaussianBlur(picture, (5, 5), rng.uniform(0.3, 1.2))
    noisy = cv2.add(soft, noise, dtype=cv2.CV_8U)
    quality = int(rng.integers(60, 96))
    _, packed = cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), np.uint8)


def _random_shot(poser: Poser, rng: np.random.Generator) -> tuple[_Shot, AvatarState]:
    """A camera, a head turned in the neck, and a face, with the head in the picture's middle."""
    expression = random_expression(rng)
    camera = _random_camera(rng)
    turn = rng.uniform(-1, 1, 3) * np.sqrt(rng.random()) * (MAX_PITCH, MAX_YAW, MAX_ROLL)
    distance = camera.focal_px * FACE_HEIGHT_M / (SIDE * rng.uniform(SMALLEST, LARGEST))
    centre = np.array([*rng.uniform(-0.04, 0.04, 2), -distance])
    state, rotation, target = placed(poser, turn, centre, expression, camera)
    return _Shot(expression, rotation, target, camera), state


def placed(
    poser: Poser, turn: F64, centre: F64, expression: F64, camera: Camera
) -> tuple[AvatarState, F64, F64]:
    """The head turned in its neck, the face's middle at ``centre``.

    Returns:
        The state, and the head's (3, 3) rotation and its joint's place (3,) in camera space.
    """
    names = poser.avatar.joint_names
    rotations = np.tile(np.array([0, 0, 0, 1], np.float32), (len(names), 1))
    half_turn = quaternions.from_rotation_vector(turn / 2)
    for name in (NECK, HEAD):
        rotations[names.index(name)] = half_turn
    head = names.index(HEAD)
    poser.pose(_state(rotations, np.zeros(3), expression, camera))
    place = poser.workspace.transforms[head].astype(np.float64)
    joint = place[:, :3] @ poser.avatar.joints_m[head] + place[:, 3]
    target = centre - place[:, :3] @ FACE_CENTRE_M
    state = _state(rotations, target - joint, expression, camera)
    return state, place[:, :3].copy(), target


def _random_camera(rng: np.random.Generator) -> Camera:
    focal = SIDE * float(rng.uniform(0.85, 1.7))
    return Camera(focal, (SIDE - 1) / 2, (SIDE - 1) / 2, SIDE, SIDE)


def _state(rotations: F32, translation: F64, expression: F64, camera: Camera) -> AvatarState:
    return AvatarState(
        index=0,
        captured_at_ns=0,
        identity_version=0,
        rotations_xyzw=rotations,
        translation_m=translation.astype(np.float32),
        expression=expression.astype(np.float32),
        camera=camera,
    )
