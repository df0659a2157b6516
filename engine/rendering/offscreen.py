"""Headless pictures of fused meshes: what the performer's camera sees, and snapshots."""

from __future__ import annotations

from types import TracebackType

import numpy as np

from engine.rendering.background import BackgroundDrawer
from engine.rendering.context import create_headless_context
from engine.rendering.light import Light
from engine.rendering.mesh_drawer import MeshDrawer
from engine.rendering.pixels import PixelTarget, check_size
from engine.rendering.projection import projection_matrix
from engine.types import U8, Camera, FusedMesh


class OffscreenRenderer:
    """Draws one mesh over a background into memory. Belongs to the thread that made it.

    >>> with OffscreenRenderer(640, 480) as renderer:
    ...     renderer.set_texture(avatar.texture)
    ...     picture = renderer.render(mesh, camera)
    """

    def __init__(self, width: int, height: int, samples: int = 4) -> None:
        """Open an EGL context.

        Args:
            width: of the pictures, pixels.
            height: of the pictures, pixels.
            samples: per pixel; 0 or 1 draws without antialiasing.

        Raises:
            GraphicsError: no OpenGL here, or a size that it cannot draw.
        """
        check_size(width, height)
        self.width, self.height = width, height
        self._context = create_headless_context()
        self._target = PixelTarget(self._context, width, height, samples)
        self._background = BackgroundDrawer(self._context)
        self._mesh = MeshDrawer(self._context)

    def set_texture(self, albedo: U8 | None) -> None:
        """The avatar's (H, W, 3) RGB albedo; ``None`` is one plain skin colour."""
        self._mesh.set_texture(albedo)

    def set_light(self, light: Light) -> None:
        """Use another light from the next picture on."""
        self._mesh.set_light(light)

    def set_background(self, picture: U8) -> None:
        """Use another (H, W, 3) RGB background of any size, stretched over the frame."""
        self._background.set_picture(picture)

    def render(self, mesh: FusedMesh, camera: Camera, out: U8 | None = None) -> U8:
        """Draw the mesh as ``camera`` sees it.

        Args:
            mesh: in camera space.
            camera: pinhole; a camera of another size than the renderer's is scaled to it.
            out: (height, width, 3) to fill instead of a new array.

        Returns:
            (height, width, 3) RGB, ``out`` if given.
        """
        picture = np.empty((self.height, self.width, 3), np.uint8) if out is None else out
        self._target.framebuffer.use()
        self._target.framebuffer.clear()
        self._background.draw()
        self._mesh.draw(mesh, projection_matrix(camera, flip_y=True))
        self._target.resolve()
        self._target.read_into(picture)
        return picture

    def close(self) -> None:
        """Give the context back; the renderer cannot draw any more."""
        self._mesh.release()
        self._background.release()
        self._context.release()

    def __enter__(self) -> OffscreenRenderer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
