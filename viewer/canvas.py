"""A picture to draw into without a window."""

from __future__ import annotations

import numpy as np

from engine.errors import GraphicsError
from engine.rendering.context import create_headless_context
from engine.types import U8, FusedMesh
from viewer.scene import Scene, View

MAX_SIDE = 8192


class Canvas:
    """An EGL context, a scene, and the pixels they draw. Belongs to the thread that made it."""

    def __init__(self, width: int, height: int, samples: int = 4) -> None:
        """Open an EGL context.

        Args:
            width: pixels.
            height: pixels.
            samples: per pixel; 1 draws without antialiasing.

        Raises:
            GraphicsError: no OpenGL here, or a size that it cannot draw.
        """
        if not (0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE):
            raise GraphicsError(f"pictures are 1 to {MAX_SIDE} pixels a side, not {width}x{height}")
        self.size = (width, height)
        self.context = create_headless_context()
        samples = min(samples, self.context.max_samples)
        self._resolved = self.context.simple_framebuffer(self.size, 4)
        self._drawn = self._resolved
        if samples > 1:
            self._drawn = self.context.simple_framebuffer(self.size, 4, samples=samples)
        self.scene = Scene(self.context, flip_y=True)

    def draw(self, mesh: FusedMesh | None, view: View) -> None:
        """Draw and wait until the graphics processor has finished."""
        self.scene.draw(self._drawn, mesh, view)
        if self._drawn is not self._resolved:
            self.context.copy_framebuffer(self._resolved, self._drawn)
        self.context.finish()

    def pixels(self) -> U8:
        """(height, width, 3) RGB of what was drawn last."""
        picture = np.empty((self.size[1], self.size[0], 3), np.uint8)
        self._resolved.read_into(picture, components=3, alignment=1)
        return picture

    def close(self) -> None:
        """Give the context back."""
        self.scene.release()
        self.context.release()
