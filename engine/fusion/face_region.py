"""Which triangles of the body are its face: the mask that copy-paste fusion replaces.

The face here is what an anatomist's mask would cover: forehead up to the hairline, temples, nose,
eyelids, cheeks, lips, chin and the edge of the jaw. Scalp, ears, neck, eyeballs, tongue and the
cavities behind eyelids and lips stay with the body.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.errors import ModelFileError
from engine.fusion.stitching import boundary_edges, edge_keys
from engine.types import F32, I32

# All lengths are in interocular distances (about 62 mm), seen from between the eyes.
BEHIND_EYES = 0.95
"""How far back the mask reaches: just in front of the ear."""
HAIRLINE_HEIGHT = 1.15
HAIRLINE_FALL = 0.25
"""The hairline comes down to the temples as a parabola in x."""
JAW_HEIGHT = -1.8
JAW_SLOPE = -0.52
"""The lower edge of the jaw: its height at the depth of the eyes, and its rise towards the ear."""


def face_triangles(model: BodyModel) -> NDArray[np.bool_]:
    """(F,) mask of the face, decided on the template so that it is the same for everybody.

    Raises:
        ModelFileError: the mask is not bounded by simple closed loops, so that nothing can be
            stitched to it.
    """
    inside = _is_face_point(_interocular_coordinates(model))
    head = model.face_parts == PART_NAMES.index("head")
    mask = np.asarray(inside[model.faces].all(axis=1) & head)
    mask = _without_corners(model.faces, mask)
    boundary = boundary_edges(model.faces[mask])
    degree = np.bincount(boundary.ravel(), minlength=1)
    if not mask.any() or not np.isin(degree, (0, 2)).all():
        raise ModelFileError(
            "the face region of the body model is not bounded by closed loops; the model is not "
            "the Anny body that the region was defined on: run `sars setup` to bake it again"
        )
    return mask


def _interocular_coordinates(model: BodyModel) -> F32:
    left, right = (
        model.template_joints_m[model.joint_names.index(name)] for name in ("eye.L", "eye.R")
    )
    scale = np.linalg.norm(left - right)
    return np.asarray((model.template_m - (left + right) / 2) / scale, np.float32)


def _is_face_point(points: F32) -> NDArray[np.bool_]:
    x, y, z = points.T
    below_hairline = y < HAIRLINE_HEIGHT - HAIRLINE_FALL * x * x
    above_jaw = y > JAW_HEIGHT + JAW_SLOPE * z
    return np.asarray((z > -BEHIND_EYES) & below_hairline & above_jaw)


def _without_corners(faces: I32, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Smooth the outline: drop triangles that hang on by one edge, until none is left."""
    mask = mask.copy()
    while True:
        chosen = np.flatnonzero(mask)
        keys = edge_keys(faces[chosen][:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2))
        _, inverse, count = np.unique(keys, return_inverse=True, return_counts=True)
        open_edges = (count[inverse.reshape(-1)] == 1).reshape(-1, 3).sum(axis=1)
        corners = chosen[open_edges >= 2]
        if not len(corners):
            return mask
        mask[corners] = False
