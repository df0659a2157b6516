"""How well a picture of a face can be read: a face in the dark gives landmarks, but not its own."""

from __future__ import annotations

import numpy as np

from engine.types import U8, FaceLandmarks

UNREADABLE, READABLE = 5.0, 15.0
"""Standard deviation of the face's brightness, of 255: nothing is seen; all that there is."""
SAMPLES = 64
"""Rows and columns looked at, at most."""


def legibility(image: U8, face: FaceLandmarks) -> float:
    """In [0, 1], by the contrast within the face's box; costs some ten microseconds.

    Args:
        image: (H, W, 3) RGB.
        face: where it is.
    """
    height, width = image.shape[:2]
    points = face.points_px[:, :2]
    left, top = np.maximum(points.min(axis=0), 0.0)
    right, bottom = np.minimum(points.max(axis=0), (width - 1.0, height - 1.0))
    if not (right - left > 1.0 and bottom - top > 1.0):
        return 0.0
    rows = slice(int(top), int(bottom), max(1, int(bottom - top) // SAMPLES))
    columns = slice(int(left), int(right), max(1, int(right - left) // SAMPLES))
    # Green is most of what brightness is.
    contrast = float(image[rows, columns, 1].std())
    return float(np.clip((contrast - UNREADABLE) / (READABLE - UNREADABLE), 0.0, 1.0))
