"""A picture of an avatar, without a window."""

from __future__ import annotations

import tempfile
from pathlib import Path

from PIL import Image

from engine.avatar.topology import FusedAvatar
from engine.errors import AvatarError
from engine.types import U8, AvatarState
from viewer.canvas import Canvas
from viewer.scene import FRAMINGS, View, frame_mesh


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


def save_png(picture: U8, path: Path) -> None:
    """Write (H, W, 3) RGB, whole or not at all.

    Raises:
        AvatarError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as part:
            Image.fromarray(picture).save(part, format="PNG")
        Path(part.name).replace(path)
    except OSError as error:
        raise AvatarError(f"the picture {path} cannot be written: {error.strerror}") from error
