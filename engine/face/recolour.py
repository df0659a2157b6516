"""The painted default in somebody else's skin and hair, in a few milliseconds per stripe.

The painter's strokes scale with the colours they are given, so a texel that mixes skin and hair in
shares m and 1 - m changes by ``(m skin' + (1 - m) hair') / (m skin + (1 - m) hair)``. Which share
it has is read off its brightness between the two; clothes, shoes and eyes are told by place and
hue. Painting anew would take seconds and a hundred megabytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numba import njit

from engine.avatar.paint.atlas import (
    EYE_CAVITIES,
    EYE_FRONTS,
    HEAD,
    MOUTH_BAG,
    TONGUE,
    Island,
)
from engine.avatar.paint.look import Look
from engine.types import F32, U8

ROWS = 64
"""Texture rows per call of the kernel."""
LEVELS = 256
SHINES_THROUGH = np.float32(0.06)
"""The painter lays hair on skin with so much of it left;"""
STRANDS = np.float32(1.3)
"""and single strands are so much brighter than the rest."""
EYE_BACKS = Island(0.764, 0.038, 0.812, 0.076)


class Cover(IntEnum):
    """What the painter may have laid on a texel."""

    OTHER = 0
    SKIN_OR_CLOTH = 1
    SKIN_OR_HAIR = 2
    EYE = 3


@dataclass(frozen=True, slots=True)
class Complexion:
    """8-bit sRGB colours of one person."""

    skin: F32
    """(3,)."""
    hair: F32
    """(3,)."""
    iris: F32
    """(3,) as painters take it: the iris itself comes out brighter."""

    @staticmethod
    def of(look: Look) -> Complexion:
        """What a painter was told."""
        colours = (np.array(colour, np.float32) for colour in (look.skin, look.hair, look.iris))
        return Complexion(*colours)


def recolour(texture: U8, old: Complexion, new: Complexion) -> U8:
    """A painted texture of another complexion.

    Args:
        texture: (H, H, 3) sRGB as painted.
        old: what it was painted with.
        new: what it should look like.

    Returns:
        (H, H, 3), a new array.
    """
    size = len(texture)
    cover = _covers(size)
    out = np.empty(texture.shape, np.uint8)
    gains = _gains(old, new)
    for first in range(0, size, ROWS):
        rows = slice(first, first + ROWS)
        stripe = texture[rows].copy()  # writable, or the kernel would be compiled a second time
        _recolour(stripe, cover[rows], old.skin, old.hair, gains, new.iris / old.iris, out[rows])
    return out


def _gains(old: Complexion, new: Complexion) -> F32:
    """(LEVELS, 3) by what a texel of that share of skin is multiplied."""
    share = np.linspace(0.0, 1.0, LEVELS, dtype=np.float32)[:, None]
    was = share * old.skin + (1 - share) * old.hair
    return np.asarray((share * new.skin + (1 - share) * new.hair) / was, np.float32)


def _covers(size: int) -> U8:
    cover = np.full((size, size), Cover.SKIN_OR_CLOTH, np.uint8)
    cover[HEAD.window(size)] = Cover.SKIN_OR_HAIR
    for island in (EYE_BACKS, *EYE_CAVITIES, MOUTH_BAG, TONGUE):
        cover[island.window(size)] = Cover.OTHER
    for island in EYE_FRONTS:
        cover[island.window(size)] = Cover.EYE
    return cover


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _recolour(  # type: ignore[no-untyped-def]
    texture, cover, skin, hair, gains, iris, out
):  # pragma: no cover - compiled
    one, zero = np.float32(1.0), np.float32(0.0)
    least = SHINES_THROUGH
    dark = STRANDS * (least * skin.sum() + (one - least) * hair.sum())
    step = one / (skin.sum() - dark)
    last = np.float32(LEVELS - 1)
    for y in range(texture.shape[0]):
        for x in range(texture.shape[1]):
            r, g, b = (
                np.float32(texture[y, x, 0]), np.float32(texture[y, x, 1]),
                np.float32(texture[y, x, 2]),
            )  # fmt: skip
            kind = cover[y, x]
            share = least + (one - least) * min(max((r + g + b - dark) * step, zero), one)
            amount = one if kind else zero
            if kind == 1:
                # Cloth is less warm than skin, or much darker.
                amount = min(max((r - b - np.float32(0.12) * r) * np.float32(12.0), zero), r)
                amount /= max(r, one)
                amount *= min(max((share - np.float32(0.4)) * np.float32(5.0), zero), one)
                share = one
            elif kind == 2:
                # Cloth reaches into the head's rectangle; it is less warm than hair as well.
                amount = min(max((r - b) * np.float32(12.0) / max(r, one) - one, zero), one)
                if r > np.float32(1.5) * g:
                    share = one  # lips: too red for a mixture of skin and hair
            if kind == 3:  # the painted iris is bluer than it is red, and nothing else there
                amount = min(max((b - np.float32(1.05) * r) / max(r, one) * 2, zero), one)
            level = int(share * last)
            for k in range(3):
                value = np.float32(texture[y, x, k])
                gain = iris[k] if kind == 3 else gains[level, k]
                value += amount * value * (gain - one)
                out[y, x, k] = np.uint8(min(max(value + np.float32(0.5), zero), np.float32(255.0)))
