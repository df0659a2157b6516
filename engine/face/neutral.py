"""The person's own neutral face, learned while they are watched.

No face has Anny's shape, so landmarks of a neutral face lie millimetres from the model's; unless
that is known, a long upper lip reads as a frown. What the actions cannot explain is shape, and
is taken in. What they can explain is taken in only a little at the start, slowly while the
face is nearly still, and at once where the face turns out to be *more* neutral than thought:
so somebody who starts with a smile is understood once it ends, and a held smile stays a smile.
"""

from __future__ import annotations

import numpy as np

from engine.face.expression import ExpressionFit
from engine.face.landmark_embedding import LANDMARKS
from engine.face.response import LandmarkResponse
from engine.types import ARKIT_NAMES, F32, F64

WARM_UP = 30
"""Frames over which the first estimate is averaged."""
PRIOR_FRAMES = 1.0
"""How many frames the model's own face counts for in that average."""
CAUTION = 3.0
"""How much more evidence the first frames' actions need than later ones'."""
TAKEN_AT_MOST = 0.35
"""Of any one action, over the warm-up."""
SHAPE_SECONDS = 20.0
EXPRESSION_SECONDS = 12.0
UNDERSHOOT_SECONDS = 0.5
QUIET = 0.08
"""Sum of squared actions at which a face counts as acting."""
FRONTAL = 0.5
"""Yaw (rad) beyond which the far side's landmarks are guesses."""


class NeutralFace:
    """The (478, 3) neutral landmarks of one person in head coordinates. Not thread-safe."""

    def __init__(self, response: LandmarkResponse, model_m: F32) -> None:
        self._response = response
        self.restart(model_m)

    def restart(self, model_m: F32) -> None:
        """Forget the person: start again from a model's face (478, 3) in metres."""
        self._frames = 0
        self._taken = np.zeros(len(ARKIT_NAMES))
        self.landmarks_m: F64 = np.asarray(model_m, np.float64).copy()

    def rescale(self, factor: float) -> None:
        """Another head size: the same face, larger or smaller."""
        self.landmarks_m *= factor

    @property
    def is_warm(self) -> bool:
        """Whether the first estimate is done."""
        return self._frames >= WARM_UP

    @property
    def caution(self) -> float:
        """From ``CAUTION`` at the first frame to 1 after the warm-up."""
        return max(1.0, CAUTION - (CAUTION - 1.0) * self._frames / WARM_UP)

    def learn(self, features: F32, fit: ExpressionFit, yaw: float, seconds: float) -> None:
        """Take in a frame.

        Args:
            features: (1434,) mm from the neutral face as it was.
            fit: what the actions explained of them.
            yaw: of the head as the camera sees it, rad.
            seconds: since the frame before.
        """
        frontal = float(np.exp(-((yaw / FRONTAL) ** 2)))
        shape, actions = self._shares(fit, seconds, frontal)
        if not self.is_warm:
            actions = np.clip(actions, -TAKEN_AT_MOST - self._taken, TAKEN_AT_MOST - self._taken)
            self._taken += actions
        explained = self._response.features(fit.signed, yaw)
        shift = shape * (features - explained) + self._response.features(actions, yaw)
        self.landmarks_m += 1e-3 * shift.reshape(LANDMARKS, 3)
        self._frames += 1

    def _shares(self, fit: ExpressionFit, seconds: float, frontal: float) -> tuple[float, F64]:
        """How much to take in of the unexplained shape, and of each action."""
        if not self.is_warm:
            share = frontal / (self._frames + 1.0 + PRIOR_FRAMES)
            return share, share * fit.signed
        quiet = frontal * float(np.exp(-np.sum(fit.expression**2) / QUIET))
        less = np.minimum(fit.signed, 0.0)
        towards_less = min(1.0, quiet * seconds / UNDERSHOOT_SECONDS) * less
        return (
            quiet * seconds / SHAPE_SECONDS,
            quiet * seconds / EXPRESSION_SECONDS * fit.expression + towards_less,
        )
