"""What prediction is worth: how far the shown pose is from where the person is by then."""

from __future__ import annotations

import numpy as np

from benchmarks.performer import BODY_JOINTS, WARM_UP_FRAMES, errors_mm, inside, posed
from engine.prediction import Predictor
from engine.sources.performer import Performer
from engine.types import F64, AvatarState

AHEAD_FRAMES = 2
"""By which prediction is tried: about the delay from a webcam to the screen."""


class Foresight:
    """How far what is shown is from where the person is by then, predicted and not."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer
        self._predict = Predictor(len(performer.avatar.parents))
        self._rows = [performer.avatar.joint_names.index(name) for name in BODY_JOINTS]
        self._shown: list[F64] = []
        self._predicted: list[F64] = []

    def add(self, state: AvatarState) -> None:
        """The next frame's, as fitted."""
        avatar = self._performer.avatar
        ahead = self._predict(state, AHEAD_FRAMES / self._performer.fps)
        self._shown.append(posed(avatar, state)[self._rows])
        self._predicted.append(posed(avatar, ahead)[self._rows])

    def errors_mm(self) -> tuple[float, float]:
        """Mean joint error as fitted and as predicted, against the truth AHEAD_FRAMES later."""
        frames = range(WARM_UP_FRAMES, len(self._shown) - AHEAD_FRAMES)
        takes = [self._performer.truth(n + AHEAD_FRAMES) for n in frames]
        avatar = self._performer.avatar
        true = np.array([posed(avatar, take.state)[self._rows] for take in takes])
        seen = np.array(
            [inside(now.astype(np.float32), take) for now, take in zip(true, takes, strict=True)]
        )
        both = (np.array([one[n] for n in frames]) for one in (self._shown, self._predicted))
        shown, predicted = (float(errors_mm(found, true, seen).mean()) for found in both)
        return shown, predicted
