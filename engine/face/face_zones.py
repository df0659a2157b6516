"""Which part of the face each texel belongs to, as far as looking at skin is concerned.

The same texture coordinates that place the paint (see :mod:`engine.avatar.paint.face`) say where
hair may grow, where lids and lips move, and where nothing but skin is to be expected.
"""

from __future__ import annotations

from enum import IntFlag
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from engine.avatar.paint.atlas import MIDLINE
from engine.avatar.paint.face import (
    BROW_OFF,
    BROW_U,
    EYE_SLIT,
    EYE_SLIT_U,
    HAIR_LINE,
    LIPS,
    MOUTH_HALF,
    MOUTH_U,
)
from engine.face.face_atlas import FaceAtlas
from engine.types import F32

LID_REACH = 0.0125
"""How far off the eye's slit lids and lashes are, in texture coordinates;"""
SOCKET_REACH = 0.017
"""and how far their folds and shadows."""
LIP_MARGIN = 0.006
LID_RIM, LIP_RIM = 0.0042, 0.0020
BROW_HALF_HEIGHT = 0.0065
NOSTRILS = (0.8810, 0.0085)
NOSTRIL_REACH = (0.0065, 0.0075)
BEARD_U = 0.886
"""A beard grows below the nose,"""
BEARD_RISE, BEARD_CHEEK = 0.75, 0.050
"""and higher towards the ears."""
BEARD_OFF = 0.085
"""and is told from hair that hangs down up to here."""
PLAIN_OFF = 0.090


Zones: TypeAlias = NDArray[np.uint16]


class Zone(IntFlag):
    """What may be true of a texel besides being skin."""

    HAIRY = 1
    """Hair may grow here: scalp, brows, beard. Where it hangs into the face it is in the way."""
    DARK = 2
    """Dark for other reasons: lashes, folds of the lids, nostrils."""
    LIPS = 4
    """Redder than skin."""
    LIDS = 8
    """Moves when the eyes shut."""
    MOUTH = 16
    """Hidden, or torn open, when the mouth opens."""
    PLAIN = 32
    """Bare skin on nearly everybody: what tells of light and complexion."""
    SCALP = 64
    """Under the hair of the painted default."""
    RIM = 128
    """Inner sides of lids and lips: never seen at rest, or not for long."""
    BROW = 256
    """Around the painted brows."""


def face_zones(atlas: FaceAtlas) -> Zones:
    """(N,) :class:`Zone` flags of the atlas' texels."""
    u, side = atlas.uvs[:, 0], atlas.uvs[:, 1] - np.float32(MIDLINE)
    off = np.abs(side)
    eye = np.hypot(u - EYE_SLIT_U, off - np.clip(off, *EYE_SLIT))
    brow = np.abs(u - np.interp(off, BROW_OFF, BROW_U)) < BROW_HALF_HEIGHT
    brow &= (off > BROW_OFF[0] - 0.004) & (off < BROW_OFF[-1] + 0.004)
    beard = u > BEARD_U - BEARD_RISE * np.maximum(off - BEARD_CHEEK, 0.0)
    nostril = np.hypot((u - NOSTRILS[0]) / NOSTRIL_REACH[0], (off - NOSTRILS[1]) / NOSTRIL_REACH[1])
    lips = _near_lips(u, side)
    slit = np.hypot(u - MOUTH_U, np.maximum(off - MOUTH_HALF, 0.0))
    scalp = u < np.interp(off, *HAIR_LINE)
    hairy = brow | scalp | (beard & (off < BEARD_OFF))
    dark = (eye < SOCKET_REACH) | (nostril < 1.0)
    inside = atlas.in_face.astype(bool) & (off < PLAIN_OFF)
    plain = inside & ~(brow | scalp | lips | dark)
    zones = np.zeros(len(u), np.uint16)
    for flag, where in (
        (Zone.HAIRY, hairy),
        (Zone.DARK, dark),
        (Zone.LIPS, lips),
        (Zone.LIDS, eye < LID_REACH),
        (Zone.MOUTH, slit < LIP_MARGIN),
        (Zone.RIM, (eye < LID_RIM) | (slit < LIP_RIM)),
        (Zone.PLAIN, plain),
        (Zone.SCALP, scalp),
        (Zone.BROW, brow),
    ):
        zones[where] |= np.uint16(flag)
    return zones


def _near_lips(u: F32, side: F32) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Within a margin of the vermilion border: an ellipse around it is close enough."""
    low, high = LIPS.min(axis=0) - LIP_MARGIN, LIPS.max(axis=0) + LIP_MARGIN
    middle, half = (low + high) / 2, (high - low) / 2
    return np.asarray(((u - middle[0]) / half[0]) ** 2 + ((side - middle[1]) / half[1]) ** 2 < 1.0)
