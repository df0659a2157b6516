"""The second clock: about once a second, off the frame path, who is this?

Age and gender are read off the newest face and smoothed. When they are sure enough the identity
is published once and then kept, so that the avatar does not morph while somebody watches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.perception.semantics import SemanticsEstimator, SmoothedSemantics
from engine.types import Frame, Identity, Observation, Phenotypes, Semantics

PERIOD_S = 1.0
SURE = 0.5
"""Confidence from which an estimate may shape the avatar."""
OTHER_PERSON_YEARS = 15.0
"""A smoothed age this far from the published one means another person, or a bad first guess."""

_ANCHOR_YEARS = (0.0, 11.0, 25.0, 90.0)
_ANCHOR_AGES = (0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0)


def phenotypes_for(semantics: Semantics, base: Phenotypes) -> Phenotypes:
    """Anny's age and gender for an estimate.

    MakeHuman, whose shapes Anny uses, models its "child" at about 11, its "young" at 25 and its
    "old" at 90 years; in between is linear.
    """
    age = float(np.interp(semantics.age_years, _ANCHOR_YEARS, _ANCHOR_AGES))
    return replace(base, age=age, gender=semantics.female_probability)


class SlowLoop:
    """A daemon thread that turns faces into identities."""

    def __init__(
        self,
        estimator: SemanticsEstimator,
        base: Identity,
        publish: Callable[[Identity], None],
        period_s: float = PERIOD_S,
    ) -> None:
        self._estimator = estimator
        self._smoothed = SmoothedSemantics()
        self._identity = base
        self._base = base.phenotypes
        self._publish = publish
        self._period_s = period_s
        self._newest: tuple[Frame, Observation] | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="slow loop", daemon=True)
        self.semantics: Semantics | None = None
        """The newest smoothed estimate, for statistics."""
        self.error: Exception | None = None
        """Why the loop ended, if it did; the fast loop goes on without it."""

    def start(self) -> None:
        """Begin; :meth:`stop` ends it."""
        self._thread.start()

    def stop(self) -> None:
        """End after the estimate in progress."""
        self._stopped.set()
        self._thread.join(timeout=2.0)

    def offer(self, frame: Frame, observation: Observation) -> None:
        """Keep the newest frame that shows a face; costs the frame path one assignment."""
        if observation.face is not None:
            self._newest = (frame, observation)

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self._period_s):
                newest, self._newest = self._newest, None
                if newest is not None:
                    self._estimate(*newest)
        except Exception as error:
            self.error = error

    def _estimate(self, frame: Frame, observation: Observation) -> None:
        if observation.face is None:
            return
        semantics = self._estimator.estimate(frame.image, observation.face)
        if semantics is None:
            return
        smoothed = self._smoothed.update(semantics)
        self.semantics = smoothed
        if smoothed is None:
            return
        if smoothed.confidence >= SURE and self._is_news(smoothed):
            self._identity = replace(
                self._identity,
                version=self._identity.version + 1,
                phenotypes=phenotypes_for(smoothed, self._base),
                semantics=smoothed,
                confidence=smoothed.confidence,
            )
            self._publish(self._identity)

    def _is_news(self, semantics: Semantics) -> bool:
        known = self._identity.semantics
        if known is None:
            return True
        older = abs(semantics.age_years - known.age_years) > OTHER_PERSON_YEARS
        flipped = (semantics.female_probability > 0.5) != (known.female_probability > 0.5)
        return older or flipped
