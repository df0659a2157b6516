"""A picture to draw into without a window."""

from __future__ import annotations

import numpy as np

from engine.rendering.context import create_headless_context
from engine.rendering.pixels import PixelTarget, check_size
from engine.types import U8, FusedMesh
from viewer.scene import Scene, View


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
        check_size(width, height)
        self.size = (width, height)
        self.context = create_headless_context()
        self._target = PixelTarget(self.context, width, height, samples)
        self.scene = Scene(self.context, flip_y=True)

    def draw(self, mesh: FusedMesh | None, view: View) -> None:
        """Draw and wait until the graphics processor has finished."""
        self.scene.draw(self._target.framebuffer, mesh, view)
        self._target.resolve()
        self.context.finish()

    def pixels(self) -> U8:
        """(height, width, 3) RGB of what was drawn last."""
        picture = np.empty((self.size[1], self.size[0], 3), np.uint8)
        self._target.read_into(picture)
        return picture

    def close(self) -> None:
        """Give the context back."""
        self.scene.release()
        self.context.release()
