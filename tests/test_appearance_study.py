"""The appearance evaluation: what it calls an error is one, and what it calls a seam is seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.appearance import Error, compare, face_colours, neck_of
from engine.avatar.paint.atlas import HEAD
from engine.avatar.topology import FusedAvatar
from engine.errors import GraphicsError
from engine.face.face_atlas import FaceAtlas
from engine.fusion.base_avatar import BaseAvatar
from engine.inference.store import ModelStore


@pytest.fixture(scope="module")
def avatar(model_cache: ModelStore) -> FusedAvatar:
    return BaseAvatar.load(model_cache).average


@pytest.fixture(scope="module")
def atlas(avatar: FusedAvatar) -> FaceAtlas:
    return FaceAtlas.of(avatar.topology)


def test_exposure_is_an_error_of_colour_and_none_of_detail(
    avatar: FusedAvatar, atlas: FaceAtlas
) -> None:
    truth = avatar.texture
    assert truth is not None
    assert Error.of(truth, truth, atlas) == Error(0.0, 0.0)
    darker = Error.of(np.rint(truth * 0.8).astype(np.uint8), truth, atlas)
    mean = face_colours(truth, atlas).mean()
    assert darker.colour == pytest.approx(0.2 * mean, rel=0.01)
    assert darker.detail < 0.5


def test_a_lost_feature_is_an_error_of_detail(avatar: FusedAvatar, atlas: FaceAtlas) -> None:
    truth = avatar.texture
    assert truth is not None
    flat = np.broadcast_to(face_colours(truth, atlas).mean(axis=0), truth.shape).astype(np.uint8)
    assert Error.of(flat, truth, atlas).detail > 5.0


def test_a_face_that_was_never_gathered_has_no_error(avatar: FusedAvatar, atlas: FaceAtlas) -> None:
    truth = avatar.texture
    assert truth is not None
    assert math.isnan(Error.of(None, truth, atlas).colour)


@pytest.mark.parametrize("step", [0, 15, 100])
def test_a_head_of_another_colour_than_the_neck_is_a_seam_however_large(
    avatar: FusedAvatar, step: int
) -> None:
    texture = np.full((2048, 2048, 3), 120, np.uint8)
    texture[HEAD.window(2048)] += np.uint8(step)
    neck = neck_of(texture, avatar)
    assert neck.median == pytest.approx(step)
    assert neck.inside_p95 == 0.0


@pytest.mark.slow
def test_gathered_skin_is_closer_than_the_default(model_cache: ModelStore) -> None:
    try:
        rows = list(compare([1], frames=48))
    except GraphicsError as error:
        pytest.skip(str(error))
    assert [row.light for row in rows] == [1, 101]
    for row in rows:
        assert row.true_pose.colour < 0.5 * row.default.colour
        assert row.true_pose.detail < row.default.detail
        assert row.tracked.colour < 0.5 * row.default.colour
        assert min(row.observe_ms) > 0.0 and len(row.compose_ms) == 6
