"""Where relief is looked for: skin that is neither lid, lash, lip nor nostril.

Placed by the texture coordinates that also place the paint (:mod:`engine.avatar.paint.face`):
features move and shade themselves, and their paint is no wrinkle. Brows, beards and hair differ
from person to person and are found by their brightness instead.
"""

from __future__ import annotations

import numpy as np

from engine.avatar.paint.atlas import MIDLINE
from engine.avatar.paint.brush import spot
from engine.types import F32

EYE, EYE_REACH = (0.836, 0.034), (0.010, 0.018)
MOUTH, MOUTH_REACH = (0.909, 0.0), (0.012, 0.020)
NOSTRIL, NOSTRIL_REACH = (0.880, 0.010), (0.006, 0.010)
"""Centres by (u, distance off the midline), and the spots' radii."""


def bare_skin(u: F32, v: F32) -> F32:
    """(H, W) in [0, 1] from texture coordinates that broadcast to it: 0 on features."""
    off = np.abs(v - np.float32(MIDLINE))
    features = spot(u, off, EYE, EYE_REACH)
    features = np.maximum(features, spot(u, off, MOUTH, MOUTH_REACH))
    features = np.maximum(features, spot(u, off, NOSTRIL, NOSTRIL_REACH))
    return np.asarray(np.clip(1.3 - 1.6 * features, 0.0, 1.0), np.float32)
