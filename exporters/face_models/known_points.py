"""Places of the face that a model's makers marked, by MediaPipe's landmark numbers.

The 68 points of Multi-PIE (iBUG's order) are what face models come with. Those on the jaw line
follow the outline of a picture and those on the brows have no edge to hold on to; the others mean
the same spots as these of MediaPipe's 478.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from engine.avatar.morphable_model import MorphableModel, Part
from engine.types import F64

MEDIAPIPE_OF_68: Mapping[int, int] = {
    8: 152,  # chin
    30: 4, 33: 2,  # tip and base of the nose
    36: 33, 39: 133, 42: 362, 45: 263,  # eye corners, the person's right eye first
    48: 61, 54: 291,  # corners of the mouth
    51: 0, 57: 17, 62: 13, 66: 14,  # middles of the lips, outside and inside
}  # fmt: skip
NOSE_TIP, RIGHT_IRIS, LEFT_IRIS = 4, 468, 473

KnownPoints = Mapping[int, F64]
"""MediaPipe's number to a (3,) place on a model's mean head, metres."""


def of_68(model: MorphableModel, vertices: NDArray[np.integer]) -> KnownPoints:
    """The known points of a model whose 68 landmarks are vertices."""
    return {
        landmark: np.asarray(model.mean_m[vertices[own]], np.float64)
        for own, landmark in MEDIAPIPE_OF_68.items()
    }


def of_shape(model: MorphableModel) -> KnownPoints:
    """What a head's shape gives away: the tip of the nose and the fronts of the eyes it has."""
    places = {
        NOSE_TIP: model.faces_of(Part.FACE),
        LEFT_IRIS: model.faces_of(Part.EYE_LEFT),
        RIGHT_IRIS: model.faces_of(Part.EYE_RIGHT),
    }
    found = {}
    for landmark, faces in places.items():
        if len(faces):
            points = model.mean_m[np.unique(faces)]
            found[landmark] = np.asarray(points[points[:, 2].argmax()], np.float64)
    return found
