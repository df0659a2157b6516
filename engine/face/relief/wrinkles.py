"""Wrinkles: lines that were seen, whose depth the evidence has measured and confirmed."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from engine.face.relief.displacement import Halves, read_heights
from engine.face.relief.distance_field import (
    LineField,
    groove,
    line_field,
    pulled_onto_wrinkles,
    wrinkled_skin,
)
from engine.face.relief.groove_depth import GrooveFit, fit_grooves
from engine.face.relief.wrinkle_lines import WrinkleLines, valley_lines
from engine.types import F32, I32

MM_PER_LOG = 1.0
"""Lines are sought where skin is low or dark: a dark line of log contrast 1 counts as 1 mm."""
STRONG = 0.10
SHORTEST = 13
"""Texels, about 15 mm."""
WIDTH_SHARE = 1.1
"""Deviation of a groove's profile in millimetres per texel of the scale at which it was found."""
LEAST_DEPTH_MM = 0.20
LEAST_LOG_ODDS = 250.0
"""Twice the log likelihood ratio of a groove against smooth skin. The evidence of neighbouring
texels is not independent, so that this is far more than independent texels would need."""
LEAST_EXPLAINED = 0.30
"""Share of the evidence within its band that a groove must explain: one number for hundreds of
texels; blotches and misread light explain a twentieth."""
LAMBDA = 0.5
"""Of eq. (3): half of the way. A tracked head puts lines up to 3 mm beside their places, and a
groove beside its place costs more than half a groove in it."""
CLEAR = 5
"""Texels by which lines keep away from features."""


class Wrinkles(NamedTuple):
    """Over H x W texels."""

    heights_mm: F32
    """Eq. (3)'s motion along the normal; not positive."""
    lines: I32
    """0, or the name of the wrinkle whose line runs here."""
    depths_mm: F32
    """(count,) of each."""


def find_wrinkles(
    halves: Halves, moving: Halves, mean_detail: F32, bare: F32, texel_mm: F32
) -> Wrinkles:
    """Detect lines, measure their depths, and pull the skin onto the grooves, eq. (3).

    Args:
        halves: evidence, paint and light together.
        moving: evidence from the change of light alone, which paint cannot make.
        mean_detail: (H, W) flattened log luminance.
        bare: (H, W) in [0, 1]: where skin may move.
        texel_mm: (H, W, 2).
    """
    dark = cv2.GaussianBlur(mean_detail, (0, 0), 1.0)
    clear = cv2.erode((bare > 0.5).astype(np.uint8), np.ones((CLEAR, CLEAR), np.uint8)) > 0
    seen = read_heights(halves.whole, bare) + MM_PER_LOG * dark
    lines = valley_lines(np.asarray(seen, np.float32), clear, STRONG, SHORTEST)
    field = line_field(lines, texel_mm)
    widths = WIDTH_SHARE * lines.width
    depths = _confirmed_depths(field, lines, widths, halves, moving, bare)
    heights = pulled_onto_wrinkles(wrinkled_skin(field, widths, depths), texel_mm, LAMBDA) * bare
    named = np.concatenate([[0], np.where(depths > 0, np.arange(1, lines.count + 1), 0)])
    return Wrinkles(heights.astype(np.float32), named[lines.labels].astype(np.int32), depths)


def _confirmed_depths(
    field: LineField,
    lines: WrinkleLines,
    widths: F32,
    halves: Halves,
    moving: Halves,
    bare: F32,
) -> F32:
    """(count,) mm; 0 for lines that any reading of the evidence does not confirm."""
    profile = groove(field, widths) * bare
    every = [fit_grooves(profile, field.nearest, lines.count, e) for e in (*halves, *moving)]
    whole: GrooveFit = every[0]
    surest = np.min([fit.depth_mm for fit in every] + list(whole.flanks_mm), axis=0)
    confirmed = (
        (surest > LEAST_DEPTH_MM)
        & (whole.log_odds > LEAST_LOG_ODDS)
        & (whole.explained > LEAST_EXPLAINED)
    )
    return np.where(confirmed, np.minimum(whole.depth_mm, 1.2 * surest), 0.0).astype(np.float32)
