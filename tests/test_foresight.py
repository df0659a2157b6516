"""The judges of calm and of prediction: what they call zero is zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.foresight import Foresight
from benchmarks.joint_errors import root_mean_square_step_mm
from benchmarks.performer_grid import NoisyCamera, Resting
from engine.inference.store import ModelStore
from engine.sources.motion.script import ScriptedMotion
from engine.sources.motion.skeleton import Skeleton
from engine.sources.performer import Performer, PerformerOptions, person
from engine.types import AvatarState


def test_steps_of_somebody_who_rests() -> None:
    joints = np.zeros((5, 3, 3))
    assert root_mean_square_step_mm(joints) == 0.0
    joints[1::2, :, 0] = 0.002
    assert root_mean_square_step_mm(joints) == pytest.approx(2.0)


def test_perfect_states_are_late_and_prediction_helps(model_cache: ModelStore) -> None:
    avatar = person(0, model_cache)
    motion = ScriptedMotion(Skeleton.of(avatar), full=True)
    performer = Performer(avatar, motion, PerformerOptions(framing="full"))
    foresight = Foresight(performer)
    for n in range(150):
        foresight.add(_timed(performer, n))
    shown, predicted = foresight.errors_mm()
    assert shown > 1.0, "who moves is elsewhere two frames later"
    assert predicted < 0.6 * shown


def _timed(performer: Performer, n: int) -> AvatarState:
    state = performer.truth(n).state
    return replace(state, captured_at_ns=round(1e9 * n / performer.fps))


def test_who_rests_before_a_noisy_camera_is_never_quite_the_same_picture(
    model_cache: ModelStore,
) -> None:
    avatar = person(0, model_cache)
    still = Resting(ScriptedMotion(Skeleton.of(avatar)).at(1.0))
    with NoisyCamera(avatar, still, PerformerOptions(frames=2)) as performer:
        first, second = (frame.image.astype(int) for frame in performer)
    assert 1.0 < np.abs(first - second).mean() < 5.0
