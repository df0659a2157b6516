"""One picture with its smooth light taken out: what is left is paint, relief and noise."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from engine.face.relief.grid import Posed
from engine.face.relief.lighting import fit_light, shading
from engine.face.relief.reflectance_map import ReflectanceMap
from engine.face.relief.view import Seen
from engine.types import F32

BROADEST = 6.0
"""Texels: detail is what a Gaussian of this deviation does not show. Broader shapes are the
morphable model's."""
OTHER_THAN_SKIN = 0.4
"""Log radiance off the median from which a texel is hair, lip, lash, sheen or shadow."""
USUAL = 0.30
"""The same, for what the reflectance map learns from."""
STRONGEST = 0.10
"""Detail counts in full up to here, and less beyond (Huber)."""
BENT = 0.03
"""Detail of the smooth face's own shading at which a texel counts half: where light changes fast,
at nose and chin, an error of the model's shape looks like relief."""
FEWEST_TEXELS = 1000


class Flattened(NamedTuple):
    """One picture's evidence; see :mod:`engine.face.relief.evidence` for the symbols."""

    detail: F32
    """(H, W) d, log units."""
    response: F32
    """(H, W, 2) c."""
    weights: F32
    """(H, W)."""


def flatten(seen: Seen, posed: Posed, bare: F32, reflectance: ReflectanceMap) -> Flattened | None:
    """Explain a picture by light on a smooth face; None where too little skin is seen.

    Args:
        seen: the picture in texture space.
        posed: the smooth face in it.
        bare: (H, W) in [0, 1]: skin without features.
        reflectance: of this person in this light; learns from the picture.
    """
    weights = np.where(bare > 0, seen.weights, 0.0).astype(np.float32)
    skin = weights > 0.2
    if np.count_nonzero(skin) < FEWEST_TEXELS:
        return None
    light = fit_light(posed.normals[skin], seen.radiance[skin], weights[skin])
    if light is None:
        return None
    shape = weights.shape
    log_shading, by_normal = shading(light, posed.normals.reshape(-1, 3))
    log_shading, by_normal = log_shading.reshape(shape), by_normal.reshape(*shape, 3)
    left = np.log(np.maximum(seen.radiance, 1e-4)) - log_shading
    middle = np.float32(np.median(left[skin]))
    usual = skin & (np.abs(left - middle) < USUAL)
    reflectance.learn(posed.normals[usual], left[usual] - middle, weights[usual])
    correction, slope = reflectance.look_up(posed.normals)
    left -= correction
    by_normal += slope
    weights *= np.clip(1.5 - np.abs(left - middle) / OTHER_THAN_SKIN, 0.0, 1.0)
    weights *= cv2.erode((weights > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
    detail = left - _local_mean(left, weights)
    bent = log_shading + correction
    bent = (bent - _local_mean(bent, weights)) / BENT
    weights *= np.minimum(1.0, STRONGEST / np.maximum(np.abs(detail), 1e-6)) / (1.0 + bent * bent)
    response = np.einsum("hwik,hwk->hwi", posed.slopes, by_normal)
    return Flattened(*(np.asarray(a, np.float32) for a in (detail, response, weights)))


def _local_mean(values: F32, weights: F32) -> F32:
    total = cv2.GaussianBlur(weights, (0, 0), BROADEST)
    mean = cv2.GaussianBlur(values * weights, (0, 0), BROADEST) / np.maximum(total, 1e-3)
    return np.asarray(mean, np.float32)
