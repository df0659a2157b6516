"""Landmark embeddings that FLAME's makers give out beside the model, as known points.

Either ``flame_static_embedding.pkl``, whose 51 points are Multi-PIE's without the jaw line, or
``mediapipe_landmark_embedding.npz``, whose points say which of MediaPipe's they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.avatar.array_file import open_arrays
from engine.avatar.morphable_model import MorphableModel
from engine.errors import ModelFileError
from engine.face.landmark_embedding import LANDMARKS
from exporters.face_models.known_points import MEDIAPIPE_OF_68, KnownPoints
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import as_array

CURE = "expected flame_static_embedding.pkl or mediapipe_landmark_embedding.npz of FLAME's makers"
MAX_BYTES = 16 << 20
JAW_LINE = 17
"""Points of Multi-PIE's that a static embedding leaves out."""
FACES, WEIGHTS, NUMBERS = "lmk_face_idx", "lmk_b_coords", "landmark_indices"


def read_known_points(path: Path, flame: MorphableModel) -> KnownPoints:
    """The embedding's points on the mean head, by MediaPipe's numbers.

    Raises:
        ModelFileError: the file is neither embedding, damaged, or of another mesh.
    """
    values = _values(path)
    try:
        rows = as_array(values[FACES]).astype(np.int64).reshape(-1)
        weights = as_array(values[WEIGHTS]).astype(np.float64)
        numbers = (
            as_array(values[NUMBERS]).astype(np.int64).reshape(-1) if NUMBERS in values else None
        )
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ModelFileError(f"{path} is no landmark embedding ({error}); {CURE}") from error
    count = 68 - JAW_LINE if numbers is None else len(numbers)
    if weights.shape != (count, 3) or rows.shape != (count,) or not np.isfinite(weights).all():
        raise ModelFileError(
            f"{path}: {FACES} and {WEIGHTS} have shapes {rows.shape} and {weights.shape}, expected "
            f"({count},) and ({count}, 3); {CURE}"
        )
    if rows.min(initial=0) < 0 or rows.max(initial=0) >= len(flame.faces):
        raise ModelFileError(f"{path}: {FACES} points outside of FLAME's {len(flame.faces)} faces")
    points = np.einsum("nk,nkd->nd", weights, flame.mean_m[flame.faces[rows]].astype(np.float64))
    if numbers is None:
        return {
            landmark: points[own - JAW_LINE]
            for own, landmark in MEDIAPIPE_OF_68.items()
            if own >= JAW_LINE
        }
    return {int(n): point for n, point in zip(numbers, points, strict=True) if 0 <= n < LANDMARKS}


def _values(path: Path) -> dict[str, Any]:
    if path.suffix != ".npz":
        return read_pickle(path)
    with open_arrays(path, MAX_BYTES, CURE) as arrays:
        return {name: arrays.read(name) for name in (FACES, WEIGHTS, NUMBERS)}
