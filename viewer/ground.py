"""The floor: a faint grid that fades into the background, and the avatar's soft shadow.

The shadow is the avatar seen from straight above, drawn into a small texture in which a point is
the darker the nearer it is to the floor, then blurred by its own mipmaps.
"""

from __future__ import annotations

import moderngl
import numpy as np

from engine.types import F32

SHADOW_PIXELS = 128
EXTENT_M = 1.6
"""Half the side of the square around the avatar that the shadow texture covers."""
RISE_PER_FRAME = 0.002
"""The floor follows lower feet at once and higher ones slowly: a jump is not an earthquake."""

SHADOW_VERTEX = """
#version 330
uniform vec3 floor_centre;
uniform float extent;
in vec3 position;
out float height;
void main() {
    vec3 p = position - floor_centre;
    height = p.y;
    gl_Position = vec4(p.x / extent, p.z / extent, 0.0, 1.0);
}
"""

SHADOW_FRAGMENT = """
#version 330
in float height;
out vec4 colour;
void main() { colour = vec4(exp(-2.2 * max(height, 0.0))); }
"""

GROUND_VERTEX = """
#version 330
uniform mat4 projection;
uniform vec3 floor_centre;
uniform float size;
in vec2 corner;
out vec2 v_offset;
out vec2 v_world;
void main() {
    v_offset = (corner * 2.0 - 1.0) * size;
    vec3 p = floor_centre + vec3(v_offset.x, 0.0, v_offset.y);
    v_world = p.xz;
    gl_Position = projection * vec4(p, 1.0);
}
"""

GROUND_FRAGMENT = """
#version 330
uniform sampler2D shadow;
uniform float extent;
uniform float size;
uniform float grid;
in vec2 v_offset;
in vec2 v_world;
out vec4 colour;
void main() {
    vec2 uv = v_offset / extent * 0.5 + 0.5;
    float dark = 0.0;
    if (all(greaterThan(uv, vec2(0.0))) && all(lessThan(uv, vec2(1.0))))
        dark = 0.45 * textureLod(shadow, uv, 2.0).r + 0.25 * textureLod(shadow, uv, 3.5).r;
    vec2 spacing = abs(fract(v_world / 0.5 + 0.5) - 0.5) * 0.5;
    vec2 width = fwidth(v_world);
    vec2 line = 1.0 - smoothstep(width * 0.5, width * 1.5, spacing);
    float fade = 1.0 - smoothstep(0.2, 1.0, length(v_offset) / size);
    float lines = grid * 0.10 * max(line.x, line.y) * fade;
    float light = step(dark, lines);
    colour = vec4(vec3(light), mix(dark, lines, light));
}
"""


def follow_floor(floor_y: float | None, lowest_y: float) -> float:
    """The floor's height for this frame from the one before and the lowest vertex, metres."""
    if floor_y is None or lowest_y < floor_y:
        return lowest_y
    return floor_y + RISE_PER_FRAME * (lowest_y - floor_y)


class GroundDrawer:
    """Draws floor and shadow after the avatar, so that depth hides what feet stand on."""

    def __init__(self, context: moderngl.Context, size_m: float = 4.0) -> None:
        self._context = context
        self._shadow_program = context.program(SHADOW_VERTEX, SHADOW_FRAGMENT)
        self._program = context.program(GROUND_VERTEX, GROUND_FRAGMENT)
        self._texture = context.texture((SHADOW_PIXELS, SHADOW_PIXELS), 1)
        self._texture.repeat_x = self._texture.repeat_y = False
        self._texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        self._framebuffer = context.framebuffer([self._texture])
        self._corners = context.buffer(np.array([0, 0, 1, 0, 0, 1, 1, 1], np.float32))
        self._quad = context.vertex_array(self._program, [(self._corners, "2f", "corner")])
        self._program["size"] = size_m
        self._program["extent"] = self._shadow_program["extent"] = EXTENT_M

    @property
    def shadow_program(self) -> moderngl.Program:
        """Takes ``position`` and writes the shadow; what ``cast`` renders must be made for it."""
        return self._shadow_program

    def cast(self, caster: moderngl.VertexArray, floor_centre: tuple[float, float, float]) -> None:
        """Draw the shadow texture; the caller binds its own framebuffer again afterwards."""
        self._framebuffer.use()
        self._framebuffer.clear()
        self._shadow_program["floor_centre"] = floor_centre
        self._context.enable_only(moderngl.BLEND)
        self._context.blend_equation = (moderngl.MAX, moderngl.MAX)
        caster.render()
        self._context.blend_equation = (moderngl.FUNC_ADD, moderngl.FUNC_ADD)
        self._texture.build_mipmaps()

    def draw(
        self, floor_centre: tuple[float, float, float], projection: F32, *, grid: bool = True
    ) -> None:
        """Draw the floor into the bound framebuffer.

        Args:
            floor_centre: a point of the floor under the avatar, metres.
            projection: (4, 4) row-major, to clip space.
            grid: with lines every half metre.
        """
        self._program["floor_centre"] = floor_centre
        self._program["projection"] = tuple(projection.T.ravel().tolist())
        self._program["grid"] = float(grid)
        self._texture.use(0)
        self._context.enable_only(moderngl.DEPTH_TEST | moderngl.BLEND)
        self._context.blend_func = (moderngl.SRC_ALPHA, moderngl.ONE_MINUS_SRC_ALPHA)
        self._quad.render(moderngl.TRIANGLE_STRIP)

    def release(self) -> None:
        """Give every OpenGL object back."""
        programs = (self._shadow_program, self._program)
        for item in (self._quad, self._corners, self._framebuffer, self._texture, *programs):
            item.release()
