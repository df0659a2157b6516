"""An OpenGL context without a window."""

from __future__ import annotations

import moderngl

from engine.errors import GraphicsError

CURE = "install EGL and Mesa (Debian: `apt-get install libegl1 libgl1-mesa-dri`)"


def create_headless_context() -> moderngl.Context:
    """An EGL context; Mesa's llvmpipe serves machines without a GPU.

    Raises:
        GraphicsError: there is no usable EGL, or it offers less than OpenGL 3.3.
    """
    try:
        return moderngl.create_context(
            standalone=True,
            require=330,
            backend="egl",  # type: ignore[arg-type]  # wrong stub
        )
    except Exception as error:  # glcontext raises bare Exception, OSError and ValueError
        raise GraphicsError(
            f"pictures need OpenGL 3.3 through EGL, which is not here ({error}); {CURE}"
        ) from error
