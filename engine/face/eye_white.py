"""The whites of the eyes: a reference that stands in the same light as the face.

Sclera reflects nearly the same in everybody, and nearly without colour; what it looks like is
therefore the light and the camera. A webcam has some forty pixels of it, blurred into lashes and
lids, so what they say is believed in part only, and not at all where they are no whiter than skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engine.face.iris_colour import EYES
from engine.face.lighting import LUMINANCE
from engine.face.texture_gather import LINEAR
from engine.types import F32, U8

LIDS = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
)
"""The lids' edges around each iris of EYES, in order."""
LIMBUS, LIMBUS_PX = 1.15, 0.9
"""Radii of the iris from which on there is nothing of it in a pixel, and pixels past its edge: lens
and colour subsampling carry a blue iris that far."""
LEAST_RADIUS_PX = 3.0
"""Beside a smaller iris no pixel is all white."""
CLEAR = 0.95
"""Of a pixel that must lie between the lids."""
BRIGHT = (0.70, 0.95)
"""Quantiles of what is seen there: below are lashes and shadow, above are glints."""
LEAST_PIXELS = 8
ENOUGH_PIXELS = 16.0
"""So many are half as good as any number."""
LESS_WARM = (0.20, 0.50)
"""By how much log(R/B) of white lies below skin's: at the first it is all lid, past the second it
is white. Skin in any light is warmer than white by at least the sum of IN_WHITE_LIGHT's bounds."""
DARKEST = 0.05
"""Relative to skin: no white is."""
SCLERA = np.array((0.65, 0.62, 0.58), np.float32)
"""Linear albedo."""
SOCKET = 0.75
"""Of the light on plain skin, what reaches the eyes between brows, nose and lashes."""
LOST_PX, LEAKED_PX = 1.15, 0.45
"""Over the iris' radius: the shares of the whites that lens and codec spread away, and of the skin
around that they spread in, as measured on performers of every skin, near and far."""
DOUBT = 0.12
"""Of a difference in brightness, as a logarithm, so much is socket and room, not exposure. Most
pictures are exposed well and some are far off, which is a Laplacian prior: the likeliest exposure
behind a noisy measurement is that measurement, brought towards none by a fixed amount;"""
BELIEVED = 0.70
"""and of the rest this share, for whites differ from person to person."""
DARKENING_BELIEVED = 0.35
"""The same where skin seems too bright: cameras are made to expose for faces;"""
CLIPPED = (0.60, 0.85)
"""and from the first to the second, linear, of its brightest channel that belief ends: what is
clipped only looks darker against the whites than it is."""
TINT_BELIEVED = 0.60
PALEST = 0.50
"""Luminance of skin past which nobody is brightened: behind glasses whites are grey."""
HALF_SURE = 0.6
"""Evidence at which half of that is."""
GAINS = (0.6, 2.2)
"""Bounds of the correction's luminance,"""
TINT = 1.25
"""and by how much it may change a channel against that."""


@dataclass(frozen=True, slots=True)
class EyeWhite:
    """What one frame shows of the whites of both eyes."""

    over_skin: F32
    """(3,) linear, relative to the lit skin of the same frame; without the lens' blur."""
    trust: float
    """In [0, 1]."""


def eye_white(image: U8, points_px: F32, tone: F32) -> EyeWhite | None:
    """Look between the lids, beside the irises.

    Args:
        image: (H, W, 3) RGB.
        points_px: (478, 2 or more) landmarks.
        tone: (3,) linear RGB of the frame's lit skin.

    Returns:
        ``None`` for small or closed eyes, out of the picture, or no whiter than the lids.
    """
    radii = [_radius(points_px, iris, ring) for iris, ring in EYES]
    if not min(radii) >= LEAST_RADIUS_PX or not np.isfinite(points_px[[*LIDS[0], *LIDS[1]]]).all():
        return None
    eyes = [
        _between(
            image,
            points_px[list(lids), :2],
            points_px[iris, :2],
            max(LIMBUS * radius, radius + LIMBUS_PX),
        )
        for lids, (iris, _), radius in zip(LIDS, EYES, radii, strict=True)
    ]
    pixels = LINEAR[np.concatenate(eyes)]
    if len(pixels) < LEAST_PIXELS:
        return None
    luminance = pixels @ LUMINANCE
    low, high = np.quantile(luminance, BRIGHT)
    white = np.median(pixels[(luminance >= low) & (luminance <= high)], axis=0)
    radius = float(np.mean(radii))
    sharp = (white / tone - LEAKED_PX / radius) / (1.0 - LOST_PX / radius)
    over_skin = np.asarray(np.maximum(sharp, DARKEST), np.float32)
    less_warm = float(np.log(over_skin[2] / over_skin[0]))
    trust = float(np.clip((less_warm - LESS_WARM[0]) / (LESS_WARM[1] - LESS_WARM[0]), 0.0, 1.0))
    trust *= len(pixels) / (len(pixels) + ENOUGH_PIXELS)
    return EyeWhite(over_skin, trust) if trust > 0.0 else None


def gain_by_white(over_skin: F32, tone: F32, evidence: float) -> F32:
    """(3,) what linear colours are multiplied by to be as in white light of full strength.

    Args:
        over_skin: (3,) linear RGB of the whites as seen, relative to skin.
        tone: (3,) linear RGB of the skin as seen.
        evidence: the trusts of the frames it was seen in, summed; 0 gives 1.
    """
    white = over_skin * tone
    gain = SCLERA * SOCKET / white
    luminance = float(LUMINANCE @ (SCLERA * SOCKET) / (LUMINANCE @ white))
    sure = evidence / (evidence + HALF_SURE)
    believed = BELIEVED
    if luminance < 1.0:
        clipped = (float(tone.max()) - CLIPPED[0]) / (CLIPPED[1] - CLIPPED[0])
        believed = DARKENING_BELIEVED * (1.0 - min(max(clipped, 0.0), 1.0))
    doubted = np.log(luminance) - np.clip(np.log(luminance), -DOUBT, DOUBT)
    strength = float(np.clip(sure * believed * doubted, *np.log(GAINS)))
    strength = min(strength, max(0.0, float(np.log(PALEST / (LUMINANCE @ tone)))))
    log_tint = sure * TINT_BELIEVED * np.log(gain / luminance)
    tint = np.clip(log_tint, -np.log(TINT), np.log(TINT))
    return np.asarray(np.exp(strength + tint), np.float32)


def _radius(points_px: F32, iris: int, ring: tuple[int, ...]) -> float:
    """Of an iris, in pixels."""
    return float(np.linalg.norm(points_px[list(ring), :2] - points_px[iris, :2], axis=1).mean())


def _between(image: U8, lids: F32, centre: F32, limbus_px: float) -> U8:
    """(M, 3) pixels of one eye that are neither lid nor iris; none where it leaves the picture."""
    height, width, _ = image.shape
    x0, y0 = (int(value) for value in np.floor(lids.min(axis=0)))
    x1, y1 = (int(value) + 1 for value in np.ceil(lids.max(axis=0)))
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        return np.empty((0, 3), np.uint8)
    cover = _coverage(lids - np.array((x0, y0), np.float32), (x1 - x0, y1 - y0))
    x, y = np.arange(x0, x1) - centre[0], (np.arange(y0, y1) - centre[1])[:, None]
    pixels: U8 = image[y0:y1, x0:x1][(cover >= CLEAR) & (np.hypot(x, y) > limbus_px)]
    return pixels


def _coverage(polygon: F32, size: tuple[int, int]) -> F32:
    """(H, W) in [0, 1]: how much of each pixel lies in the polygon; pixel centres are whole."""
    fine = 4
    mask = np.zeros((size[1] * fine, size[0] * fine), np.uint8)
    cv2.fillPoly(mask, [np.rint((polygon + 0.5) * fine).astype(np.int32)], 1)
    blocks = mask.reshape(size[1], fine, size[0], fine)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)
