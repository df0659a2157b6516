"""A framebuffer whose pixels can be read: antialiased while drawn, plain when read."""

from __future__ import annotations

import moderngl

from engine.errors import GraphicsError
from engine.types import U8

MAX_SIDE = 8192


def check_size(width: int, height: int) -> None:
    """Raise GraphicsError for a size that cannot be drawn: cheap, so before opening a context."""
    if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
        raise GraphicsError(f"pictures are 1 to {MAX_SIDE} pixels a side, not {width}x{height}")


class PixelTarget:
    """What pictures without a window are drawn into."""

    def __init__(
        self, context: moderngl.Context, width: int, height: int, samples: int = 4
    ) -> None:
        """Allocate it.

        Args:
            context: current on this thread.
            width: pixels, as :func:`check_size` allows.
            height: pixels.
            samples: per pixel; 0 or 1 draws without antialiasing.
        """
        self._context = context
        self._resolved = context.simple_framebuffer((width, height), 4)
        samples = min(samples, context.max_samples)
        self.framebuffer = (
            context.simple_framebuffer((width, height), 4, samples=samples)
            if samples > 1
            else self._resolved
        )
        """To draw into."""

    def resolve(self) -> None:
        """Bring the samples together; due after drawing and before reading."""
        if self.framebuffer is not self._resolved:
            self._context.copy_framebuffer(self._resolved, self.framebuffer)

    def read_into(self, picture: U8) -> None:
        """Copy into (height, width, 3) RGB, the framebuffer's first row first."""
        self._resolved.read_into(picture, components=3, alignment=1)
