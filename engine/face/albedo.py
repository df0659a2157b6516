"""The face's albedo relative to its own plain skin, averaged robustly over many frames.

Relative, because then neither exposure nor the colour of the light matters: plain skin is 1 in
every frame, brows, lips, moles and a beard are what they are beside it, and whatever borders on
skin of the same person borders on 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.face.face_atlas import FaceAtlas
from engine.face.face_zones import Zone, Zones
from engine.face.lighting import LUMINANCE, Lighting, shade_skin
from engine.face.texture_gather import CHUNK, Sample
from engine.types import F32

MEMORY = 60.0
"""Evidence at which old frames begin to give way to new ones."""
FIRST_FRAMES = 1.5
"""Evidence from which a texel that looks different from before counts for less."""
TOLERANCE = np.float32(0.10)
"""Deviation from the mean up to which a frame counts fully (Huber's threshold)."""
LIKE_SKIN, UNLIKE_SKIN = np.float32(0.25), np.float32(0.50)
"""Distance in log red-green and green-blue: up to the first it is skin, past the second not."""
BLUE = np.float32(0.5)
"""What a difference in blue counts against one in red: cameras and codecs are careless of it."""
REDDER_LIPS = np.float32(0.45)
SKIN, DARK = np.float32(0.75), np.float32(0.5)
"""Relative luminance down to which it is skin, and below which hair or shadow;"""
BLACK = np.float32(0.35)
"""and below which a picture's colour says nothing any more."""
SHINE, GLARE = np.float32(1.4), np.float32(1.9)
"""Relative luminance from which skin begins to shine, and that nothing but glare reaches."""
_HAIRY, _DARK = int(Zone.HAIRY), int(Zone.DARK)
_LIPS, _LIDS, _MOUTH = int(Zone.LIPS), int(Zone.LIDS), int(Zone.MOUTH)


@dataclass(frozen=True, slots=True)
class RelativeAlbedo:
    """A running mean over the atlas' N texels; changed in place by :func:`accumulate`."""

    mean: F32
    """(N, 3) linear, 1 is plain skin."""
    evidence: F32
    """(N,): a frame seen face on, sharp and at rest, adds 1."""

    @staticmethod
    def empty(atlas: FaceAtlas) -> RelativeAlbedo:
        """Nothing seen."""
        count = len(atlas.texels)
        return RelativeAlbedo(np.ones((count, 3), np.float32), np.zeros(count, np.float32))

    def clear(self) -> None:
        """Forget everything."""
        self.mean[:] = 1.0
        self.evidence[:] = 0.0


def accumulate(
    albedo: RelativeAlbedo,
    sample: Sample,
    lighting: Lighting,
    zones: Zones,
    weight: float,
    shut: float,
    agape: float,
) -> None:
    """Take a frame in.

    Args:
        albedo: changed in place.
        sample: of the frame; its colours become relative to skin, its weights what they counted.
        lighting: of the frame.
        zones: (N,) flags of :class:`Zone`.
        weight: of the whole frame, in [0, 1].
        shut: how far the eyes are closed, in [0, 1].
        agape: how far the mouth is open, in [0, 1].
    """
    for first in range(0, len(zones), CHUNK):
        part = slice(first, first + CHUNK)
        shade_skin(
            lighting.luminance,
            lighting.tint,
            np.float32(lighting.level),
            sample.normals[part],
            sample.normals[part],  # each normal gives way to the skin's colour there
        )
        _accumulate(
            albedo.mean[part],
            albedo.evidence[part],
            sample.colours[part],
            sample.normals[part],
            sample.weights[part],
            zones[part],
            np.float32(weight),
            np.float32((1.0 - shut) ** 2),
            np.float32((1.0 - agape) ** 2),
            LUMINANCE,
        )


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _accumulate(  # type: ignore[no-untyped-def]
    mean, evidence, colours, skin, weights, zones, frame, lids, mouth, luminance,
):  # pragma: no cover - compiled  # fmt: skip
    one, tiny = np.float32(1.0), np.float32(1e-3)
    for n in range(zones.shape[0]):
        w = weights[n] * frame
        if w <= np.float32(0.0):
            continue
        zone = zones[n]
        if zone & _LIDS:
            w *= lids
        if zone & _MOUTH:
            w *= mouth
        bright = np.float32(0.0)
        for k in range(3):
            colours[n, k] /= max(skin[n, k], tiny)
            bright += luminance[k] * colours[n, k]
        red = np.log(max(colours[n, 0], tiny) / max(colours[n, 1], tiny))
        blue = np.log(max(colours[n, 1], tiny) / max(colours[n, 2], tiny))
        if zone & _LIPS and red > np.float32(0.0):
            red = max(np.float32(0.0), red - REDDER_LIPS)
        unlike = np.sqrt(red * red + BLUE * blue * BLUE * blue)
        w *= min(max((GLARE - bright) / (GLARE - SHINE), np.float32(0.0)), one)
        if not zone & (_HAIRY | _DARK | _LIPS):
            w *= min(max((bright - DARK) / (SKIN - DARK), np.float32(0.0)), one)
        if bright < DARK:
            # Hair and shadow are greyer than skin, and nearly black has any colour.
            shadow = (DARK - bright) / (DARK - BLACK)
            unlike *= max(np.float32(0.35), one - np.float32(0.65) * shadow)
        w *= min(max((UNLIKE_SKIN - unlike) / (UNLIKE_SKIN - LIKE_SKIN), np.float32(0.0)), one)
        if evidence[n] > FIRST_FRAMES:
            deviation = np.float32(0.0)
            for k in range(3):
                deviation = max(deviation, abs(colours[n, k] - mean[n, k]))
            if deviation > TOLERANCE:
                w *= TOLERANCE / deviation
        weights[n] = w
        if w <= np.float32(1e-6):
            continue
        evidence[n] = min(evidence[n] + w, np.float32(MEMORY))
        step = min(w / evidence[n], one)
        for k in range(3):
            mean[n, k] += step * (min(colours[n, k], np.float32(3.0)) - mean[n, k])
