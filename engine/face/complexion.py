"""Skin, hair and eyes of one person, averaged over the frames that show them."""

from __future__ import annotations

import numpy as np

from engine.avatar.paint.look import Look
from engine.face.albedo import RelativeAlbedo
from engine.face.eye_white import eye_white, gain_by_white
from engine.face.face_zones import Zone, Zones
from engine.face.iris_colour import iris_colour
from engine.face.lighting import LUMINANCE
from engine.face.recolour import SHINES_THROUGH, Complexion
from engine.face.skin_tone import ColourMean, in_white_light
from engine.face.view import FaceView
from engine.types import F32

HAIR_TEXELS = 300
HAIR_EVIDENCE = 0.25
DARKER_HAIR = 0.5
"""Relative luminance below which what is seen above the hairline is hair and not forehead."""
STRANDS_QUANTILE = 0.2
"""Much of what is darker than skin there is strands before skin; hair itself is darker still."""
DARKEST_HAIR = 14.0
"""8-bit: no strand is black in any light."""
EYES_OPEN = 0.5
"""How far lids may be closed."""
LIDS_SHADE = 1.2
"""Lids and lashes keep light from the eye that the skin beside it gets."""
IRIS_PAINTED = 1.3
"""How much brighter than the colour they are given painters make the iris, on average."""


class ComplexionEstimate:
    """What is known of one person's colours. Not thread-safe."""

    def __init__(self) -> None:
        self._tone, self._iris = ColourMean.unknown(), ColourMean.unknown()
        self._white = ColourMean.unknown()

    @property
    def skin(self) -> F32 | None:
        """(3,) linear RGB in white light; None before the first frame."""
        seen, white = self._tone.colour, self._white.colour
        if seen is None:
            return None
        if white is not None:
            seen = seen * gain_by_white(white, seen, self._white.evidence)
        return in_white_light(seen)

    def add(self, view: FaceView, tone: F32, weight: float) -> None:
        """Take a frame in.

        Args:
            view: for its eyes.
            tone: (3,) linear RGB of the lit skin.
            weight: of the frame.
        """
        self._tone.add(tone, weight)
        if view.landmarks_px is not None and view.shut < EYES_OPEN:
            iris = iris_colour(view.image, view.landmarks_px)
            if iris is not None:
                self._iris.add(iris / tone, weight)
            white = eye_white(view.image, view.landmarks_px, tone)
            if white is not None:
                self._white.add(white.over_skin, weight * white.trust)

    def colours(self, skin: F32, albedo: RelativeAlbedo, zones: Zones) -> Complexion:
        """What to paint with; hair or eyes that were not seen stay as they are painted.

        Args:
            skin: (3,) linear RGB.
            albedo: gathered so far: it shows what is above the hairline.
            zones: (N,) of its texels.
        """
        painted = Complexion.of(Look())
        hair, iris = _hair(albedo, zones), self._iris.colour
        if hair is not None:
            bare = encode(hair * skin) - SHINES_THROUGH * encode(skin)
            hair = np.maximum(bare / (1 - SHINES_THROUGH), DARKEST_HAIR)
        return Complexion(
            skin=encode(skin),
            hair=painted.hair if hair is None else hair,
            iris=painted.iris if iris is None else encode(LIDS_SHADE * iris * skin) / IRIS_PAINTED,
        )


def _hair(albedo: RelativeAlbedo, zones: Zones) -> F32 | None:
    """(3,) relative to skin; None where too little of it, or none, is seen."""
    relative = albedo.mean[(zones & Zone.SCALP > 0) & (albedo.evidence > HAIR_EVIDENCE)]
    relative = relative[relative @ LUMINANCE < DARKER_HAIR]
    if len(relative) < HAIR_TEXELS:
        return None
    return np.asarray(np.quantile(relative, STRANDS_QUANTILE, axis=0), np.float32)


def encode(linear: F32) -> F32:
    """8-bit values of linear light, by gamma 2."""
    return np.asarray(255.0 * np.sqrt(np.clip(linear, 0.0, 1.0)), np.float32)
