"""How far each action turns the eyeballs, as rotation vectors."""

from __future__ import annotations

import numpy as np

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.types import F32
from exporters.face_calibration.surface_fit import dense_morphs

SIDES = ((".L", "eye_front.L", "eye_back.L"), (".R", "eye_front.R", "eye_back.R"))


def eye_rotations(model: BodyModel) -> F32:
    """(2, 52, 3) rad, left eye first: ``d = w x (v - mean) + t`` in least squares."""
    morphs, result = dense_morphs(model), np.zeros((2, 52, 3), np.float32)
    for side, (_, *parts) in enumerate(SIDES):
        wanted = np.isin(model.face_parts, [PART_NAMES.index(name) for name in parts])
        ball = np.unique(model.faces[wanted])
        arm = model.template_m[ball] - model.template_m[ball].mean(axis=0)
        lever = np.cross(np.eye(3)[None], arm[:, None]).transpose(0, 2, 1).reshape(-1, 3)
        for action in range(52):
            moved = morphs[action, ball]
            if np.abs(moved).max() > 0.0:
                moved = moved - moved.mean(axis=0)
                result[side, action] = np.linalg.lstsq(lever, moved.ravel(), rcond=None)[0]
    return result
