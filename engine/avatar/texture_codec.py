"""The avatar's texture as a JPEG or PNG, and back from untrusted bytes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from engine.errors import ModelFileError
from engine.types import U8

MAX_SIDE = 4096
JPEG_QUALITY = 92


def encode_texture(texture: U8) -> bytes:
    """A (H, W, 3) RGB picture as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(texture).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def decode_texture(data: bytes) -> U8:
    """The (H, W, 3) RGB picture of JPEG or PNG bytes.

    Raises:
        ModelFileError: it is neither, damaged, or larger than 4096 pixels a side.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            if max(image.size) > MAX_SIDE:
                raise ModelFileError(
                    f"the avatar's texture is {image.size[0]}x{image.size[1]}, "
                    f"at most {MAX_SIDE} pixels a side are accepted"
                )
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ModelFileError(f"the avatar's texture is not a JPEG or PNG ({error})") from error
