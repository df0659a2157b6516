"""Age and gender for the slow loop: readings of single pictures, gathered over time."""

from __future__ import annotations

from engine.identity_keeper import IdentityKeeper
from engine.perception.semantics import SemanticsEstimator, SmoothedSemantics
from engine.slow_views import Views
from engine.types import Identity


class AgeAndGender:
    """See :class:`engine.slow_loop.SlowEstimator`."""

    name = "age and gender"

    def __init__(self, estimator: SemanticsEstimator) -> None:
        """Nothing is known yet.

        Args:
            estimator: reads a face; from now on this object's own.
        """
        self._estimator = estimator
        self._smoothed = SmoothedSemantics()
        self._is_new = False

    def look(self, views: Views) -> None:
        """Read the newest picture."""
        picture = views.picture
        self._is_new = picture is not None
        if picture is not None:
            face = picture.view.observation.face
            self._smoothed.update(self._estimator.estimate(picture.frame.image, face))

    def tell(self, keeper: IdentityKeeper) -> Identity | None:
        """Age and gender so far, after each reading."""
        smoothed = self._smoothed.current
        return keeper.semantics(smoothed) if self._is_new and smoothed is not None else None

    def reset(self) -> None:
        """Forget the person."""
        self._smoothed.reset()
        self._is_new = False
