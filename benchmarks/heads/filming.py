"""A head before a webcam: sixty frames that turn, nod, blink, speak and smile.

640x480 with the field of view that the engine assumes of an unknown webcam; the head fills nearly
half of the height. What differs from person to person: shape, colours, light, room, timing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from benchmarks.heads.ict_people import random_alpha
from engine import quaternions
from engine.avatar.morphable_model import MorphableModel
from engine.avatar.paint import Look, paint_texture
from engine.avatar.paint.brush import smoothstep
from engine.avatar.topology import FusedAvatar, Topology
from engine.fusion.normals import vertex_normals
from engine.rendering.background import room
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import ARKIT_NAMES, F32, F64, U8, Camera, FusedMesh

FRAMES = 60
FPS = 30.0
WIDTH, HEIGHT = 640, 480
CAMERA = Camera.from_size(WIDTH, HEIGHT)
TEXELS = 1024
MAX_YAW, MAX_PITCH, MAX_ROLL = np.radians((35.0, 15.0, 5.0))
DISTANCE_M = 0.60
"""From the camera to the head's origin, which is between the ears."""
LOWER_M = 0.02
"""The face's middle is above that origin."""
PIVOT_M = np.array([0.0, -0.10, -0.03])
STILL_M, TURNING_M = -0.17, -0.10
"""Heights between which the neck takes up the turn."""
BLINKS = (9, 47)
BLINK_FRAMES = 6
SPEECH, SMILE = (18, 36), (36, 58)


@dataclass(frozen=True, slots=True)
class Person:
    """Who is filmed."""

    number: int
    alpha: F32
    """(K,) identity coefficients."""
    rest_m: F32
    """(V, 3) the truth: the head at rest."""

    @staticmethod
    def random(ict: MorphableModel, number: int) -> Person:
        """Person ``number``, the same on every machine."""
        alpha = random_alpha(ict, number)
        return Person(number, alpha, ict.shape(alpha))


class Studio:
    """Films one person after the other. Belongs to the thread that made it."""

    def __init__(self, ict: MorphableModel, topology: Topology, avatar: FusedAvatar) -> None:
        """Set up the camera.

        Args:
            ict: the model that the people are of.
            topology: how it is drawn with Anny's texture, see ``skin_transfer``.
            avatar: Anny, to paint.
        """
        self._ict, self._topology, self._avatar = ict, topology, avatar
        self._renderer = OffscreenRenderer(WIDTH, HEIGHT, samples=1)

    def film(self, person: Person) -> Iterator[U8]:
        """The (480, 640, 3) RGB pictures, one after the other."""
        texture = paint_texture(self._avatar, Look.varied(person.number), TEXELS)
        self._renderer.set_texture(texture)
        self._renderer.set_light(Light.varied(person.number))
        self._renderer.set_background(room(person.number))
        normals = np.empty_like(person.rest_m)
        for index in range(FRAMES):
            vertices = person.rest_m + self._ict.express(expression_at(index, person.number))
            vertices = _turned(vertices, turn_at(index, person.number))
            vertex_normals(vertices, self._topology.faces, normals)
            mesh = FusedMesh(index, 0, vertices, normals, self._topology)
            picture = self._renderer.render(mesh, CAMERA)
            cv2.GaussianBlur(picture, (3, 3), 0.6, dst=picture)  # a webcam's lens
            yield picture

    def close(self) -> None:
        """Give the graphics context back."""
        self._renderer.close()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def expression_at(index: int, number: int) -> F32:
    """(52,) of frame ``index``: neutral at first, then a blink, speech, a smile."""
    rng = np.random.default_rng([number, 0xE4])
    loud, glad, rate = rng.uniform(0.2, 0.5), rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.7)
    speech = _during(index, SPEECH) * loud
    syllable = 0.5 - 0.5 * np.cos(rate * (index - SPEECH[0]))
    smile = _during(index, SMILE) * glad
    blink = max(_during(index, (start, start + BLINK_FRAMES)) for start in BLINKS)
    values = {
        "jawOpen": speech * syllable,
        "mouthFunnel": 0.5 * speech * (1.0 - syllable),
        "mouthLowerDownLeft": 0.4 * speech * syllable,
        "mouthLowerDownRight": 0.4 * speech * syllable,
        "browInnerUp": 0.5 * speech,
        "mouthSmileLeft": smile,
        "mouthSmileRight": smile,
        "cheekSquintLeft": 0.4 * smile,
        "cheekSquintRight": 0.4 * smile,
        "eyeBlinkLeft": blink,
        "eyeBlinkRight": blink,
    }
    expression = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, value in values.items():
        expression[ARKIT_NAMES.index(name)] = value
    return expression


def _during(index: int, span: tuple[int, int]) -> float:
    """0 outside, smoothly to 1 in the middle third."""
    share = (index - span[0]) / (span[1] - span[0])
    edge = min(share, 1.0 - share) * 3.0
    return float(smoothstep(0.0, 1.0, np.array(edge)))


def turn_at(index: int, number: int) -> F64:
    """(3, 3) the head's rotation: once to both sides, twice up and down."""
    rng = np.random.default_rng([number, 0x70])
    side, phase = rng.choice([-1.0, 1.0]), rng.uniform(-0.5, 0.5)
    t = 2.0 * np.pi * index / FRAMES
    angles = np.array(
        [
            MAX_PITCH * np.sin(2.0 * t + phase) * rng.uniform(0.6, 1.0),
            side * MAX_YAW * np.sin(t) * rng.uniform(0.85, 1.0),
            MAX_ROLL * np.sin(t + 2.0 * phase),
        ]
    )
    return np.asarray(quaternions.to_matrix(quaternions.from_rotation_vector(angles)), np.float64)


def _turned(vertices: F32, rotation: F64) -> F32:
    """The head turned in its neck, before the camera; the shoulders stay."""
    share = smoothstep(STILL_M, TURNING_M, vertices[:, 1])[:, None]
    turned = (vertices - PIVOT_M) @ rotation.T + PIVOT_M
    placed = vertices + share * (turned - vertices) - [0.0, LOWER_M, DISTANCE_M]
    return np.ascontiguousarray(placed, np.float32)
