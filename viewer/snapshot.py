"""A picture of an avatar, without a window."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

from PIL import Image

from engine.avatar.topology import FusedAvatar
from engine.errors import AvatarError, PeerError
from engine.inference.store import write_atomically
from engine.types import U8, AvatarState
from stream.client import ClientOptions
from viewer.canvas import Canvas
from viewer.remote import RemoteFeed
from viewer.scene import FRAMINGS, View, frame_mesh

REMOTE_TIMEOUT_S = 30.0


def snapshot(
    avatar: FusedAvatar,
    state: AvatarState,
    path: Path,
    size: tuple[int, int] = (960, 1280),
    view: str = "body",
) -> None:
    """Draw one state to a PNG file, whole or not at all.

    Args:
        avatar: whom to draw.
        state: how.
        path: the file; its folder is made if missing.
        size: width and height in pixels.
        view: one of ``viewer.scene.FRAMINGS``: body, face, side, back.

    Raises:
        AvatarError: an unknown view, a state of another avatar, or a file that cannot be written.
        GraphicsError: no OpenGL here.
    """
    save_png(render(avatar, state, size, view), path)


def render(
    avatar: FusedAvatar,
    state: AvatarState,
    size: tuple[int, int] = (960, 1280),
    view: str = "body",
) -> U8:
    """As :func:`snapshot`, into a (height, width, 3) RGB array."""
    framing = FRAMINGS.get(view)
    if framing is None:
        raise AvatarError(f"the view must be one of {', '.join(FRAMINGS)}, not {view!r}")
    canvas = Canvas(*size)
    try:
        mesh = canvas.scene.pose(avatar, state)
        canvas.draw(mesh, View(frame_mesh(mesh, framing, size[0] / size[1])))
        return canvas.pixels()
    finally:
        canvas.close()


def snapshot_remote(
    options: ClientOptions, path: Path, size: tuple[int, int] = (960, 1280), view: str = "body"
) -> None:
    """Connect, draw the newest state to a PNG file, and leave.

    Raises:
        PeerError: the server is not there, or has nobody in front of its camera.
        AvatarError: as :func:`snapshot`.
        GraphicsError: no OpenGL here.
    """
    feed = RemoteFeed(replace(options, attempts=options.attempts or 3))
    try:
        moment = feed.wait(None, REMOTE_TIMEOUT_S)
        if moment is None:
            raise PeerError(f"there is nothing to draw at {options.url}: {feed.status()}")
        snapshot(moment.avatar, moment.state, path, size, view)
    finally:
        feed.close()


def save_png(picture: U8, path: Path) -> None:
    """Write (H, W, 3) RGB, whole or not at all.

    Raises:
        AvatarError: the file cannot be written.
    """
    try:
        content = io.BytesIO()
        Image.fromarray(picture).save(content, format="PNG")
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise AvatarError(f"the picture {path} cannot be written: {error.strerror}") from error
