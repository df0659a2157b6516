"""The person's relief for the slow loop: from the pictures that the skin is gathered from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np

from engine.avatar.topology import FusedAvatar
from engine.identity_keeper import IdentityKeeper
from engine.settling import REFINEMENTS
from engine.skin_from_video import SkinFromVideo
from engine.slow_views import Views
from engine.types import F32, Identity

if TYPE_CHECKING:
    from engine.face.relief.relief import Relief

MORE_VIEWS = 8
"""New views that make another reading worth its half second."""
SURE_AT = 24.0
"""Views at which a relief is as sure as it will be."""


class ReliefFromVideo:
    """See :class:`engine.slow_loop.SlowEstimator`. Follows the skin's, whose views it shares."""

    name = "relief"

    def __init__(
        self,
        skin: SkinFromVideo,
        current: Callable[[], FusedAvatar],
        *,
        displacement: bool = True,
        wrinkles: bool = True,
    ) -> None:
        """Nothing is known yet.

        Args:
            skin: has looked at the same turn's picture before.
            current: the avatar without relief; called on the slow loop's thread.
            displacement: whether heights are read from shading.
            wrinkles: whether lines are detected and eq. (3) is applied.
        """
        self._switches = {"displacement": displacement, "wrinkles": wrinkles}
        self._skin = skin
        self._current = current
        self._shape: F32 | None = None
        self._relief: Relief | None = None
        self._reading: Iterator[F32 | None] | None = None
        self._told, self._told_views = 0, 0

    def look(self, views: Views) -> None:
        """Take the picture in that the skin was just gathered from."""
        del views
        seen = self._skin.seen
        if seen is None or self._reading is not None or self._told > REFINEMENTS:
            return
        avatar = self._current()
        if self._shape is None or not np.array_equal(self._shape, avatar.rest_vertices_m):
            self._start(avatar)
        if self._relief is not None:
            size = self._relief.grid.shape
            visible = cv2.resize(seen.visible(), size[::-1], interpolation=cv2.INTER_AREA)
            self._relief.observe(seen.image, seen.mesh, seen.camera, visible.astype(np.float32))

    def tell(self, keeper: IdentityKeeper) -> Identity | None:
        """The relief so far, after every few new views; not while the user keeps the shape."""
        relief = self._relief
        if relief is None or keeper.pinned:
            return None
        if self._reading is None:
            if relief.views < self._told_views + MORE_VIEWS:
                return None
            self._told, self._told_views = self._told + 1, relief.views
            self._reading = relief.readings()
        detail_m = next(self._reading, None)
        if detail_m is None:
            return None  # the next turn goes on
        self._reading = None
        if not detail_m.any():
            return None
        return keeper.relief(detail_m, min(1.0, relief.views / SURE_AT))

    def reset(self) -> None:
        """Forget the person."""
        self._shape = self._reading = None
        self._told = self._told_views = 0
        if self._relief is not None:
            self._relief.reset()

    def _start(self, avatar: FusedAvatar) -> None:
        """Another face under the pictures: what was read on the one before is worth nothing."""
        self.reset()
        self._shape = avatar.rest_vertices_m
        from engine.face.relief.relief import Relief  # not before it is needed: see the face's

        self._relief = Relief(avatar, **self._switches)
