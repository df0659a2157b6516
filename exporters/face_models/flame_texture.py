"""FLAME's texture space, from the user's own ``FLAME_texture.npz``: eq. (2), and where it lies.

``mean`` (S, S, 3) and ``tex_dir`` (S, S, 3, K), blue first and up to 255, in standard deviations;
``vt`` and ``ft``, the texture coordinates that the model's own file has not.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.avatar.array_file import ArrayFile, open_arrays
from engine.avatar.morphable_model import Albedo, Basis, MorphableModel
from engine.errors import ModelFileError
from engine.types import F32

CURE = "expected FLAME_texture.npz of flame.is.tue.mpg.de"
MAX_BYTES = 4 << 30
MODES = 50
"""The first ones kept: 200 of a 512 x 512 texture fill 300 MB and add grain."""
ROWS = 8


def give_texture(flame: MorphableModel, path: Path) -> MorphableModel:
    """FLAME with albedo and texture coordinates.

    Raises:
        ModelFileError: the file is not FLAME's texture space, or of another mesh.
    """
    with open_arrays(path, MAX_BYTES, CURE) as arrays:
        mean = arrays.read("mean")
        if mean.ndim != 3 or mean.shape[2] != 3 or not mean.size:
            raise ModelFileError(f"{path}: mean has shape {mean.shape}, expected S x S x 3; {CURE}")
        modes = _modes(arrays, mean.shape, path)
        uvs = arrays.read("vt").astype(np.float32)
        face_uvs = arrays.read("ft").astype(np.int64)
    if uvs.ndim != 2 or uvs.shape[1] != 2 or face_uvs.shape != flame.faces.shape:
        raise ModelFileError(
            f"{path}: vt and ft have shapes {uvs.shape} and {face_uvs.shape}, expected any x 2 and "
            f"{flame.faces.shape}; {CURE}"
        )
    if face_uvs.min() < 0 or face_uvs.max() >= len(uvs):
        raise ModelFileError(f"{path}: ft points outside of 0..{len(uvs) - 1}; {CURE}")
    if not all(np.isfinite(values).all() for values in (mean, modes, uvs)):
        raise ModelFileError(f"{path} holds numbers that are not finite; {CURE}")
    colours = (mean[..., ::-1].reshape(-1, 3) / 255.0).astype(np.float32)
    return replace(
        flame,
        uvs=np.stack([uvs[:, 0], 1.0 - uvs[:, 1]], axis=1),
        face_uvs=face_uvs.astype(np.int32),
        albedo=Albedo(colours, Basis.of(modes), (mean.shape[0], mean.shape[1])),
    )


def _modes(arrays: ArrayFile, size: tuple[int, ...], path: Path) -> F32:
    """(K, S * S, 3) red first, in [0, 1] of colour."""
    shape = arrays.shape("tex_dir")
    if len(shape) != 4 or shape[:3] != size or not shape[3]:
        raise ModelFileError(f"{path}: tex_dir has shape {shape}, expected {size} by modes; {CURE}")
    kept = min(MODES, shape[3])
    modes = np.empty((kept, *size), np.float32)
    row = 0
    for part in arrays.rows("tex_dir", ROWS):
        end = row + len(part)
        modes[:, row:end] = np.moveaxis(part[:, :, ::-1, :kept], 3, 0) / 255.0
        row = end
    return modes.reshape(kept, -1, 3)
