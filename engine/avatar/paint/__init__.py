"""A painted skin for the avatar: procedural albedo in Anny's texture space.

Networks trained on people read brows, lips, lashes and irises; a bare body has none of them.
"""

from __future__ import annotations

from engine.avatar.paint.cache import cached_texture
from engine.avatar.paint.look import Look
from engine.avatar.paint.texture import paint_texture

__all__ = ["Look", "cached_texture", "paint_texture"]
