"""Known faces, rendered, seen by the real landmark network, and read back."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from engine.avatar.anny import BodyModel
from engine.face.face_fit import FaceFitter
from engine.inference.store import BODY_FILE, ModelStore
from engine.perception.face import FaceTracker
from engine.perception.networks import Networks
from engine.types import ARKIT_NAMES, Camera, FaceLandmarks, Phenotypes

PEOPLE, SHOTS = 3, 80
UNLIKE_CALIBRATION = 77


def _read(samples, person: int, fitter: FaceFitter, side: int) -> tuple[np.ndarray, np.ndarray]:
    """True and read expressions of one person, who first keeps a straight face."""
    chosen = np.flatnonzero(samples.people == person)
    faces = [FaceLandmarks(samples.points_px[i], 1.0) for i in chosen]
    cameras = [Camera(*map(float, samples.lenses[i]), side, side) for i in chosen]
    truth = samples.expressions[chosen]
    straight = np.flatnonzero(truth.sum(axis=1) == 0.0)
    for _ in range(4):
        for i in straight:
            fitter.fit(faces[i], cameras[i])
    read = [fitter.fit(f, c, 1e-3).expression for f, c in zip(faces, cameras, strict=True)]
    return truth, np.array(read)


@pytest.mark.slow
def test_expressions_come_back_through_the_real_network(model_cache: ModelStore) -> None:
    pytest.importorskip("moderngl")
    from exporters.face_calibration.samples import SIDE, observe_people

    model = BodyModel.load(model_cache.folder / BODY_FILE)
    tracker = FaceTracker(Networks(model_cache))
    samples = observe_people(model, tracker, PEOPLE, SHOTS, UNLIKE_CALIBRATION)
    assert len(samples.people) > 0.9 * PEOPLE * SHOTS
    head, average = model.joint_names.index("head"), model.shape(Phenotypes())
    assert samples.phenotypes.shape == (PEOPLE, len(fields(Phenotypes)))
    results = [
        _read(
            samples,
            person,
            FaceFitter(average.vertices_m, average.joints_m[head], smooth=False),
            SIDE,
        )
        for person in range(PEOPLE)
    ]
    truth, read = (np.concatenate(parts) for parts in zip(*results, strict=True))
    explained = 1.0 - ((truth - read) ** 2).sum() / (truth**2).sum()

    assert explained > 0.5
    assert read[truth.sum(axis=1) == 0.0].mean() <= 0.03
    for name in ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight", "mouthSmileLeft"):
        k = ARKIT_NAMES.index(name)
        assert np.corrcoef(truth[:, k], read[:, k])[0, 1] > 0.7
