"""ARKit's actions for FLAME, whose own expressions have no names.

The skin's come from Anny by deformation transfer. What FLAME has joints for, its joints do: an
eyeball turns by the angle that Anny's turns by, and the jaw by the angle that comes closest to
the jaw of the transferred action, so that FLAME's own skinning and pose correctives shape it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from engine import quaternions
from engine.avatar.morphable_model import (
    ACTIONS,
    JAW_OPEN,
    MOUTH_CLOSE,
    Basis,
    MorphableModel,
    Part,
)
from engine.face.head_pose import procrustes
from engine.fusion.closest_point import SurfaceTree
from engine.types import ARKIT_NAMES, F64
from exporters.face_models.correspondence import LaidOnto
from exporters.face_models.flame import JAW, LEFT_EYE, RIGHT_EYE, FlameRig
from exporters.face_models.transfer import transfer

JAW_AXES = {"jawOpen": (1.0, 0.0, 0.0), "jawLeft": (0.0, 1.0, 0.0), "jawRight": (0.0, 1.0, 0.0)}
WIDEST = 0.6
"""Radians that the jaw is tried at, either way."""
STEPS = 121
TONGUE_OUT = ARKIT_NAMES.index("tongueOut")
"""FLAME has no tongue."""
EYES = (("Left", LEFT_EYE, Part.EYE_LEFT), ("Right", RIGHT_EYE, Part.EYE_RIGHT))


def give_actions(
    flame: MorphableModel, rig: FlameRig, anny: MorphableModel, laid: LaidOnto
) -> MorphableModel:
    """FLAME with ARKit's actions, all but the tongue's.

    Args:
        flame: as read, without actions.
        rig: its joints.
        anny: the head that lends its actions.
        laid: Anny's head on FLAME's mean.
    """
    modes = np.stack([anny.expression.mode(k) for k in range(ACTIONS)])
    lent = laid.directions(modes.astype(np.float64))
    skin = SurfaceTree(laid.vertices, anny.faces_of(Part.FACE))
    offsets = transfer(skin, lent, rig.template_m, flame.faces_of(Part.FACE))
    closed = offsets[JAW_OPEN] + offsets[MOUTH_CLOSE]
    for name, axis in JAW_AXES.items():
        action = ARKIT_NAMES.index(name)
        offsets[action] = _jaw(rig, offsets[action], np.array(axis))
    # Lips over the jaw as FLAME's own joint opens it.
    offsets[MOUTH_CLOSE] = closed - offsets[JAW_OPEN]
    for side, joint, part in EYES:
        ball = np.unique(anny.faces_of(part))
        rest = laid.directions(anny.mean_m[ball].astype(np.float64))
        for action in _gazes(side):
            offsets[action] += _gaze(rig, joint, rest, lent[action, ball])
    offsets[TONGUE_OUT] = 0.0
    actions = np.ones(ACTIONS, np.bool_)
    actions[TONGUE_OUT] = False
    return replace(
        flame,
        expression=Basis.of(offsets.astype(np.float32)),
        actions=actions,
        correctives=anny.correctives,
    )


def _jaw(rig: FlameRig, wanted: F64, axis: F64) -> F64:
    """(V, 3) the jaw turned about an axis by the angle that comes closest to an action."""
    tried = (
        rig.turned(JAW, _rotation(angle * axis)) for angle in np.linspace(-WIDEST, WIDEST, STEPS)
    )
    weights = rig.weights[:, JAW]
    return min(tried, key=lambda turned: float(weights @ ((turned - wanted) ** 2).sum(axis=1)))


def _gazes(side: str) -> list[int]:
    return [
        k
        for k, name in enumerate(ARKIT_NAMES)
        if name.startswith("eyeLook") and name.endswith(side)
    ]


def _gaze(rig: FlameRig, joint: int, ball: F64, moved: F64) -> F64:
    """(V, 3) the eye turned as far as Anny's eyeball (N, 3) turns under offsets (N, 3)."""
    turn = procrustes(ball, ball + moved, np.ones(len(ball))).rotation
    return rig.turned(joint, turn)


def _rotation(vector: F64) -> F64:
    return np.asarray(quaternions.to_matrix(quaternions.from_rotation_vector(vector)), np.float64)
