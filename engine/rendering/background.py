"""Backgrounds: a picture stretched over the frame, or one made from colours."""

from __future__ import annotations

import moderngl
import numpy as np

from engine.rendering.shaders import BACKGROUND_FRAGMENT, BACKGROUND_VERTEX
from engine.types import U8

Colour = tuple[int, int, int]


def gradient(top: Colour, bottom: Colour, rows: int = 64) -> U8:
    """(rows, 1, 3): a vertical gradient, which the GPU stretches."""
    blend = np.linspace(0.0, 1.0, rows)[:, None, None]
    picture: U8 = np.rint((1 - blend) * np.asarray(top) + blend * np.asarray(bottom)).astype(
        np.uint8
    )
    return picture


def room(seed: int, width: int = 160, height: int = 120) -> U8:
    """(height, width, 3): an out-of-focus room, a wall with a few soft bright and dark things."""
    rng = np.random.default_rng([seed, 0x4001])
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    wall = rng.uniform(110, 200) + rng.uniform(-18, 18, 3)
    picture = np.broadcast_to(wall, (height, width, 3)) * (1.08 - 0.25 * y / height)[..., None]
    for _ in range(7):
        centre, size = rng.uniform(0, (width, height)), rng.uniform(6, 30, 2)
        edge = np.maximum(abs(x - centre[0]) / size[0], abs(y - centre[1]) / size[1])
        cover = 1.0 / (1.0 + np.exp((edge - 1.0) * 8.0))
        picture = (
            picture
            + cover[..., None] * (rng.uniform(40, 210) + rng.uniform(-30, 30, 3) - picture) * 0.6
        )
    clipped: U8 = np.clip(picture, 0, 255).astype(np.uint8)
    return clipped


class BackgroundDrawer:
    """Draws a picture over the whole framebuffer, behind everything."""

    def __init__(self, context: moderngl.Context) -> None:
        self._context = context
        self._program = context.program(BACKGROUND_VERTEX, BACKGROUND_FRAGMENT)
        corners = np.array([0, 0, 1, 0, 0, 1, 1, 1], np.float32)
        self._buffer = context.buffer(corners)
        self._quad = context.vertex_array(self._program, [(self._buffer, "2f", "corner")])
        self._texture = self._upload(gradient((120, 130, 140), (70, 74, 80)))

    def set_picture(self, picture: U8) -> None:
        """Use another (H, W, 3) RGB picture of any size."""
        height, width, _ = picture.shape
        if self._texture.size == (width, height):
            self._texture.write(np.ascontiguousarray(picture).data)
            return
        self._texture.release()
        self._texture = self._upload(picture)

    def draw(self) -> None:
        """Draw; the framebuffer's first row gets the picture's first row."""
        self._texture.use(0)
        self._context.enable_only(moderngl.NOTHING)
        self._quad.render(moderngl.TRIANGLE_STRIP)

    def _upload(self, picture: U8) -> moderngl.Texture:
        height, width, _ = picture.shape
        texture = self._context.texture((width, height), 3, np.ascontiguousarray(picture).data)
        texture.repeat_x = texture.repeat_y = False
        return texture

    def release(self) -> None:
        """Give every OpenGL object back."""
        for item in (self._quad, self._buffer, self._texture, self._program):
            item.release()
