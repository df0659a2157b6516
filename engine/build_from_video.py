"""The person's build for the slow loop: silhouettes of the pictures that show a whole body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.body.build_measurements import COUNT, measure
from engine.identity_keeper import IdentityKeeper, age_for
from engine.perception.networks import Networks
from engine.perception.semantics import frontality
from engine.slow_views import Views
from engine.types import F64, FaceLandmarks, Identity

if TYPE_CHECKING:
    from engine.perception.silhouette import SilhouetteReader

ADULT_YEARS = 17.0
"""The readout was calibrated on grown-ups; of a child's build nothing is said."""
MEMORY = 30.0
"""Views after which old ones fade: clothes are put on and taken off."""
BROW, CHIN = 10, 152
FACING = 0.9
"""A face turned further than this shows another height."""
LEAST_FACE_PX = 24.0


class BuildFromVideo:
    """See :class:`engine.slow_loop.SlowEstimator`."""

    name = "build"

    def __init__(self, networks: Networks) -> None:
        """Nothing is known yet; the network is opened when a body is first seen.

        Args:
            networks: where sessions come from.
        """
        self._networks = networks
        self._reader: SilhouetteReader | None = None
        self._means: F64 = np.zeros(COUNT)
        self._views: F64 = np.zeros(COUNT)
        self._is_new = False

    def look(self, views: Views) -> None:
        """Measure the newest picture of a body."""
        self._is_new = False
        picture = views.body
        if picture is None or picture.view.observation.pose is None:
            return
        seen = self._opened().read(picture.frame.image, picture.view.observation.pose)
        found = (
            None if seen is None else measure(seen, face_height_px(picture.view.observation.face))
        )
        if found is None or not found.weight > 0.0:
            return
        share = found.weight * found.valid
        self._views = np.minimum(self._views, MEMORY) + share
        self._means += share / np.maximum(self._views, 1e-9) * (found.values - self._means)
        self._is_new = True

    def tell(self, keeper: IdentityKeeper) -> Identity | None:
        """The build so far, given the age and gender that are estimated."""
        if not self._is_new:
            return None
        from engine.body.build_readout import default_readout

        person = keeper.estimated
        if person.semantics is not None and person.semantics.age_years < ADULT_YEARS:
            return None
        age = max(person.phenotypes.age, age_for(ADULT_YEARS))
        build = default_readout().read(self._means, self._views, age, person.phenotypes.gender)
        return keeper.build(build)

    def reset(self) -> None:
        """Forget the person."""
        self._means, self._views = np.zeros(COUNT), np.zeros(COUNT)
        self._is_new = False

    def _opened(self) -> SilhouetteReader:
        if self._reader is None:
            from engine.perception.silhouette import SilhouetteReader

            self._reader = SilhouetteReader(self._networks)
        return self._reader


def face_height_px(face: FaceLandmarks | None) -> float | None:
    """From brow to chin in pixels of the frame, of a face that looks at the camera; else None."""
    if face is None or frontality(face.points_px) < FACING:
        return None
    height = float(np.linalg.norm(face.points_px[BROW, :2] - face.points_px[CHIN, :2]))
    return height if height >= LEAST_FACE_PX else None
