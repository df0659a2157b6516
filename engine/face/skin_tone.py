"""The person's complexion: what plain skin of theirs looks like in even, frontal light.

The avatar is drawn in such light (:class:`engine.rendering.light.Light` sums to nearly 1 on a
surface that faces the viewer), so a face keeps the brightness it has in the picture. How much of
that is exposure no single picture tells; only what no human skin has is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.face.lighting import LUMINANCE
from engine.types import F32, F64

RED_GREEN = (0.04, 1.15)
GREEN_BLUE = (-0.12, 1.20)
"""Bounds of log(R/G) and log(G/B), linear, of skin through cameras, white balanced or not."""
DIMMEST, BRIGHTEST = 0.015, 0.80
"""Linear luminance that a picture of skin in usable light has."""
TONE_BOUNDS = (0.045, 0.70)
"""Luminance of human skin, darkest to palest."""
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
class SkinTone:
    """A weighted mean of frames' colours in the logarithm, which exposure only shifts."""

    logarithm: F64
    """(3,) of linear RGB."""
    evidence: float = 0.0

    @staticmethod
    def unknown() -> SkinTone:
        """Before the first frame."""
        return SkinTone(np.zeros(3))

    @property
    def colour(self) -> F32 | None:
        """(3,) linear RGB within human bounds, or None before the first frame."""
        if self.evidence <= 0.0:
            return None
        colour = np.exp(self.logarithm)
        luminance = float(colour @ LUMINANCE)
        return np.asarray(colour * (np.clip(luminance, *TONE_BOUNDS) / luminance), np.float32)

    def add(self, colour: F32, weight: float) -> None:
        """Take in a frame's (3,) linear RGB."""
        self.evidence = min(self.evidence + weight, MEMORY)
        share = min(1.0, weight / max(self.evidence, 1e-9))
        self.logarithm += share * (np.log(np.maximum(colour, 1e-4)) - self.logarithm)
