"""Real pictures, cut and scaled as a network takes them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from engine.inference.catalog import Network
from engine.types import F32, U8

ASTRONAUT_FACE = (10, 220, 119, 329)
"""Top, bottom, left, right of the face in ``skimage.data.astronaut()``."""


def astronaut() -> U8:
    """(512, 512, 3) RGB portrait, public domain."""
    from skimage import data

    return np.asarray(data.astronaut())


def astronaut_face() -> U8:
    """(210, 210, 3) RGB."""
    top, bottom, left, right = ASTRONAUT_FACE
    return astronaut()[top:bottom, left:right]


def video_frame(path: Path, index: int) -> U8:
    """(H, W, 3) RGB."""
    video = cv2.VideoCapture(str(path))
    for _ in range(index + 1):
        found, image = video.read()
    assert found, f"{path} has no frame {index}"
    return np.asarray(image[..., ::-1])


def as_input(picture: U8, network: Network) -> F32:
    """(1, 3, H, W) in the network's value range."""
    height, width = network.size
    scaled = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    if network.channel_means is not None:
        values = (scaled - np.array(network.channel_means, np.float32)) / 256
    else:
        low, high = network.value_range
        values = scaled / 255 * (high - low) + low
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None])
