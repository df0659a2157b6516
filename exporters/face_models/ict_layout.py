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


LANDMARKS_68 = np.array(
    [
        1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272,
        4088, 3443, 268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942,
        4857, 1140, 2075, 1147, 4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756,
        3721, 3725, 3732, 5708, 5695, 2081, 0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841,
        5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
    ]
)  # fmt: skip
"""Its vertices at Multi-PIE's 68 landmarks (``idx_to_landmark_verts``)."""
