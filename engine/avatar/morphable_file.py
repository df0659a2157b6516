"""A morphable head on disk: one versioned file of plain arrays, its licence inside.

``sars convert`` writes it from other people's formats; nothing else has to know those.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.array_file import ArrayFile, open_arrays
from engine.avatar.morphable_model import ACTIONS, Albedo, Basis, MorphableModel, Part
from engine.avatar.surface_points import NOWHERE, SurfacePoints
from engine.errors import ModelFileError
from engine.face.landmark_embedding import LANDMARKS
from engine.inference.store import write_atomically

FORMAT_VERSION = 1
MAX_BYTES = 512 << 20
MAX_TEXT = 10_000
CURE = "run `sars convert` on the model's own files again"
Array = NDArray[Any]
Shape = tuple[int, ...]


def save_morphable_model(model: MorphableModel, path: Path) -> None:
    """Write the model, whole or not at all.

    Raises:
        OSError: the file cannot be written.
    """
    content = io.BytesIO()
    np.savez_compressed(content, **_arrays(model))  # type: ignore[arg-type]
    write_atomically(path, content.getvalue())


def load_morphable_model(path: Path) -> MorphableModel:
    """Read and check a file of :func:`save_morphable_model`: every shape, number and index.

    Raises:
        ModelFileError: it is missing, damaged, of another version, or one of its arrays is not
            what the others ask for; the message says what was expected.
    """
    with open_arrays(path, MAX_BYTES, CURE) as arrays:
        version = arrays.read("format_version")
        if version.shape != () or int(version) != FORMAT_VERSION:
            raise ModelFileError(
                f"{path} is a morphable model of version {version}, expected {FORMAT_VERSION}; "
                f"{CURE}"
            )
        return _Reader(path, arrays).model()


def _arrays(model: MorphableModel) -> dict[str, Array]:
    arrays = {
        "format_version": np.array(FORMAT_VERSION),
        "name": np.array(model.name),
        "licence": np.array(model.licence),
        "mean_m": model.mean_m,
        "identity_steps": model.identity.steps,
        "identity_step_m": model.identity.step,
        "expression_steps": model.expression.steps,
        "expression_step_m": model.expression.step,
        "actions": model.actions,
        "correctives": np.array(model.correctives, np.int32).reshape(-1, 2),
        "faces": model.faces,
        "face_parts": model.face_parts,
        "uvs": model.uvs,
        "face_uvs": model.face_uvs,
    }
    if model.landmarks is not None:
        arrays["landmark_triangles"] = model.landmarks.triangles
        arrays["landmark_barycentric"] = model.landmarks.barycentric
    if model.albedo is not None:
        arrays["albedo_mean"] = model.albedo.mean
        arrays["albedo_steps"] = model.albedo.basis.steps
        arrays["albedo_step"] = model.albedo.basis.step
        arrays["albedo_size"] = np.array(model.albedo.size or (), np.int32)
    return arrays


class _Reader:
    """Takes arrays out of one file and says what is wrong with them."""

    def __init__(self, path: Path, arrays: ArrayFile) -> None:
        self._path, self._arrays = path, arrays

    def model(self) -> MorphableModel:
        mean = self._floats("mean_m", (-1, 3))
        uvs = self._floats("uvs", (-1, 2))
        faces = self._indices("faces", (-1, 3), len(mean))
        uv_rows = len(faces) if len(uvs) else 0
        correctives = self._indices("correctives", (-1, 2), ACTIONS)
        return MorphableModel(
            name=self._text("name"),
            licence=self._text("licence"),
            mean_m=mean,
            identity=self._basis("identity_steps", "identity_step_m", (-1, len(mean), 3)),
            expression=self._basis(
                "expression_steps", "expression_step_m", (ACTIONS, len(mean), 3)
            ),
            actions=self._take("actions", (ACTIONS,), np.bool_),
            correctives=tuple((int(a), int(b)) for a, b in correctives),
            faces=faces,
            face_parts=self._indices("face_parts", (len(faces),), len(Part)).astype(np.uint8),
            uvs=uvs,
            face_uvs=self._indices("face_uvs", (uv_rows, 3), len(uvs)),
            landmarks=self._landmarks(len(mean)),
            albedo=self._albedo(len(mean)),
        )

    def _landmarks(self, vertices: int) -> SurfacePoints | None:
        if "landmark_triangles" not in self._arrays.names:
            return None
        triangles = self._indices("landmark_triangles", (LANDMARKS, 3), vertices, NOWHERE)
        barycentric = self._take("landmark_barycentric", (LANDMARKS, 3), np.float32)
        nowhere = triangles == NOWHERE
        if not (nowhere == np.isnan(barycentric)).all() or (nowhere.any(1) != nowhere.all(1)).any():
            raise self._error("a landmark is half placed; expected -1 and NaN together or neither")
        if not np.allclose(barycentric.sum(axis=1)[~nowhere[:, 0]], 1.0, atol=1e-3):
            raise self._error("landmark_barycentric has rows that do not sum to 1")
        return SurfacePoints(triangles, barycentric)

    def _albedo(self, vertices: int) -> Albedo | None:
        if "albedo_mean" not in self._arrays.names:
            return None
        size = self._take("albedo_size", (-1,), np.int32)
        if len(size) not in (0, 2) or (size < 1).any():
            raise self._error(f"albedo_size is {size}, expected nothing or height and width")
        samples = int(np.prod(size, dtype=np.int64)) if len(size) else vertices
        return Albedo(
            mean=self._floats("albedo_mean", (samples, 3)),
            basis=self._basis("albedo_steps", "albedo_step", (-1, samples, 3)),
            size=(int(size[0]), int(size[1])) if len(size) else None,
        )

    def _basis(self, steps: str, step: str, shape: Shape) -> Basis:
        values = self._take(steps, shape, np.int16)
        return Basis(values, self._floats(step, (len(values),)))

    def _floats(self, name: str, shape: Shape) -> NDArray[np.float32]:
        values: NDArray[np.float32] = self._take(name, shape, np.float32)
        if not np.isfinite(values).all():
            raise self._error(f"{name} holds numbers that are not finite")
        return values

    def _indices(self, name: str, shape: Shape, limit: int, least: int = 0) -> NDArray[np.int32]:
        values: NDArray[np.int32] = self._take(name, shape, np.int32)
        if values.size and not (values.min() >= least and values.max() < limit):
            raise self._error(f"{name} points outside of 0..{limit - 1}")
        return values

    def _take(self, name: str, shape: Shape, dtype: type[np.generic]) -> Any:
        values = self._arrays.read(name)
        found = values.shape
        fits = len(found) == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, found, strict=True)
        )
        if not fits or not np.can_cast(values.dtype, dtype, "same_kind"):
            wanted = " x ".join("any" if n < 0 else str(n) for n in shape) or "one"
            raise self._error(
                f"{name} has shape {found} of {values.dtype}, expected {wanted} of "
                f"{np.dtype(dtype)}"
            )
        return np.ascontiguousarray(values, dtype)

    def _text(self, name: str) -> str:
        value = self._arrays.read(name)
        if value.shape != () or value.dtype.kind != "U" or value.itemsize > 4 * MAX_TEXT:
            raise self._error(f"{name} is not a line of text")
        return str(value)

    def _error(self, what: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: {what}; {CURE}")
