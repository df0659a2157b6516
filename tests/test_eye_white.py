"""The whites of the eyes tell of the light: for every skin, and never by a jump."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import pytest

from benchmarks.appearance import in_sockets
from engine.avatar.paint import Look, paint_texture
from engine.avatar.paint.look import IRISES, SKINS, Colour
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.errors import GraphicsError
from engine.face.appearance import AppearanceGatherer
from engine.face.complexion import ComplexionEstimate, encode
from engine.face.eye_white import (
    GAINS,
    LIDS,
    PALEST,
    SCLERA,
    SOCKET,
    TINT,
    EyeWhite,
    eye_white,
    gain_by_white,
)
from engine.face.iris_colour import EYES
from engine.face.landmark_embedding import default_embedding
from engine.face.lighting import LUMINANCE
from engine.face.skin_tone import in_white_light
from engine.face.view import FaceView
from engine.fusion.base_avatar import BaseAvatar
from engine.inference.store import ModelStore
from engine.rendering.light import Light, Vector
from engine.rendering.offscreen import OffscreenRenderer
from engine.rendering.projection import project
from engine.types import ARKIT_NAMES, F32, U8, AvatarState, Camera

SKIN = np.array((0.40, 0.24, 0.16), np.float32)
SURE = 1e6
CAMERA = Camera.from_size(400, 300)
AWAY_M = 0.6
STILL = np.zeros(len(ARKIT_NAMES), np.float32)
WHITE, WARM, COLD = (1.0, 1.0, 1.0), (1.2, 1.0, 0.8), (0.85, 1.0, 1.2)
LIGHTS = {
    "neutral": (1.0, WHITE),
    "dim": (0.5, WHITE),
    "bright": (1.3, WHITE),
    "warm": (1.0, WARM),
    "cold": (1.0, COLD),
    "dim, warm": (0.5, WARM),
    "dim, cold": (0.5, COLD),
}
UNCHANGED = 2.0
"""8-bit levels by which an error may grow where there is nothing to correct."""


def drawn(radius: float, white: F32, skin: F32 = SKIN) -> tuple[U8, F32]:
    """A picture of two eyes that look ahead, and its landmarks."""
    size = round(60 * radius)
    picture = np.tile(skin, (size, size, 1))
    points = np.zeros((478, 3), np.float32)
    for (iris, ring), lids, x in zip(EYES, LIDS, (0.3 * size, 0.7 * size), strict=True):
        centre = np.array((x, size / 2), np.float32)
        around = np.linspace(np.pi, -np.pi, len(lids), endpoint=False)
        points[list(lids), :2] = centre + radius * np.stack(
            [2.4 * np.cos(around), 0.9 * np.sin(around)], axis=1
        )
        quarters = np.arange(4) * np.pi / 2
        points[iris, :2] = centre
        points[list(ring), :2] = centre + radius * np.stack(
            [np.cos(quarters), np.sin(quarters)], axis=1
        )
        y, x_ = np.mgrid[:size, :size]
        within = np.hypot((x_ - centre[0]) / 2.4, (y - centre[1]) / 0.9) < radius
        picture[within] = white
        picture[within & (np.hypot(x_ - centre[0], y - centre[1]) < radius)] = 0.02
    return encode(picture).astype(np.uint8), points


def seen(radius: float, white: F32, skin: F32 = SKIN) -> EyeWhite | None:
    return eye_white(*drawn(radius, white, skin), skin)


def test_the_colour_of_the_whites_is_found_and_nothing_of_iris_or_lid() -> None:
    white = np.array((0.44, 0.40, 0.37), np.float32)
    found = seen(40.0, white)
    assert found is not None
    np.testing.assert_allclose(found.over_skin * SKIN, white, rtol=0.06)
    assert found.trust > 0.9


def test_few_pixels_are_trusted_less_and_tiny_eyes_not_at_all() -> None:
    white = np.array((0.44, 0.40, 0.37), np.float32)
    near, far = seen(12.0, white), seen(3.5, white)
    assert near is not None and far is not None and far.trust < near.trust
    assert seen(2.5, white) is None


def test_what_is_no_whiter_than_skin_is_no_white() -> None:
    assert seen(12.0, 0.6 * SKIN) is None


def test_closed_eyes_those_out_of_the_picture_and_lost_landmarks_show_none() -> None:
    image, points = drawn(12.0, SCLERA)
    shut = points.copy()
    shut[[*LIDS[0], *LIDS[1]], 1] = image.shape[0] / 2
    outside = points + np.array((image.shape[1], 0, 0), np.float32)
    for wrong in (shut, outside, np.full_like(points, np.nan)):
        assert eye_white(image, wrong, SKIN) is None


def test_without_evidence_nothing_changes_and_with_it_never_by_a_jump() -> None:
    white = SCLERA * SOCKET * 0.4 / SKIN
    gains = np.array([gain_by_white(white, SKIN, e) for e in np.linspace(0.0, 20.0, 401)])
    assert np.array_equal(gains[0], np.ones(3))
    assert np.abs(np.diff(np.log(gains), axis=0)).max() < 0.06


def test_light_that_the_whites_show_as_white_and_full_changes_nothing() -> None:
    np.testing.assert_allclose(gain_by_white(SCLERA * SOCKET / SKIN, SKIN, SURE), 1.0, rtol=1e-5)


@pytest.mark.parametrize("light", [0.02, 0.3, 1.0, 3.0, 50.0])
def test_the_correction_is_bounded(light: float) -> None:
    for tint in ((3.0, 1.0, 0.2), (0.2, 1.0, 3.0)):
        white = SCLERA * SOCKET * light * np.array(tint, np.float32) / SKIN
        gain = gain_by_white(white, SKIN, SURE)
        assert gain.min() >= GAINS[0] / TINT - 1e-4 and gain.max() <= GAINS[1] * TINT + 1e-4


def test_nobody_is_brightened_past_the_palest() -> None:
    tone = np.array((0.70, 0.42, 0.30), np.float32)
    gain = gain_by_white(SCLERA * SOCKET * 0.2 / tone, tone, SURE)
    assert LUMINANCE @ tone < PALEST
    np.testing.assert_allclose(gain, PALEST / (LUMINANCE @ tone), rtol=1e-4)


Photograph = Callable[[U8, Light], list[FaceView]]


@pytest.fixture(scope="module")
def avatar(model_cache: ModelStore) -> FusedAvatar:
    return BaseAvatar.load(model_cache).average


@pytest.fixture(scope="module")
def gatherer(avatar: FusedAvatar) -> AppearanceGatherer:
    return AppearanceGatherer(avatar)


@pytest.fixture(scope="module")
def photograph(avatar: FusedAvatar) -> Photograph:
    """Three turns of the head through a webcam: its lens, and half the resolution in colour."""
    try:
        renderer = OffscreenRenderer(CAMERA.width, CAMERA.height, samples=1)
    except GraphicsError as error:
        pytest.skip(str(error))
    poser, embedding = Poser(avatar), default_embedding()
    head = avatar.joint_names.index("head")

    def views(texture: U8, light: Light) -> list[FaceView]:
        renderer.set_texture(texture)
        renderer.set_light(light)
        taken = []
        for turn in (-0.2, 0.0, 0.2):
            rotations = np.tile(np.array([0, 0, 0, 1], np.float32), (len(avatar.parents), 1))
            rotations[head] = (0.0, np.sin(turn / 2), 0.0, np.cos(turn / 2))
            place = -avatar.joints_m[head] - np.array([0.0, 0.06, AWAY_M], np.float32)
            mesh = poser.pose(AvatarState(0, 0, 0, rotations, place, STILL, CAMERA))
            mesh = replace(mesh, vertices_m=mesh.vertices_m.copy(), normals=mesh.normals.copy())
            picture = cv2.GaussianBlur(renderer.render(mesh, CAMERA), (3, 3), 0.6)
            coded = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            image = np.asarray(cv2.cvtColor(coded, cv2.COLOR_YUV2RGB_I420), np.uint8)
            points = project(embedding.landmarks_m(mesh.vertices_m) + embedding.offset_m, CAMERA)
            landmarks = np.hstack([points, np.zeros((len(points), 1))]).astype(np.float32)
            taken.append(FaceView(image, mesh, CAMERA, STILL, avatar.rest_vertices_m, landmarks))
        return taken

    return views


def lit(light: Light, power: float, tint: Vector) -> Light:
    """The same light through a filter."""

    def filtered(colour: Vector) -> Vector:
        red, green, blue = (power * t * c for t, c in zip(tint, colour, strict=True))
        return red, green, blue

    return replace(
        light,
        key=filtered(light.key),
        fill=filtered(light.fill),
        sky=filtered(light.sky),
        ground=filtered(light.ground),
    )


@pytest.mark.slow
@pytest.mark.parametrize("skin", SKINS)
def test_every_skin_comes_closer_to_what_it_is_in_every_light(
    avatar: FusedAvatar, gatherer: AppearanceGatherer, photograph: Photograph, skin: Colour
) -> None:
    texture = in_sockets(paint_texture(avatar, Look(skin=skin, iris=IRISES[0], seed=5)))
    for (name, filtered), room in product(LIGHTS.items(), (Light(), Light.varied(1))):
        estimate = ComplexionEstimate()
        tones = []
        for view in photograph(texture, lit(room, *filtered)):
            gatherer.reset()
            assert gatherer.observe(view) > 0.0
            found = gatherer._complexion._tone.colour
            assert found is not None
            tones.append(found)
            estimate.add(view, found, 1.0)
        assert estimate.skin is not None
        before = np.exp(np.log(tones).mean(axis=0)).astype(np.float32)
        errors = [
            float(np.abs(encode(colour) - skin).mean())
            for colour in (in_white_light(before), estimate.skin)
        ]
        if "dim" in name:
            assert errors[1] < 0.75 * errors[0], name
        else:
            assert errors[1] < errors[0] + UNCHANGED, name
