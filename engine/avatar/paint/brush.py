"""The few strokes that every painter here uses: blend, soften, noise."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.types import F32

Cover = NDArray[Any]
Mask = NDArray[np.bool_]


def smoothstep(low: float, high: float, x: Cover) -> F32:
    """0 at ``low``, 1 at ``high`` (which may be the smaller), smooth between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)


def blend(canvas: F32, colour: tuple[float, ...] | Cover, alpha: Cover) -> None:
    """Lay a colour over the canvas in place.

    Args:
        canvas: (H, W, 3).
        colour: three numbers, or an (H, W, 3) picture.
        alpha: (H, W) cover in [0, 1].
    """
    cover = np.asarray(alpha, np.float32)[..., None]
    canvas += cover * (np.asarray(colour, np.float32) - canvas)


def shade(canvas: F32, factor: Cover) -> None:
    """Multiply the canvas by an (H, W) factor in place."""
    canvas *= factor[..., None]


def spot(u: Cover, v: Cover, centre: tuple[float, float], radius: tuple[float, float]) -> F32:
    """A Gaussian spot: 1 at the centre, 0.6 at one radius."""
    distance = ((u - centre[0]) / radius[0]) ** 2 + ((v - centre[1]) / radius[1]) ** 2
    cover: F32 = np.exp(-0.5 * distance).astype(np.float32)
    return cover


def noise(rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float]) -> F32:
    """Smooth noise of unit variance, with features ``cell`` (rows, columns) texels large."""
    rows, columns = (max(2, round(n / c) + 1) for n, c in zip(shape, cell, strict=True))
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    fine = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(fine / max(float(fine.std()), 1e-6), np.float32)


def polygon(
    points_uv: F32, origin: tuple[int, int], shape: tuple[int, int], size: int, blur: float
) -> F32:
    """Cover of a filled polygon with a soft edge.

    Args:
        points_uv: (P, 2) texture coordinates.
        origin: first row and column of the window.
        shape: rows and columns of the window.
        size: texels per side of the texture.
        blur: standard deviation of the edge, texels.
    """
    mask = np.zeros(shape, np.uint8)
    corners = points_uv * size - 0.5 - np.array([origin[1], origin[0]])
    cv2.fillPoly(mask, [np.rint(corners * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255.0, (0, 0), max(blur, 0.3))
    return np.asarray(soft, np.float32)
