"""The person's own face for the slow loop: landmarks of many frames and pictures of some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.avatar.anny import BodyModel
from engine.face.legibility import legibility
from engine.identity_keeper import IdentityKeeper
from engine.slow_views import View, Views
from engine.types import Identity, Observation

if TYPE_CHECKING:
    from engine.face.identity_fit import IdentityFitter

BLURRED_PER_S = 2.0
"""Face widths a second at which a moving face is smeared in the picture: such frames count e times
less, for their landmarks are guesses."""


class FaceFromVideo:
    """See :class:`engine.slow_loop.SlowEstimator`."""

    name = "face"

    def __init__(self, model: BodyModel) -> None:
        """Nothing is known yet.

        Args:
            model: whose identity basis the face is told in.
        """
        self._model = model
        self._fitter: IdentityFitter | None = None
        self._before: View | None = None
        self._is_new = False

    def look(self, views: Views) -> None:
        """Take in every frame since the last turn."""
        self._is_new = False
        fitter = self._made()
        readable = 1.0
        if views.picture is not None and views.picture.view.observation.face is not None:
            readable = legibility(views.picture.frame.image, views.picture.view.observation.face)
        images = {id(shown.view): shown.frame.image for shown in views.turned}
        for view in views.recent:
            face, head = view.observation.face, view.head
            weight = readable * stillness(self._before, view) * view.state.face_confidence
            weight *= not is_covered(view.observation)
            self._before = view
            if face is not None and head is not None:
                expression, camera = view.state.expression, view.state.camera
                image = images.get(id(view))
                self._is_new |= fitter.observe(face, head, expression, camera, weight, image)

    def tell(self, keeper: IdentityKeeper) -> Identity | None:
        """The face so far, on top of the phenotypes that are estimated."""
        if not self._is_new:
            return None
        return keeper.face(self._made().estimate(keeper.estimated.phenotypes))

    def reset(self) -> None:
        """Forget the person."""
        if self._fitter is not None:
            self._fitter.reset()
        self._before = None
        self._is_new = False

    def _made(self) -> IdentityFitter:
        """The fitter, loaded when first needed: the first frame does not wait for it."""
        if self._fitter is None:
            from engine.face.identity_fit import IdentityFitter

            self._fitter = IdentityFitter(self._model)
        return self._fitter


def is_covered(seen: Observation) -> bool:
    """Whether a hand is before the face, or behind it: landmarks there are guesses."""
    if seen.face is None:
        return False
    points = seen.face.points_px[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    hands = (hand.points_px[:, :2] for hand in (seen.left_hand, seen.right_hand) if hand)
    return any(bool(((p > low) & (p < high)).all(axis=1).any()) for p in hands)


def stillness(before: View | None, now: View) -> float:
    """In [0, 1]: how little a face moves over the picture; 1 where that cannot be told."""
    if before is None or before.observation.face is None or now.observation.face is None:
        return 1.0
    seconds = (now.observation.captured_at_ns - before.observation.captured_at_ns) * 1e-9
    points, last = (view.observation.face.points_px[:, :2] for view in (now, before))  # type: ignore[union-attr]
    width = float(np.ptp(points, axis=0).max())
    if not seconds > 0.0 or not width > 0.0:
        return 1.0
    speed = float(np.linalg.norm(points - last, axis=1).mean()) / (width * seconds)
    return float(np.exp(-((speed / BLURRED_PER_S) ** 2)))
