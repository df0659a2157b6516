"""How far this person's lids have to travel: a narrow eye is shut sooner than Anny's."""

from __future__ import annotations

import numpy as np

from engine.types import ARKIT_NAMES, F32, F64

LIDS = ((386, 374, "eyeBlinkLeft"), (159, 145, "eyeBlinkRight"))
"""Landmarks in the middle of the upper and lower lid, and the action that closes them."""
MOST = 1.8


def blink_gains(model_m: F32, neutral_m: F64) -> F64:
    """(52,) 1, but for blinks the model's eye opening over the person's own.

    Args:
        model_m: (478, 3) the calibrated model's neutral landmarks, head axes.
        neutral_m: (478, 3) the person's, of the same head size.
    """
    gains = np.ones(len(ARKIT_NAMES))
    for upper, lower, name in LIDS:
        opening = max(neutral_m[upper, 1] - neutral_m[lower, 1], 1e-3)
        gain = (model_m[upper, 1] - model_m[lower, 1]) / opening
        gains[ARKIT_NAMES.index(name)] = np.clip(gain, 1.0, MOST)
    return gains
