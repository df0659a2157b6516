"""A picture on top of the scene, in window pixels: the camera inset and the text overlay."""

from __future__ import annotations

import moderngl
import numpy as np

from engine.types import U8

PANEL_VERTEX = """
#version 330
uniform vec4 rectangle;
in vec2 corner;
out vec2 v_uv;
void main() {
    v_uv = vec2(corner.x, 1.0 - corner.y);
    gl_Position = vec4(mix(rectangle.xy, rectangle.zw, corner), 0.0, 1.0);
}
"""

PANEL_FRAGMENT = """
#version 330
uniform sampler2D picture;
uniform bool mirror;
in vec2 v_uv;
out vec4 colour;
void main() { colour = texture(picture, mirror ? vec2(1.0 - v_uv.x, v_uv.y) : v_uv); }
"""


class Panel:
    """One picture and where it goes."""

    def __init__(self, context: moderngl.Context) -> None:
        self._context = context
        self._program = context.program(PANEL_VERTEX, PANEL_FRAGMENT)
        self._corners = context.buffer(np.array([0, 0, 1, 0, 0, 1, 1, 1], np.float32))
        self._quad = context.vertex_array(self._program, [(self._corners, "2f", "corner")])
        self._texture: moderngl.Texture | None = None

    def set_picture(self, picture: U8) -> None:
        """Use another (H, W, 3) RGB or (H, W, 4) RGBA picture, not premultiplied."""
        height, width, channels = picture.shape
        data = np.ascontiguousarray(picture)
        shape = (width, height, channels)
        if self._texture is not None and (*self._texture.size, self._texture.components) == shape:
            self._texture.write(data)
            return
        if self._texture is not None:
            self._texture.release()
        self._texture = self._context.texture((width, height), channels, data)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, (0, 0) before there is one."""
        return (0, 0) if self._texture is None else self._texture.size

    def draw(
        self,
        target: tuple[int, int],
        corner: tuple[int, int],
        size: tuple[int, int],
        *,
        mirror: bool = False,
    ) -> None:
        """Draw over what is there.

        Args:
            target: the framebuffer's width and height, pixels.
            corner: the panel's top left, pixels from the framebuffer's top left.
            size: the panel's width and height, pixels.
            mirror: swap left and right.
        """
        if self._texture is None:
            return
        left, top = corner[0] / target[0] * 2 - 1, 1 - corner[1] / target[1] * 2
        right, bottom = left + size[0] / target[0] * 2, top - size[1] / target[1] * 2
        self._program["rectangle"] = (left, bottom, right, top)
        self._program["mirror"] = mirror
        self._context.enable_only(moderngl.BLEND)
        self._context.blend_func = (moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA)
        self._texture.use(0)
        self._quad.render(moderngl.TRIANGLE_STRIP)
