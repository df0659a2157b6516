"""How ICT-FaceKit's light model is laid out: parts by index, expressions by name.

From the tables of its README (ICT-VGL/ICT-FaceKit, MIT).
"""

from __future__ import annotations

import numpy as np

from engine.avatar.morphable_model import Part
from engine.types import U8

VERTICES = 26_719
POLYGONS = 26_384
LICENCE = "MIT, (c) 2020 USC Institute for Creative Technologies (ICT-VGL/ICT-FaceKit)"

PARTS: tuple[tuple[int, Part], ...] = (
    (9230, Part.FACE),
    (11144, Part.HEAD),
    (13226, Part.MOUTH_CAVITY),
    (14034, Part.EYE_SOCKETS),
    (17006, Part.TONGUE_AND_GUMS),
    (21496, Part.TEETH),
    (23094, Part.EYE_LEFT),
    (24692, Part.EYE_RIGHT),
    (POLYGONS, Part.OVERLAY),
)
"""Up to which polygon (exclusive) what is what."""

BOTH_SIDES = {"browInnerUp": "browInnerUp", "cheekPuff": "cheekPuff"}
"""ICT has a left and a right of these, ARKit one: their sum."""
WITHOUT_ARKIT_NAME = ("PupilDilate_L", "PupilDilate_R", "cheekRaiser_L", "cheekRaiser_R")
_SIDES = {"_L": "Left", "_R": "Right"}


def arkit_name(name: str) -> str:
    """ARKit's name of an ICT expression: ``mouthSmile_L`` is ``mouthSmileLeft``."""
    stem, side = name[:-2], name[-2:]
    if side not in _SIDES:
        return name
    return BOTH_SIDES.get(stem, stem + _SIDES[side])


def polygon_parts(count: int) -> U8:
    """(count,) of :class:`Part`."""
    ends, parts = zip(*PARTS, strict=True)
    return np.asarray(parts, np.uint8)[np.searchsorted(ends, np.arange(count), side="right")]
