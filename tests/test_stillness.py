"""Who rests is held still; whoever moves a single limb has the whole freedom at once."""

from __future__ import annotations

import numpy as np
import pytest
from puppet import Noise, Puppet

from engine.avatar.anny import FILE_NAME, BodyModel
from engine.body import stillness
from engine.body.stillness import LEAST, Stillness
from engine.inference.store import ModelStore

METRE_PER_PX = 0.0054


def freedoms(points: np.ndarray, fps: float, trust: np.ndarray | None = None) -> list[float]:
    person = Stillness()
    trust = np.ones(33) if trust is None else trust
    frames = points.astype(np.float32)
    return [person.freedom(frame, trust, METRE_PER_PX, 1.0 / fps) for frame in frames]


def standing(frames: int, noise_px: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    place = rng.uniform(0, 480, (1, 33, 2))
    return place + rng.normal(0, noise_px, (frames, 33, 2))


@pytest.mark.parametrize("fps", [15.0, 30.0, 60.0, 240.0])
def test_one_moving_wrist_frees_the_whole_body(fps: float) -> None:
    frames = round(2 * fps)
    points = standing(frames, 0.0)
    seconds = np.maximum(np.arange(frames) / fps - 1.0, 0.0)
    points[:, 16, 0] += 0.5 * seconds / METRE_PER_PX  # half a metre a second
    found = freedoms(points, fps)
    assert found[0] == 1.0, "nothing is known of somebody new"
    assert found[frames // 2 - 1] == LEAST
    assert found[frames // 2 + round(0.1 * fps) + 1] == 1.0, "within a tenth of a second"


def test_a_landmark_that_nobody_sees_says_nothing() -> None:
    points, trust = standing(60, 0.0), np.ones(33)
    points[:, 16, 0] += np.arange(60) * 10.0
    assert freedoms(points, 30.0)[-1] == 1.0
    trust[16] = 0.1
    assert freedoms(points, 30.0, trust)[-1] == LEAST


def test_a_network_that_trembles_a_little_leaves_a_person_at_rest() -> None:
    assert np.mean(freedoms(standing(90, 0.3), 30.0)[30:]) < 0.6


def test_arms_at_rest_do_not_swing_in_depth(
    model_cache: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Depth of an arm is told by noise alone; a person who rests must not sway by it."""
    puppet = Puppet(BodyModel.load(model_cache.path(FILE_NAME)))
    puppet.natural(np.random.default_rng(4), 0.3)
    wrists, noise = puppet.joints("wrist.L", "wrist.R"), Noise(px=0.2, world_m=0.02)

    def trembling_mm() -> float:
        fitter, rng = puppet.fitter(), np.random.default_rng(1)
        fits = [fitter.fit(puppet.see(n, noise, rng)) for n in range(90)]
        places = np.array([puppet.fitted_joints_m(fit)[wrists] for fit in fits])
        return 1e3 * float(np.sqrt((np.diff(places[30:], axis=0) ** 2).sum(-1).mean()))

    held = trembling_mm()
    monkeypatch.setattr(stillness, "LEAST", 1.0)
    assert held < 0.6 * trembling_mm()
