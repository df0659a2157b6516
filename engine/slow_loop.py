"""The second clock: about once a second, off the frame path, who is this?

Age and gender are read off the newest face and smoothed. When they are sure enough the identity
is published once and then kept, so that the avatar does not morph while somebody watches.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from engine.perception.semantics import SemanticsEstimator, SmoothedSemantics
from engine.types import Frame, Identity, Observation, Phenotypes, Semantics

log = logging.getLogger(__name__)

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
    """A daemon thread that turns faces into identities.

    All that is known of a person belongs to that thread. Others leave it a face or a wish, each
    with one assignment.
    """

    def __init__(
        self,
        estimator: SemanticsEstimator,
        base: Identity,
        publish: Callable[[Identity], None],
        period_s: float = PERIOD_S,
    ) -> None:
        """Ready to start.

        Args:
            estimator: reads a face; from now on the loop's own.
            base: the identity of somebody of whom nothing is known.
            publish: told of every new identity, on the loop's thread.
            period_s: between two estimates, seconds.
        """
        self._estimator = estimator
        self._smoothed = SmoothedSemantics()
        self._identity = self._base = base
        self._publish = publish
        self._period_s = period_s
        self._newest: tuple[Frame, Observation] | None = None
        self._woken = threading.Event()
        self._stopping = False
        self._another = False
        self._thread = threading.Thread(target=self._run, name="slow loop", daemon=True)

    def start(self) -> None:
        """Begin; :meth:`stop` ends it."""
        self._thread.start()

    def stop(self) -> None:
        """End after the estimate in progress."""
        self._stopping = True
        self._woken.set()
        self._thread.join(timeout=2.0)

    def reset(self) -> None:
        """Another person may come: forget this one, and go back to the base identity at once.

        Any thread may call this; the work is done on the loop's own.
        """
        self._newest = None
        self._another = True
        self._woken.set()

    def offer(self, frame: Frame, observation: Observation) -> None:
        """Keep the newest frame that shows a face; costs the frame path one assignment."""
        if observation.face is not None:
            self._newest = (frame, observation)

    def _run(self) -> None:
        try:
            while not self._stopping:
                self._woken.wait(self._period_s)
                self._woken.clear()
                self._turn()
        except Exception as error:
            # The avatar goes on with the identity that it has.
            log.warning("age and gender are not estimated any more: %r", error)

    def _turn(self) -> None:
        if self._another:
            self._another = False
            self._forget()
        newest, self._newest = self._newest, None
        if newest is not None and not self._stopping:
            self._estimate(*newest)

    def _forget(self) -> None:
        self._smoothed.reset()
        if self._identity is not self._base:
            self._base = replace(self._base, version=self._identity.version + 1)
            self._become(self._base)

    def _estimate(self, frame: Frame, observation: Observation) -> None:
        reading = self._estimator.estimate(frame.image, observation.face)
        if self._another:  # meanwhile: it is of the person before
            return
        smoothed = self._smoothed.update(reading)
        if smoothed is not None and smoothed.confidence >= SURE and self._is_news(smoothed):
            self._become(
                replace(
                    self._base,
                    version=self._identity.version + 1,
                    phenotypes=phenotypes_for(smoothed, self._base.phenotypes),
                    semantics=smoothed,
                    confidence=smoothed.confidence,
                )
            )

    def _become(self, identity: Identity) -> None:
        self._identity = identity
        self._publish(identity)

    def _is_news(self, semantics: Semantics) -> bool:
        known = self._identity.semantics
        if known is None:
            return True
        older = abs(semantics.age_years - known.age_years) > OTHER_PERSON_YEARS
        flipped = (semantics.female_probability > 0.5) != (known.female_probability > 0.5)
        return older or flipped
