"""The pinhole :class:`~engine.types.Camera` as an OpenGL projection matrix."""

from __future__ import annotations

import numpy as np

from engine.types import F32, Camera

NEAR_M = 0.05
FAR_M = 50.0


def projection_matrix(camera: Camera, *, flip_y: bool = False) -> F32:
    """Camera space (glTF axes) to clip space, exact to the pixel.

    Pixel centres are integers (OpenCV), OpenGL's are halves: hence the 0.5.

    Args:
        camera: the pinhole camera.
        flip_y: draw upside down, so that reading the pixels back yields the top row first.

    Returns:
        (4, 4) float32, row-major: ``clip = matrix @ (x, y, z, 1)``.
    """
    offset_x = 1.0 - 2.0 * (camera.cx + 0.5) / camera.width
    offset_y = 2.0 * (camera.cy + 0.5) / camera.height - 1.0
    matrix = np.zeros((4, 4), np.float32)
    matrix[0, 0] = 2.0 * camera.focal_px / camera.width
    matrix[0, 2] = offset_x
    matrix[1, 1] = 2.0 * camera.focal_px / camera.height
    matrix[1, 2] = offset_y
    matrix[2, 2] = (FAR_M + NEAR_M) / (NEAR_M - FAR_M)
    matrix[2, 3] = 2.0 * FAR_M * NEAR_M / (NEAR_M - FAR_M)
    matrix[3, 2] = -1.0
    if flip_y:
        matrix[1] *= -1.0
    return matrix


def project(points_m: F32, camera: Camera) -> F32:
    """Pixel coordinates of points in camera space (``u = cx + f x / -z``, see ``Camera``).

    Args:
        points_m: (..., 3) with negative z.
        camera: the pinhole camera.

    Returns:
        (..., 2) float32 pixels.
    """
    scale = camera.focal_px / -points_m[..., 2]
    u = camera.cx + points_m[..., 0] * scale
    v = camera.cy - points_m[..., 1] * scale
    return np.stack([u, v], axis=-1).astype(np.float32)
