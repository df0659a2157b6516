"""The colour of somebody's eyes, from the few pixels that a webcam has of them."""

from __future__ import annotations

import numpy as np

from engine.face.texture_gather import LINEAR
from engine.types import F32, U8

EYES = ((468, (469, 470, 471, 472)), (473, (474, 475, 476, 477)))
"""Centre and ring of each iris among the landmarks."""
LEAST_RADIUS_PX = 2.5
"""A smaller iris is all edge."""
RING = (0.45, 0.85)
"""Between pupil and limbus, in radii,"""
BELOW = -0.35
"""and below the upper lid's shadow: lowest sine of the direction, y down."""
BRIGHTEST = 245


def iris_colour(image: U8, points_px: F32) -> F32 | None:
    """(3,) linear RGB: the median over what is seen of both irises.

    Args:
        image: (H, W, 3) RGB.
        points_px: (478, 3) landmarks.

    Returns:
        ``None`` where the irises are too small or out of the picture.
    """
    seen = [_ring(image, points_px[centre, :2], points_px[list(ring), :2]) for centre, ring in EYES]
    pixels = np.concatenate(seen)
    pixels = pixels[pixels.max(axis=1) < BRIGHTEST] if len(pixels) else pixels
    if len(pixels) < 8:
        return None
    return np.asarray(np.median(LINEAR[pixels], axis=0), np.float32)


def _ring(image: U8, centre: F32, ring: F32) -> U8:
    """(M, 3) pixels between pupil and limbus of one eye."""
    radius = float(np.linalg.norm(ring - centre, axis=1).mean())
    height, width, _ = image.shape
    x0, y0 = (int(value - radius) for value in centre)
    x1, y1 = (int(value + radius) + 2 for value in centre)
    if radius < LEAST_RADIUS_PX or x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return np.empty((0, 3), np.uint8)
    x, y = np.arange(x0, x1) - centre[0], (np.arange(y0, y1) - centre[1])[:, None]
    distance = np.hypot(x, y) / radius
    chosen = (distance > RING[0]) & (distance < RING[1]) & (y > BELOW * radius)
    pixels: U8 = image[y0:y1, x0:x1][chosen]
    return pixels
