"""FLAME, from the user's own licensed file: ``generic_model.pkl`` and its siblings, or ``.npz``.

Li, Bolkart, Black, Li, Romero, *Learning a model of facial shape and expression from 4D scans*
(2017): a template in metres, Y up, facing +Z; 300 identity and 100 expression components in
standard deviations, in one array ``shapedirs``; a neck, a jaw and two eyeballs on joints. The
expression components have no names: :mod:`exporters.face_models.flame_actions` gives it ARKit's.

The pickle is read by :mod:`exporters.face_models.pickle_reader`: nothing in it can execute.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.array_file import open_arrays
from engine.avatar.morphable_model import ACTIONS, Basis, MorphableModel, Part
from engine.errors import ModelFileError
from engine.types import F32, F64, I32, U8
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import as_array

LICENCE = "FLAME licence (Max Planck Society): see flame.is.tue.mpg.de; not to be passed on"
CURE = "expected generic_model.pkl, female_model.pkl or male_model.pkl of flame.is.tue.mpg.de"
MAX_BYTES = 512 << 20
IDENTITY_MODES = 300
JOINTS = 5
NECK, JAW, LEFT_EYE, RIGHT_EYE = 1, 2, 3, 4
POSE_TERMS = 9 * (JOINTS - 1)
ALL_OF_IT = 0.99
"""A skinning weight from which on a vertex belongs to one joint alone."""


@dataclass(frozen=True, slots=True)
class FlameRig:
    """What moves FLAME's jaw and eyes."""

    template_m: F64
    """(V, 3)."""
    joints_m: F64
    """(5, 3): root, neck, jaw, left eye, right eye."""
    weights: F64
    """(V, 5) linear blend skinning."""
    pose_modes_m: F64
    """(V, 3, 36): correctives on the entries of ``R - I`` of the joints but the root."""

    def turned(self, joint: int, rotation: F64) -> F64:
        """(V, 3) how every vertex moves when one joint without children turns (eqs 2-5).

        Args:
            joint: jaw or an eye.
            rotation: (3, 3).
        """
        terms = self.pose_modes_m[:, :, 9 * (joint - 1) : 9 * joint]
        corrected = self.template_m + terms @ (rotation - np.eye(3)).ravel()
        pivot = self.joints_m[joint]
        turned = (corrected - pivot) @ rotation.T + pivot
        share = self.weights[:, joint, None]
        return np.asarray((1.0 - share) * corrected + share * turned - self.template_m)


def read_flame(path: Path) -> tuple[MorphableModel, FlameRig]:
    """The model, without named actions and landmarks, and its joints.

    Raises:
        ModelFileError: something is missing, damaged or not of the model's shape, or the pickle
            asks for something that a model file should not.
    """
    fields = _Fields(path)
    template = fields.take("v_template", (-1, 3))
    vertices = len(template)
    modes = fields.take("shapedirs", (vertices, 3, -1))
    faces = fields.triangles("f", vertices)
    weights = fields.take("weights", (vertices, JOINTS))
    rig = FlameRig(
        template_m=template,
        joints_m=fields.take("J_regressor", (JOINTS, vertices)) @ template,
        weights=weights,
        pose_modes_m=fields.take("posedirs", (vertices, 3, POSE_TERMS)),
    )
    identity = modes[:, :, :IDENTITY_MODES].transpose(2, 0, 1)
    uvs, face_uvs = fields.texture_coordinates(len(faces))
    model = MorphableModel(
        name="FLAME",
        licence=LICENCE,
        mean_m=template.astype(np.float32),
        identity=Basis.of(identity.astype(np.float32)),
        expression=Basis.of(np.zeros((ACTIONS, vertices, 3), np.float32)),
        actions=np.zeros(ACTIONS, np.bool_),
        correctives=(),
        faces=faces,
        face_parts=_parts(faces, weights),
        uvs=uvs,
        face_uvs=face_uvs,
    )
    return model, rig


def _parts(faces: I32, weights: F64) -> U8:
    """Skin, but for the triangles that hang on an eye's joint alone."""
    parts = np.full(len(faces), Part.FACE, np.uint8)
    for joint, part in ((LEFT_EYE, Part.EYE_LEFT), (RIGHT_EYE, Part.EYE_RIGHT)):
        parts[(weights[faces, joint] > ALL_OF_IT).all(axis=1)] = part
    return parts


class _Fields:
    """The arrays of either kind of file, checked as they are taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values = _read_npz(path) if path.suffix == ".npz" else read_pickle(path)

    def take(self, name: str, shape: tuple[int, ...]) -> F64:
        """Finite numbers of a shape, -1 for any length."""
        values = self._array(name)
        fits = values.ndim == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, values.shape, strict=True)
        )
        if not fits or not values.size:
            wanted = " x ".join("any" if n < 0 else str(n) for n in shape)
            raise self._error(f"{name} has shape {values.shape}, expected {wanted}")
        numbers = np.asarray(values, np.float64)
        if not np.isfinite(numbers).all():
            raise self._error(f"{name} holds numbers that are not finite")
        return numbers

    def triangles(self, name: str, limit: int) -> I32:
        """(F, 3) indices below ``limit``."""
        values = self.take(name, (-1, 3))
        if values.min() < 0 or values.max() >= limit:
            raise self._error(f"{name} points outside of 0..{limit - 1}")
        return values.astype(np.int32)

    def texture_coordinates(self, faces: int) -> tuple[F32, I32]:
        """Those of the file, glTF's way up, or none: most FLAME files have none."""
        if not {"vt", "ft"} <= self._values.keys():
            return np.zeros((0, 2), np.float32), np.zeros((0, 3), np.int32)
        uvs = self.take("vt", (-1, 2)).astype(np.float32)
        face_uvs = self.triangles("ft", len(uvs))
        if len(face_uvs) != faces:
            raise self._error(f"ft has {len(face_uvs)} rows, expected {faces}")
        uvs[:, 1] = 1.0 - uvs[:, 1]
        return uvs, face_uvs

    def _array(self, name: str) -> NDArray[Any]:
        if name not in self._values:
            raise self._error(f"there is no {name}")
        try:
            return as_array(self._values[name])
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
            raise self._error(f"{name} is not an array ({error})") from error

    def _error(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: {what}; {CURE}")


def _read_npz(path: Path) -> dict[str, Any]:
    names = ("v_template", "shapedirs", "f", "weights", "J_regressor", "posedirs", "vt", "ft")
    with open_arrays(path, MAX_BYTES, CURE) as arrays:
        return {name: arrays.read(name) for name in names if name in arrays.names}
