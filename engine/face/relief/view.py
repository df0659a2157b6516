"""One picture's light on the face: what each texel shows, and who is hidden from the camera."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face.relief.grid import Posed
from engine.types import F32, U8, Camera

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
GAMMA = 2.2
"""Of a camera's picture, nearly: sRGB's curve without its linear foot."""
DARKEST, BRIGHTEST = 12.0, 247.0
"""Grey levels beyond which a pixel says nothing about light."""
GRAZING, FACING = 0.30, 0.60
"""Cosines to the camera between which a texel's weight rises from 0 to 1."""
CELL_PX = 4.0
HIDDEN_M = 0.012
"""A texel this far behind the nearest one in its cell is hidden by it: a cheek by the nose."""


class Seen(NamedTuple):
    """One picture in texture space."""

    radiance: F32
    """(H, W) linear luminance in [0, 1]."""
    weights: F32
    """(H, W) in [0, 1]: 0 where the camera does not see the texel."""


def look(image: U8, posed: Posed, camera: Camera) -> Seen:
    """Gather a picture's luminance into texture space.

    Args:
        image: (H, W, 3) RGB.
        posed: the face's texels in camera space.
        camera: that took the picture.
    """
    points = posed.positions_m
    depth = np.minimum(points[..., 2], -1e-3)
    scale = np.asarray(-camera.focal_px / depth, np.float32)
    u = np.asarray(camera.cx + scale * points[..., 0], np.float32)
    v = np.asarray(camera.cy - scale * points[..., 1], np.float32)
    grey = cv2.remap(
        cv2.transform(image, LUMA[None]).reshape(image.shape[:2]).astype(np.float32),
        u,
        v,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0,
    )
    distance = np.linalg.norm(points, axis=-1)
    cosine = -(posed.normals * points).sum(axis=-1) / np.maximum(distance, 1e-6)
    facing = np.clip((cosine - GRAZING) / (FACING - GRAZING), 0.0, 1.0)
    usable = (grey > DARKEST) & (grey < BRIGHTEST) & (distance > 1e-3) & (facing > 0)
    usable &= ~_hidden(u, v, distance, usable)
    radiance = np.power(np.maximum(grey, 1.0) / 255.0, GAMMA)
    return Seen(radiance.astype(np.float32), np.where(usable, facing, 0.0).astype(np.float32))


def _hidden(u: F32, v: F32, distance: F32, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) bool: a coarse depth buffer made of the texels themselves."""
    x = np.floor(u[usable] / CELL_PX).astype(np.int64)
    y = np.floor(v[usable] / CELL_PX).astype(np.int64)
    hidden = np.zeros(usable.shape, bool)
    if not len(x):
        return hidden
    x -= x.min()
    y -= y.min()
    cells = y * (int(x.max()) + 1) + x
    nearest = np.full(int(cells.max()) + 1, np.inf, np.float32)
    np.minimum.at(nearest, cells, distance[usable])
    hidden[usable] = distance[usable] > nearest[cells] + HIDDEN_M
    return hidden
