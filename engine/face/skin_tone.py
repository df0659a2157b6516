"""The person's complexion: what plain skin of theirs looks like in even, frontal light.

The avatar is drawn in such light (:class:`engine.rendering.light.Light` sums to nearly 1 on a
surface that faces the viewer), so a face keeps the brightness it has in the picture, less what the
whites of the eyes show to be exposure (:mod:`engine.face.eye_white`). Skin alone does not tell;
here only what no human skin has is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.face.lighting import LUMINANCE
from engine.types import F32, F64

RED_GREEN = (0.04, 1.15)
GREEN_BLUE = (-0.12, 2.20)
"""Bounds of log(R/G) and log(G/B), linear, of skin through cameras, white balanced or not."""
DIMMEST, BRIGHTEST = 0.015, 0.80
"""Linear luminance that a picture of skin in usable light has."""
TONE_BOUNDS = (0.045, 0.70)
"""Luminance of human skin, darkest to palest."""
IN_WHITE_LIGHT = ((0.38, 0.72), (0.20, 0.72))
"""log(R/G) and log(G/B) of skin in white light hardly leave these: most of what does is the lamp's
or the camera's,"""
LAMPLIGHT = 0.75
"""and this share of the excess is taken for it."""
MEMORY = 20.0


def is_skin(colour: F32) -> bool:
    """Whether (3,) linear RGB could be lit skin: no mask, no stage light, no darkness."""
    if not float(colour.min()) > 1e-4:
        return False
    red, blue = float(np.log(colour[0] / colour[1])), float(np.log(colour[1] / colour[2]))
    bright = DIMMEST < float(colour @ LUMINANCE) < BRIGHTEST
    in_hue = RED_GREEN[0] < red < RED_GREEN[1] and GREEN_BLUE[0] < blue < GREEN_BLUE[1]
    return bright and in_hue


def lit_colour(colours: F32, weights: F32) -> F32:
    """(3,) linear RGB of (M, 3) shaded skin, the lit side counting for more than the shadows.

    Who is photographed sees to it that there is light on the face, and exposes for that.
    """
    lit = weights * (colours @ LUMINANCE)
    return np.asarray(lit @ colours / max(float(lit.sum()), 1e-9), np.float32)


@dataclass(slots=True)
class ColourMean:
    """A weighted mean over frames in the logarithm, which exposure only shifts."""

    logarithm: F64
    """(3,) of linear RGB."""
    evidence: float = 0.0

    @staticmethod
    def unknown() -> ColourMean:
        """Before the first frame."""
        return ColourMean(np.zeros(3))

    @property
    def colour(self) -> F32 | None:
        """(3,) linear RGB, or None before the first frame."""
        return np.exp(self.logarithm).astype(np.float32) if self.evidence > 0.0 else None

    def add(self, colour: F32, weight: float) -> None:
        """Take in a frame's (3,) linear RGB."""
        self.evidence = min(self.evidence + weight, MEMORY)
        share = min(1.0, weight / max(self.evidence, 1e-9))
        self.logarithm += share * (np.log(np.maximum(colour, 1e-4)) - self.logarithm)


def in_white_light(colour: F32) -> F32:
    """Skin as seen, (3,) linear RGB, without what no skin has of brightness and warmth.

    Luminance is kept within that of human skin; hue gives up most of what exceeds it.
    """
    seen = np.log(colour[:2] / colour[1:])
    red, blue = seen + LAMPLIGHT * (np.clip(seen, *np.transpose(IN_WHITE_LIGHT)) - seen)
    hue = np.exp(np.array([red, 0.0, -blue]))
    luminance = float(np.clip(colour @ LUMINANCE, *TONE_BOUNDS))
    return np.asarray(hue * luminance / (hue @ LUMINANCE), np.float32)
