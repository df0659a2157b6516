"""FaceScape's bilinear model, from the user's own licensed file (version 1.6).

``facescape_bm_v1.6_847_50_52_id_front.npz`` and its siblings hold a core tensor of (3V, 52, K):
vertex coordinates by expression by identity factor. Neutral is expression 0. A person's neutral
face is linear in the identity factors, which have a mean and a variance of their own; expressions
are taken at the mean identity, so that they are the same for everybody, as in eq. (1).

The core of the larger models fills several gigabytes: it is read in slices.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.array_file import ArrayFile, open_arrays
from engine.avatar.morphable_model import (
    ACTIONS,
    JAW_OPEN,
    MOUTH_CLOSE,
    Albedo,
    Basis,
    MorphableModel,
    Part,
)
from engine.errors import ModelFileError
from engine.types import ARKIT_NAMES, F32, I32
from exporters.face_models.metric_scale import metres_per_unit

Array = NDArray[Any]
LICENCE = "FaceScape licence (Nanjing University): non-commercial research, not to be passed on"
CURE = "expected facescape_bm_v1.6_847_*_52_id*.npz, which facescape.nju.edu.cn gives out"
MAX_BYTES = 12 << 30
EXPRESSIONS = 52
ROWS = 3 * 512
OUTER_EYE_CORNERS = (36, 45)
"""In the 68 landmarks that the file lists."""

ACTION_ORDER: tuple[str, ...] = (
    "eyeBlinkLeft", "eyeBlinkRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight",
    "eyeWideLeft", "eyeWideRight", "eyeLookOutLeft", "eyeLookOutRight",
    "eyeLookUpLeft", "eyeLookUpRight", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight", "jawOpen", "mouthClose", "jawLeft", "jawRight",
    "jawForward", "mouthUpperUpLeft", "mouthUpperUpRight", "mouthLowerDownLeft",
    "mouthLowerDownRight", "mouthRollUpper", "mouthRollLower", "mouthSmileLeft",
    "mouthSmileRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthFrownLeft", "mouthFrownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthFunnel", "mouthLeft", "mouthRight",
    "mouthShrugLower", "mouthShrugUpper", "noseSneerLeft", "noseSneerRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight",
)  # fmt: skip
"""ARKit's names of expressions 1 to 51, as FaceScape's authors name them (their issue 52:
EyeBlink_L, ... LipsUpperClose is mouthRollUpper, ChinLowerRaise mouthShrugLower, ...)."""


def read_facescape(path: Path) -> tuple[MorphableModel, NDArray[np.int64]]:
    """The full head, not embedded yet, and its vertices (68,) at Multi-PIE's landmarks.

    Raises:
        ModelFileError: something is missing, damaged or not of the model's shape.
    """
    with open_arrays(path, MAX_BYTES, CURE) as arrays:
        factors_mean, factors_sd = _identity_factors(arrays, path)
        poses, modes = _contract(arrays, path, factors_mean, factors_sd)
        vertices = poses.shape[1]
        faces = _polygons(arrays, "fv_indices", vertices, path)
        uvs = _array(arrays, "texcoords", (-1, 2), path).astype(np.float32)
        face_uvs = _polygons(arrays, "ft_indices", len(uvs), path)
        if face_uvs.shape != faces.shape:
            raise ModelFileError(
                f"{path}: ft_indices has shape {face_uvs.shape}, expected {faces.shape}; {CURE}"
            )
        landmarks = _landmarks(arrays, vertices, path)
        scale = _scale(poses[0], landmarks, path)
        albedo = _albedo(arrays, vertices, path)
    neutral = poses[0]
    offsets = np.zeros((ACTIONS, vertices, 3), np.float32)
    for name, pose in zip(ACTION_ORDER, poses[1:], strict=True):
        offsets[ARKIT_NAMES.index(name)] = (pose - neutral) * scale
    uvs[:, 1] = 1.0 - uvs[:, 1]
    model = MorphableModel(
        name="FaceScape",
        licence=LICENCE,
        mean_m=neutral * scale,
        identity=Basis.of(modes * scale),
        expression=Basis.of(offsets),
        actions=np.asarray(offsets.any(axis=(1, 2))),
        correctives=((MOUTH_CLOSE, JAW_OPEN),),
        faces=faces,
        face_parts=np.full(len(faces), Part.FACE, np.uint8),
        uvs=uvs,
        face_uvs=face_uvs,
        albedo=albedo,
    )
    return model, landmarks


def _identity_factors(arrays: ArrayFile, path: Path) -> tuple[Array, Array]:
    """(K,) mean and (K,) standard deviation of the identity factors."""
    mean = _array(arrays, "id_mean", None, path).reshape(-1)
    variance = _array(arrays, "id_var", None, path).reshape(-1)
    if not 0 < len(mean) == len(variance) or (variance < 0).any():
        raise ModelFileError(
            f"{path}: expected as many variances id_var, none negative, as means id_mean, found "
            f"{len(variance)} and {len(mean)}; {CURE}"
        )
    return mean, np.sqrt(variance)


def _contract(arrays: ArrayFile, path: Path, mean: Array, deviation: Array) -> tuple[F32, F32]:
    """(52, V, 3) expressions of the mean person, (K, V, 3) identity modes of the neutral face."""
    shape = arrays.shape("shape_bm_core")
    wanted = (EXPRESSIONS, len(mean))
    if len(shape) != 3 or shape[1:] != wanted or shape[0] % 3 or not shape[0]:
        raise ModelFileError(
            f"{path}: shape_bm_core has shape {shape}, expected three rows for each vertex by "
            f"{EXPRESSIONS} expressions by {len(mean)} identity factors; {CURE}"
        )
    poses = np.empty((EXPRESSIONS, shape[0]), np.float32)
    modes = np.empty((len(mean), shape[0]), np.float32)
    start = 0
    for core in arrays.rows("shape_bm_core", ROWS):
        if core.dtype.kind != "f" or not np.isfinite(core).all():
            raise ModelFileError(f"{path}: shape_bm_core holds numbers not finite; {CURE}")
        end = start + len(core)
        poses[:, start:end] = (core @ mean.astype(core.dtype)).T
        modes[:, start:end] = (core[:, 0] * deviation.astype(core.dtype)).T
        start = end
    return poses.reshape(EXPRESSIONS, -1, 3), modes.reshape(len(mean), -1, 3)


def _landmarks(arrays: ArrayFile, vertices: int, path: Path) -> NDArray[np.int64]:
    landmarks = _array(arrays, "lm_list_v16", (68,), path).astype(np.int64)
    if landmarks.min() < 0 or landmarks.max() >= vertices:
        raise ModelFileError(f"{path}: lm_list_v16 points outside of {vertices} vertices; {CURE}")
    return landmarks


def _scale(neutral: F32, landmarks: NDArray[np.int64], path: Path) -> np.float32:
    left, right = neutral[landmarks[list(OUTER_EYE_CORNERS)]]
    try:
        return np.float32(metres_per_unit(float(np.linalg.norm(left - right))))
    except ValueError as error:
        raise ModelFileError(f"{path}: {error}; {CURE}") from error


def _polygons(arrays: ArrayFile, name: str, limit: int, path: Path) -> I32:
    """(F, 3) triangles counted from 0; the file's own count starts at 1."""
    polygons = _array(arrays, name, None, path)
    if polygons.ndim != 2 or polygons.shape[1] not in (3, 4) or not len(polygons):
        raise ModelFileError(
            f"{path}: {name} has shape {polygons.shape}, expected three or four columns; {CURE}"
        )
    if polygons.min() < 1 or polygons.max() > limit:
        raise ModelFileError(f"{path}: {name} points outside of 1..{limit}; {CURE}")
    indices = polygons.astype(np.int32) - 1
    if indices.shape[1] == 3:
        return indices
    return np.concatenate([indices[:, :3], indices[:, [0, 2, 3]]])


def _albedo(arrays: ArrayFile, vertices: int, path: Path) -> Albedo | None:
    """Colours of the front's vertices, blue first and up to 255; the back has the mean skin."""
    if "color_bm_mean" not in arrays.names:
        return None
    mean = _array(arrays, "color_bm_mean", None, path).reshape(-1, 3)[:, ::-1] / 255.0
    core = _array(arrays, "color_bm_core", (3 * len(mean), -1), path)
    source = _array(arrays, "vc_dict_front", None, path).reshape(-1).astype(np.int64)
    target = _array(arrays, "v_indices_front", (len(source),), path).astype(np.int64)
    inside = (source.max(initial=-1) < len(mean)) and (target.max(initial=-1) < vertices)
    if not inside or source.min(initial=0) < -1 or target.min(initial=0) < 0:
        raise ModelFileError(f"{path}: the vertex colours point outside of the mesh; {CURE}")
    source, target = source[source >= 0], target[source >= 0]
    colours = np.tile(mean[source].mean(axis=0), (vertices, 1)).astype(np.float32)
    colours[target] = mean[source]
    modes = np.zeros((core.shape[1], vertices, 3), np.float32)
    own = core.T.reshape(core.shape[1], -1, 3)[:, :, ::-1] / 255.0
    modes[:, target] = own[:, source]
    return Albedo(mean=colours, basis=Basis.of(modes), size=None)


def _array(arrays: ArrayFile, name: str, shape: tuple[int, ...] | None, path: Path) -> Array:
    """A numeric array; -1 in ``shape`` stands for any length, None for any shape."""
    values = arrays.read(name)
    fits = shape is None or (
        values.ndim == len(shape)
        and all(want in (-1, have) for want, have in zip(shape, values.shape, strict=True))
    )
    if not fits or values.dtype.kind not in "fiu" or not np.isfinite(values).all():
        raise ModelFileError(
            f"{path}: {name} has shape {values.shape} of {values.dtype}, expected finite numbers "
            f"of shape {shape or 'any'}; {CURE}"
        )
    return values
