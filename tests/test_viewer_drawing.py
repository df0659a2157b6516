"""Pictures without a window: the avatar is in them, upright, and follows its state."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from rigs import JOINTS, synthetic_avatar

from engine.errors import AvatarError, GraphicsError
from engine.types import ARKIT_NAMES, AvatarState, Camera
from viewer.feed import LocalFeed, Moment
from viewer.snapshot import render, snapshot

SIZE = (160, 120)


def rest_state(index: int = 0) -> AvatarState:
    rotations = np.tile(np.array([0, 0, 0, 1], np.float32), (JOINTS, 1))
    expression = np.zeros(len(ARKIT_NAMES), np.float32)
    translation = np.array([0, 0, -2], np.float32)
    camera = Camera.from_size(640, 480)
    return AvatarState(index, 0, 3, rotations, translation, expression, camera)


@pytest.fixture(scope="module", autouse=True)
def graphics():
    """Skip where there is no OpenGL, as on a bare server."""
    try:
        return render(synthetic_avatar(), rest_state(), SIZE)
    except GraphicsError as error:
        pytest.skip(str(error))


def figure(picture: np.ndarray) -> np.ndarray:
    """Where the reddish avatar covers the bluish grey background."""
    return picture[..., 0].astype(int) > picture[..., 2].astype(int) + 10


def test_the_avatar_is_in_the_middle_of_the_picture(graphics):
    _, xs = np.nonzero(figure(graphics))
    assert abs(xs.mean() - SIZE[0] / 2) < 4
    assert len(xs) > 0.1 * graphics[..., 0].size
    assert not figure(graphics)[:, :5].any() and not figure(graphics)[:, -5:].any()


def test_light_comes_from_above_and_the_floor_is_below(graphics):
    ys, xs = np.nonzero(figure(graphics))
    brightness = graphics.sum(axis=2)[ys, xs]
    assert brightness[ys < ys.mean()].mean() > brightness[ys > ys.mean()].mean()


def test_expression_changes_the_picture(graphics):
    smiling = replace(rest_state(), expression=np.ones(len(ARKIT_NAMES), np.float32))
    assert (render(synthetic_avatar(), smiling, SIZE) != graphics).any()


def test_a_snapshot_is_a_png_of_the_asked_size(tmp_path):
    path = tmp_path / "new" / "avatar.png"
    snapshot(synthetic_avatar(), rest_state(), path, SIZE, "side")
    with Image.open(path) as picture:
        assert picture.size == SIZE
    assert [entry.name for entry in path.parent.iterdir()] == ["avatar.png"]


def test_what_cannot_be_drawn_is_said_in_one_sentence(tmp_path):
    with pytest.raises(AvatarError, match="body, face, side, back"):
        render(synthetic_avatar(), rest_state(), SIZE, "above")
    with pytest.raises(GraphicsError, match="1 to"):
        render(synthetic_avatar(), rest_state(), (0, 10))
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    with pytest.raises(AvatarError, match="cannot be written"):
        snapshot(synthetic_avatar(), rest_state(), blocked / "avatar.png", SIZE)


def test_a_feed_keeps_the_newest_moment_and_wakes_who_waits():
    feed, avatar = LocalFeed(), synthetic_avatar()
    assert feed.newest() is None and feed.status()
    assert feed.wait(None, 0.01) is None
    late = Moment(avatar, rest_state(2))
    threading.Timer(0.02, feed.publish, [late]).start()
    assert feed.wait(None, 5.0) is late
    assert feed.wait(late, 0.01) is None
    assert not feed.status()
    feed.fail(AvatarError("the camera is gone"))
    with pytest.raises(AvatarError, match="gone"):
        feed.wait(late, 5.0)
