"""The avatar's texture as a JPEG or PNG, and back from untrusted bytes."""

from __future__ import annotations

import io

import cv2
import numpy as np
from PIL import Image

from engine.errors import ModelFileError
from engine.types import U8

MAX_SIDE = 4096
JPEG_QUALITY = 92


def encode_texture(texture: U8) -> bytes:
    """A (H, W, 3) RGB picture as JPEG."""
    settings = [
        *(cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ]
    # Not Pillow: it keeps the interpreter from everybody else for the 60 ms that this takes.
    _, data = cv2.imencode(".jpg", cv2.cvtColor(texture, cv2.COLOR_RGB2BGR), settings)
    return data.tobytes()


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
