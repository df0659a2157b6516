"""Face and scalp: complexion, brows, lips, eyelids with lashes, short hair.

Everything is placed in Anny's head island by (u, |v - MIDLINE|): see ``atlas``.
"""

from __future__ import annotations

import numpy as np

from engine.avatar.paint.atlas import HEAD, MIDLINE
from engine.avatar.paint.brush import Mask, blend, noise, polygon, shade, smoothstep, spot
from engine.avatar.paint.look import Look
from engine.types import F32

EYE_SLIT_U = 0.8393
EYE_SLIT = (0.0274, 0.0404)
"""Inner and outer end of the slit into which the lids' inner sides converge, off the midline."""
UPPER_LID, LOWER_LID = 0.0048, 0.0038
"""Distance from the slit at which the lid's rim lies."""

BROW_OFF = (0.0170, 0.0230, 0.0320, 0.0420, 0.0500, 0.0580)
BROW_U = (0.8205, 0.8195, 0.8175, 0.8168, 0.8185, 0.8222)
BROW_HALF = (0.0022, 0.0028, 0.0027, 0.0023, 0.0016, 0.0006)

HAIR_LINE = np.array(
    [(0.0, 0.772), (0.03, 0.770), (0.05, 0.772), (0.065, 0.780), (0.080, 0.790), (0.092, 0.808),
     (0.100, 0.828), (0.112, 0.850), (0.118, 0.846), (0.126, 0.818), (0.165, 0.818),
     (0.175, 0.885), (0.25, 0.925), (0.34, 0.945)]
).T  # fmt: skip
"""Down to which u hair grows, by distance off the midline: forehead, temple, ear, nape."""

LIPS = np.array(
    [(0.9148, 0.0196), (0.9104, 0.0188), (0.9060, 0.0198), (0.9026, 0.0191), (0.8985, 0.0156),
     (0.8953, 0.0088), (0.8948, 0.0044), (0.8962, 0.0000), (0.8948, -0.0044), (0.8953, -0.0088),
     (0.8985, -0.0156), (0.9026, -0.0191), (0.9060, -0.0198), (0.9104, -0.0188),
     (0.9148, -0.0196), (0.9205, -0.0146), (0.9236, -0.0090), (0.9246, -0.0035),
     (0.9246, 0.0035), (0.9236, 0.0090), (0.9205, 0.0146)], np.float32,
)  # fmt: skip
"""(u, v - MIDLINE) of the vermilion border."""
MOUTH_U, MOUTH_HALF = 0.9090, 0.0158
"""The mouth's slit, and half its width."""


def paint_head(canvas: F32, allowed: Mask, look: Look, rng: np.random.Generator) -> None:
    """Paint the head island of a square texture that already carries the skin's colour.

    Args:
        canvas: (N, N, 3), changed in place.
        allowed: (N, N): the texels in the head's rectangle that are not of an arm's island.
        look: colours.
        rng: of hair strands and freckles.
    """
    size = len(canvas)
    window = HEAD.window(size)
    head = canvas[window].copy()
    u, v = HEAD.grid(size)
    side = v - MIDLINE
    off = np.abs(side)
    _complexion(head, u, off, rng)
    _hair(head, u, off, look, rng)
    _brows(head, u, off, look, rng)
    _lips(head, u, side, look, size)
    _lids(head, u, off, look, rng)
    np.copyto(canvas[window], head, where=allowed[window][..., None])


def _complexion(head: F32, u: F32, off: F32, rng: np.random.Generator) -> None:
    """Blush, freckles, and the darkness of sockets and nostrils that a soft light leaves."""
    blush = 0.20 * spot(u, off, (0.872, 0.062), (0.016, 0.022))
    blush = np.maximum(blush, 0.20 * spot(u, off, (0.872, 0.0), (0.010, 0.012)))
    blush = np.maximum(blush, 0.08 * spot(u, off, (0.945, 0.0), (0.012, 0.02)))
    blend(head, head * np.array((1.02, 0.72, 0.70), np.float32), blush)
    freckles = smoothstep(1.8, 2.8, noise(rng, head.shape[:2], (2.2, 2.2)))
    cheeks = spot(u, off, (0.864, 0.040), (0.016, 0.035))
    shade(head, 1.0 - 0.16 * freckles * cheeks)
    socket = spot(u, off, (0.832, 0.026), (0.008, 0.010))
    under_eye = spot(u, off, (0.851, 0.034), (0.004, 0.013))
    shade(head, 1.0 - 0.16 * socket - 0.10 * under_eye)


def _hair(head: F32, u: F32, off: F32, look: Look, rng: np.random.Generator) -> None:
    """Close-cropped hair: cover that thins at the hairline, strands along the growth."""
    line = np.interp(off, *HAIR_LINE).astype(np.float32)
    ragged = 0.004 * noise(rng, head.shape[:2], (3, 9)) + 0.002 * noise(rng, head.shape[:2], (2, 4))
    cover = smoothstep(0.004, -0.012, u - line + ragged)
    strands = noise(rng, head.shape[:2], (1.6, 14)) + 0.6 * noise(rng, head.shape[:2], (30, 30))
    tone = np.asarray(look.hair, np.float32) * (1.0 + 0.13 * strands[..., None])
    blend(head, np.clip(tone, 8, 255), 0.94 * cover)


def _brows(head: F32, u: F32, off: F32, look: Look, rng: np.random.Generator) -> None:
    centre = np.interp(off, BROW_OFF, BROW_U).astype(np.float32)
    half = np.interp(off, BROW_OFF, BROW_HALF, left=1e-4, right=1e-4).astype(np.float32)
    across = np.abs(u - centre) / half
    ends = smoothstep(0.0155, 0.019, off) * smoothstep(0.0590, 0.0560, off)
    strands = noise(rng, head.shape[:2], (1.5, 4.0))
    cover = smoothstep(1.5, 0.5, across + 0.22 * strands) * ends
    colour = np.asarray(look.hair, np.float32) * 0.75
    blend(head, colour, 0.80 * cover)


def _lips(head: F32, u: F32, side: F32, look: Look, size: int) -> None:
    rows, columns = HEAD.window(size)
    border = LIPS + np.array([0.0, MIDLINE], np.float32)
    blur = size / 2048 * 1.6
    cover = polygon(border, (rows.start, columns.start), head.shape[:2], size, blur)
    colour = np.asarray(look.skin, np.float32) * np.array((0.82, 0.58, 0.58), np.float32)
    blend(head, colour, 0.80 * cover)
    lower = smoothstep(0.909, 0.914, u) * spot(u, side, (0.916, 0.0), (0.004, 0.008))
    blend(
        head,
        np.asarray(look.skin, np.float32) * np.array((1.0, 0.78, 0.76), np.float32),
        np.float32(0.28) * lower * cover,
    )
    beyond = np.maximum(np.abs(side) - MOUTH_HALF, 0.0)
    slit = np.hypot(u - MOUTH_U, beyond).astype(np.float32)
    blend(head, (70, 28, 28), 0.85 * smoothstep(0.0038, 0.0016, slit))
    philtrum = spot(u, side, (0.889, 0.0), (0.004, 0.0022))
    shade(head, 1.0 - 0.06 * philtrum)


def _lids(head: F32, u: F32, off: F32, look: Look, rng: np.random.Generator) -> None:
    """Lash lines on the lids' rims, lashes beyond the upper one, a crease, pink inner sides."""
    beyond = off - np.clip(off, *EYE_SLIT)
    distance = np.hypot(u - EYE_SLIT_U, beyond).astype(np.float32)
    upper = smoothstep(0.0006, -0.0012, u - EYE_SLIT_U)
    lash = np.asarray(look.hair, np.float32) * 0.35
    outward = smoothstep(0.024, 0.036, off)
    blend(
        head,
        np.asarray(look.skin, np.float32) * np.array((0.97, 0.80, 0.77), np.float32),
        smoothstep(0.0050, 0.0038, distance),
    )
    crease = smoothstep(0.0030, 0.0, np.abs(distance - 0.0112)) * upper
    shade(head, 1.0 - 0.13 * crease)
    strands = 0.5 + 0.5 * np.clip(noise(rng, head.shape[:2], (2.0, 6.0)), -1, 1)
    fringe = smoothstep(0.0085, 0.0052, distance) * strands * (0.35 + 0.5 * outward)
    rim = smoothstep(0.0068, 0.0058, distance) * smoothstep(0.0036, 0.0042, distance)
    blend(head, lash, np.maximum(fringe, 0.95 * rim) * upper)
    lower_rim = smoothstep(0.0054, 0.0046, distance) * smoothstep(0.0032, 0.0038, distance)
    blend(head, lash, 0.45 * lower_rim * (1.0 - upper) * (0.5 + 0.5 * outward))
    corner = spot(u, off, (0.8405, 0.0265), (0.0012, 0.0022))
    blend(head, (190, 110, 105), 0.7 * corner)
