"""People of another model: random identities of ICT-FaceKit, and landmarks known on it."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import numpy as np

from engine.avatar.morphable_model import MorphableModel, Part
from engine.errors import ModelFileError
from engine.types import F32, I32
from exporters.face_models.ict import read_ict
from exporters.face_models.ict_layout import LANDMARKS_68

ICT_VARIABLE = "SARS_ICT"
NEARBY = Path(__file__).resolve().parents[3] / "shared/data/ict_facekit/ict_light_compact.npz"
MOST_UNUSUAL = 2.5
"""Standard deviations at which a mode is cut off: beyond, one mode makes a caricature."""

LANDMARK_VERTICES = tuple(map(int, LANDMARKS_68[17:]))
"""Vertices of iBUG's landmarks 18 to 68 (brows, nose, lids, lips)."""
LANDMARKS_478 = (
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 98, 97, 2, 326, 327, 33, 160,
    158, 133, 153, 144, 362, 385, 387, 263, 373, 380, 61, 39, 37, 0, 267, 269, 291, 405, 314, 17,
    84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""The same places among MediaPipe's 478 landmarks."""
NOSE_TIP = LANDMARKS_478.index(4)


def find_ict(path: Path | None = None) -> Path:
    """Where ICT-FaceKit is: as given, as the environment says, or beside the project.

    Raises:
        ModelFileError: it is at none of these places.
    """
    named = path or os.environ.get(ICT_VARIABLE)
    found = Path(named) if named else NEARBY
    if not found.exists():
        raise ModelFileError(
            f"expected the ICT-FaceKit model at {found}, found nothing there; give the folder "
            f"FaceXModel of github.com/ICT-VGL/ICT-FaceKit with --ict or in ${ICT_VARIABLE}"
        )
    return found


@cache
def load_ict(path: Path) -> MorphableModel:
    """The model, read once."""
    return read_ict(path)


def skin(model: MorphableModel) -> I32:
    """(F, 3) triangles of the outer skin: face, scalp, ears and neck, without eyes and mouth."""
    return model.faces_of(Part.FACE, Part.HEAD)


def random_alpha(model: MorphableModel, number: int) -> F32:
    """(K,) coefficients of person ``number``: the standard normal of ICT's own statistics."""
    rng = np.random.default_rng([number, 0x1C7])
    drawn = rng.standard_normal(len(model.identity))
    return np.clip(drawn, -MOST_UNUSUAL, MOST_UNUSUAL).astype(np.float32)
