"""Paints the whole albedo texture of an avatar."""

from __future__ import annotations

import cv2
import numpy as np

from engine.avatar.paint.atlas import spread
from engine.avatar.paint.body import (
    ARM_PREFIXES,
    EYE_PREFIXES,
    HEAD_PREFIXES,
    paint_body,
    skin_share,
)
from engine.avatar.paint.brush import noise
from engine.avatar.paint.eyes import paint_eyes
from engine.avatar.paint.face import paint_head
from engine.avatar.paint.look import Look
from engine.avatar.topology import FusedAvatar
from engine.types import F32, U8

PARTS = (ARM_PREFIXES, HEAD_PREFIXES, EYE_PREFIXES)
"""Whose skin shares follow the position in the channels of ``surface``."""


def paint_texture(avatar: FusedAvatar, look: Look | None = None, size: int = 2048) -> U8:
    """A person's albedo in the avatar's texture space.

    The face is placed by texture coordinates, the clothes by rest positions and joints, so any
    identity of the same body model can be painted; the same avatar and look give the same bytes.

    Args:
        avatar: whose topology, rest shape and joints to paint by.
        look: colours and seed.
        size: texels per side; 2048 resolves lashes, 1024 halves the download.

    Returns:
        (size, size, 3) uint8 sRGB.
    """
    look = look or Look()
    rng = np.random.default_rng([look.seed, 0x9A17])
    shares = [skin_share(avatar, prefixes) for prefixes in PARTS]
    values = np.hstack([avatar.rest_vertices_m, *shares])
    sparse, covered = spread(avatar.topology, values, size)
    surface = _bleed(sparse, covered)
    canvas = _skin(look, size, rng)
    paint_head(canvas, surface[..., 3] < 0.5, look, rng)
    paint_body(canvas, surface, avatar, look, rng)
    paint_eyes(canvas, surface[..., :3], surface[..., 5] > 0.5, look, rng)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)


def _skin(look: Look, size: int, rng: np.random.Generator) -> F32:
    """Skin with blotches and grain; cells are fractions of the texture."""
    scale = size / 2048
    shape = (size, size)
    tone = 1.0 + 0.016 * noise(rng, shape, (60 * scale, 60 * scale))
    tone += 0.012 * noise(rng, shape, (9 * scale, 9 * scale))
    tone += 0.010 * noise(rng, shape, (2.0, 2.0))
    redness = 0.014 * noise(rng, shape, (30 * scale, 30 * scale))
    canvas = np.asarray(look.skin, np.float32) * tone[..., None]
    canvas[..., 1] -= 255 * redness * 0.35
    return canvas


def _bleed(values: F32, covered: U8) -> F32:
    """Give texels outside every triangle the value of the nearest one inside."""
    _, labels = cv2.distanceTransformWithLabels(
        1 - covered, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    rows, columns = np.nonzero(covered)
    nearest = np.zeros(int(labels.max()) + 1, np.intp)
    nearest[labels[rows, columns]] = rows * covered.shape[1] + columns
    bled: F32 = values.reshape(-1, values.shape[-1])[nearest[labels]]
    return bled
