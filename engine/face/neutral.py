"""The person's own neutral face, learned while they are watched.

No face has Anny's shape, so landmarks of a neutral face lie millimetres from the model's; unless
that is known, a long upper lip reads as a frown. What the actions cannot explain is shape, and
is taken in. What they can explain is taken in only a little at the start, slowly while the
face is nearly still, and at once where the face turns out to be *more* neutral than thought:
so somebody who starts with a smile is understood once it ends, and a held smile stays a smile.
What stays unexplained for seconds belongs to another person, of whom nothing is known yet.
Lips tell whether a face is at rest, whoever it is: frames with closed lips count for more, so
somebody who talks from the first frame is not taken for somebody whose mouth hangs open.
"""

from __future__ import annotations

import math

import numpy as np

from engine.face.acquaintance import Acquaintance
from engine.face.expression import ExpressionFit
from engine.face.landmark_embedding import LANDMARKS, LOWER_LIP, UPPER_LIP
from engine.face.landmark_features import Displaced
from engine.face.response import LandmarkResponse
from engine.types import ARKIT_NAMES, F32, F64

WARM_UP = 15.0
"""Frames at rest that make the first estimate,"""
LONGEST_WARM_UP = 90
"""and frames after which it ends in any case."""
PRIOR_FRAMES = 1.0
"""How many frames the model's own face counts for in that average."""
FIRST_TRUST = 0.4
"""Share of the first frame's actions that is shown: much of what they explain is shape."""
TRUST_FRAMES = 25
CAUTION = 1.5
"""How much more evidence the first frames' actions need than later ones'."""
_TAKEN = {"mouthShrugUpper": 0.8, "eyeLook": 0.5}
"""A long upper lip is many a person's own, and so are eyes that lie deep."""
TAKEN_AT_MOST = np.array(
    [next((most for own, most in _TAKEN.items() if name.startswith(own)), 0.2)
     for name in ARKIT_NAMES]
)  # fmt: skip
"""(52,) of each action over the warm-up: little, where it is no likeness to a shape."""
SHAPE_SECONDS = 20.0
EXPRESSION_SECONDS = 12.0
UNDERSHOOT_SECONDS = 0.25
QUIET = 0.08
"""Sum of squared actions at which a face counts as acting."""
FRONTAL = 0.5
"""Yaw (rad) beyond which the far side's landmarks are guesses."""
LIPS_CLOSED_M = 2.0e-3
OPEN_MOUTH_COUNTS = 0.02


class NeutralFace:
    """The (478, 3) neutral landmarks of one person in head coordinates. Not thread-safe."""

    def __init__(self, response: LandmarkResponse, model_m: F32) -> None:
        self._response = response
        self._acquaintance = Acquaintance()
        self.restart(model_m)

    def restart(self, model_m: F32) -> None:
        """Forget the person: start again from a model's face (478, 3) in metres."""
        self._frames = 0
        self._rested = 0.0
        self._taken = np.zeros(len(ARKIT_NAMES))
        self._acquaintance.restart()
        self.landmarks_m: F64 = np.asarray(model_m, np.float64).copy()

    def rescale(self, factor: float) -> None:
        """Another head size: the same face, larger or smaller."""
        self.landmarks_m *= factor

    @property
    def is_warm(self) -> bool:
        """Whether the first estimate is done."""
        return self._rested >= WARM_UP or self._frames >= LONGEST_WARM_UP

    @property
    def is_strange(self) -> bool:
        """Whether somebody else than the person who was learned is watched."""
        return self._acquaintance.is_strange

    @property
    def caution(self) -> float:
        """From ``CAUTION`` at the first frame to 1 after the warm-up."""
        return max(1.0, CAUTION - (CAUTION - 1.0) * self._rested / WARM_UP)

    @property
    def taken(self) -> F64:
        """(52,) how much of each action went into the neutral face while it was learned."""
        return self._taken

    @property
    def trust(self) -> float:
        """In (0, 1]: what share of the actions to believe, 1 once the face is known."""
        known = min(1.0, max(self._rested / WARM_UP, self._frames / TRUST_FRAMES))
        return FIRST_TRUST + (1.0 - FIRST_TRUST) * known

    def learn(self, seen: Displaced, fit: ExpressionFit, confidence: float, seconds: float) -> None:
        """Take in a frame.

        Args:
            seen: how far the landmarks are from the neutral face as it was.
            fit: what the actions explained of them.
            confidence: in [0, 1] that they are a face, well seen.
            seconds: since the frame before.
        """
        frontal = float(np.exp(-((seen.yaw / FRONTAL) ** 2)))
        rest = frontal * self._closed(seen.displaced_m)
        residual = seen.features - self._response.features(fit.signed, seen.yaw)
        if self.is_warm:
            shape, actions = self._later_shares(fit, rest, confidence * seconds)
            unexplained = math.sqrt(float(residual @ residual) / len(residual))
            self._acquaintance.watch(unexplained, confidence * frontal * seconds)
        else:
            rest *= confidence
            shape, actions = self._first_shares(fit, rest)
            self._rested += rest
        self._taken += actions
        shift = shape * residual + self._response.features(actions, seen.yaw)
        self.landmarks_m += 1e-3 * shift.reshape(LANDMARKS, 3)
        self._frames += 1

    def _closed(self, displaced_m: F64) -> float:
        """In (0, 1]: how much lips so far apart tell of the neutral face."""
        lips = self.landmarks_m + displaced_m
        gap = max(0.0, float((lips[UPPER_LIP, 1] - lips[LOWER_LIP, 1]).mean()))
        closed = float(np.exp(-((gap / LIPS_CLOSED_M) ** 2)))
        return max(closed, OPEN_MOUTH_COUNTS)

    def _first_shares(self, fit: ExpressionFit, rest: float) -> tuple[float, F64]:
        """A running mean of the shape, and a little of every action."""
        share = rest / (self._rested + rest + PRIOR_FRAMES)
        actions = np.clip(
            share * fit.signed, -TAKEN_AT_MOST - self._taken, TAKEN_AT_MOST - self._taken
        )
        return share, actions

    def _later_shares(self, fit: ExpressionFit, rest: float, seconds: float) -> tuple[float, F64]:
        """Slowly towards what is seen while the face is quiet, fast towards less than neutral."""
        quiet = float(np.exp(-np.sum(np.maximum(fit.signed, 0.0) ** 2) / QUIET))
        less = min(1.0, quiet * seconds / UNDERSHOOT_SECONDS) * np.minimum(fit.signed, 0.0)
        more = rest * quiet * seconds / EXPRESSION_SECONDS * np.maximum(fit.signed, 0.0)
        return rest * quiet * seconds / SHAPE_SECONDS, less + more
