"""``sars convert``: other people's heads, from their own files to ours.

Each gets what it lacks from Anny's head, laid onto it: the 478 landmarks, and where its makers
named no expressions, ARKit's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.avatar.anny import BodyModel
from engine.avatar.anny_head import anny_head
from engine.avatar.morphable_file import save_morphable_model
from engine.avatar.morphable_model import MorphableModel
from engine.errors import ModelFileError, SetupError
from exporters.face_models import ict_layout, known_points
from exporters.face_models.correspondence import embed_landmarks, lay_onto
from exporters.face_models.facescape import read_facescape
from exporters.face_models.flame import read_flame
from exporters.face_models.flame_actions import give_actions
from exporters.face_models.flame_landmarks import read_known_points
from exporters.face_models.flame_texture import give_texture
from exporters.face_models.ict import read_ict


def convert_ict(source: Path, body: BodyModel) -> MorphableModel:
    """ICT-FaceKit with landmarks.

    Raises:
        ModelFileError: ``source`` is not its folder or file.
    """
    model = read_ict(source)
    return _with_landmarks(model, known_points.of_68(model, ict_layout.LANDMARKS_68), body)


def convert_facescape(source: Path, body: BodyModel) -> MorphableModel:
    """FaceScape with landmarks.

    Raises:
        ModelFileError: ``source`` is not its bilinear model.
    """
    model, landmarks = read_facescape(source)
    return _with_landmarks(model, known_points.of_68(model, landmarks), body)


def convert_flame(
    source: Path, landmarks: Path | None, texture: Path | None, body: BodyModel
) -> MorphableModel:
    """FLAME with landmarks and actions.

    Args:
        source: its ``.pkl`` or ``.npz``.
        landmarks: a landmark embedding of its makers; without one Anny is laid on by shape alone.
        texture: its texture space; without one there is no albedo.
        body: the baked Anny.

    Raises:
        ModelFileError: one of the files is not what it should be.
    """
    model, rig = read_flame(source)
    if texture is not None:
        model = give_texture(model, texture)
    anny = anny_head(body).model
    known = known_points.of_shape(model)
    if landmarks is not None:
        known = {**known, **read_known_points(landmarks, model)}
    laid = lay_onto(anny, model, known)
    model = replace(model, landmarks=embed_landmarks(anny, model, laid))
    return give_actions(model, rig, anny, laid)


def _with_landmarks(
    model: MorphableModel, known: known_points.KnownPoints, body: BodyModel
) -> MorphableModel:
    anny = anny_head(body).model
    return replace(model, landmarks=embed_landmarks(anny, model, lay_onto(anny, model, known)))


def run_conversion(convert: Callable[[], MorphableModel], out: Path) -> MorphableModel:
    """Convert and write, whole or not at all.

    Raises:
        SetupError: scipy, of the set-up extra, is not installed.
        ModelFileError: as the conversion, or what was read is no head.
    """
    try:
        model = convert()
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the conversion needs {error.name}, which is not installed; "
            "run `pip install 'sars-engine[setup]'`"
        ) from error
    except np.linalg.LinAlgError as error:
        raise ModelFileError(
            f"the head has no shape that Anny's could be laid on ({error}); fetch its file again"
        ) from error
    save_morphable_model(model, out)
    return model
