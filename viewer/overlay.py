"""Text over the scene: statistics, help, and what is being waited for."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from engine.types import U8
from viewer.panel import Panel

FONT_SIZE = 15
PADDING = 12
REFRESH_S = 0.33
"""Text changes at most this often: numbers that flicker cannot be read."""
INK, PAPER = (35, 42, 52, 255), (255, 255, 255, 200)

HELP = (
    "drag: turn      right drag: move      wheel: zoom",
    "1 body   2 face   3 side   4 back",
    "c camera picture      s statistics",
    "m mirror      w wireframe      g ground",
    "e edit the avatar: then + - p r",
    "f full screen      h this help      Esc quit",
)


def render_text(lines: tuple[str, ...], scale: float = 1.0) -> U8:
    """(H, W, 4) RGBA: dark text on a translucent rounded card just large enough for it."""
    font = ImageFont.load_default(round(FONT_SIZE * scale))
    padding, text = round(PADDING * scale), "\n".join(lines)
    ruler = ImageDraw.Draw(Image.new("RGBA", (1, 1)))
    left, top, right, bottom = ruler.multiline_textbbox((0, 0), text, font=font, spacing=6)
    size = (int(right - left) + 2 * padding, int(bottom - top) + 2 * padding)
    card = Image.new("RGBA", size, (*PAPER[:3], 0))
    draw = ImageDraw.Draw(card)
    draw.rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius=padding, fill=PAPER)
    draw.multiline_text((padding - left, padding - top), text, fill=INK, font=font, spacing=6)
    return np.asarray(card)


def statistics_lines(values: dict[str, float]) -> tuple[str, ...]:
    """``frames_per_s: 29.97`` becomes ``frames per s  30``; three significant digits."""
    return tuple(f"{name.replace('_', ' ')}   {value:.3g}" for name, value in values.items())


class TextPanel:
    """Keeps a texture of some lines and draws it again only when they change."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._lines: tuple[str, ...] = ()
        self._drawn_at_s = -REFRESH_S

    def set_lines(self, lines: tuple[str, ...], now_s: float, scale: float = 1.0) -> None:
        """Show these lines, at the next refresh."""
        if lines == self._lines or now_s - self._drawn_at_s < REFRESH_S:
            return
        self._lines, self._drawn_at_s = lines, now_s
        if lines:
            self._panel.set_picture(render_text(lines, scale))

    def draw(self, target: tuple[int, int], corner: tuple[int, int]) -> None:
        """Draw at ``corner`` (pixels from the top left; negative: from the other side)."""
        if not self._lines:
            return
        x, y = (
            at if at >= 0 else side - own + at
            for at, side, own in zip(corner, target, self._panel.size, strict=True)
        )
        self._panel.draw(target, (x, y), self._panel.size)
