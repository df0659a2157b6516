"""Where on a face an error is: named regions of Anny's head, by place between its features."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import BodyModel
from engine.face.landmark_embedding import default_embedding
from engine.types import F32, Phenotypes

LEFT_IRIS, RIGHT_IRIS = 473, 468
# Lengths are in interocular distances, seen from between the irises.
BROW, LID, UPPER_LIP, CHIN = 0.45, -0.30, -0.85, -1.30
NOSE_HALF, EYES_HALF, MOUTH_HALF = 0.30, 0.85, 0.50

Mask = NDArray[np.bool_]


def face_regions(anny: BodyModel) -> dict[str, Mask]:
    """Name to (V,) mask; together they are all of the head, none twice."""
    rest = anny.shape(Phenotypes()).vertices_m
    x, y, _ = _interocular(rest).T
    x = np.abs(x)
    forehead, jaw = y > BROW, y <= CHIN
    nose = ~forehead & (x < NOSE_HALF) & (y > UPPER_LIP)
    eyes = ~forehead & ~nose & (x < EYES_HALF) & (y > LID)
    mouth = ~jaw & (x < MOUTH_HALF) & (y <= UPPER_LIP)
    cheeks = ~(forehead | jaw | nose | eyes | mouth)
    return {
        "forehead": forehead,
        "eyes": eyes,
        "nose": nose,
        "cheeks": cheeks,
        "mouth": mouth,
        "jaw": jaw,
    }


def _interocular(rest_m: F32) -> F32:
    irises = default_embedding().landmarks_m(rest_m)[[LEFT_IRIS, RIGHT_IRIS]]
    distance = np.linalg.norm(irises[0] - irises[1])
    return np.asarray((rest_m - irises.mean(axis=0)) / distance, np.float32)


def mean_by_region(deviation_mm: NDArray[np.float64], regions: dict[str, Mask]) -> dict[str, float]:
    """Mean absolute deviation of each region; ``deviation_mm`` (V,) is NaN where not measured."""
    size = np.abs(deviation_mm)
    return {name: float(np.nanmean(size[mask])) for name, mask in regions.items()}
