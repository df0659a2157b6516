"""The pictures of a face that are kept: one from each direction, small, rid of slow shading.

What a head's turn changes most in a picture of skin is its shading, which is smooth: against a
blurred picture, in units of the local contrast, pores and spots stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from engine.face.identity_views import View
from engine.types import F32, F64, U8

MOST_YAW = np.radians(44.0)
YAW_BIN, PITCH_BIN = np.radians((10.0, 12.0))
BETTER = 1.1
"""How many times the weight of a kept picture one has to have to take its place: each change has
the whole face aligned again, and what comes late may be a hand."""
AGEING = 0.995
"""What a kept picture's weight is multiplied by whenever another one asks for its place."""
FACE_PX = 170.0
"""Larger faces are scaled down to this size: a texel is no finer."""
MARGIN = 0.4
"""Around the landmarks, as a share of their extent: the forehead reaches beyond them."""
NEIGHBOURHOOD_PX = 2.0
"""Standard deviation of what counts as local."""
LEAST_CONTRAST = 2.0
"""8-bit steps: below, contrast is the camera's noise."""


@dataclass(frozen=True, slots=True)
class FacePicture:
    """A face cut out of a frame, with what was read off it."""

    grey: U8
    """(H, W)."""
    lens: F64
    """(3,) focal length, cx, cy in pixels of the cut-out."""
    view: View
    """Its landmarks are in pixels of the whole frame."""
    expression: F32
    """(52,) as fitted."""

    @staticmethod
    def cut(image: U8, view: View, expression: F32) -> FacePicture | None:
        """Cut a face out; None where it is beyond the picture.

        Args:
            image: (H, W, 3) RGB, copied.
            view: of the face in it.
            expression: (52,) as fitted.
        """
        low, high = view.points_px[:, :2].min(axis=0), view.points_px[:, :2].max(axis=0)
        extent = float((high - low).max())
        height, width = image.shape[:2]
        x0, y0 = np.maximum(low - MARGIN * extent, 0.0).astype(int)
        x1, y1 = np.minimum(high + MARGIN * extent, (width, height)).astype(int)
        if x1 - x0 < 8 or y1 - y0 < 8:
            return None
        grey = cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY)
        scale = min(1.0, FACE_PX / extent)
        if scale < 1.0:
            grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        focal, cx, cy = view.lens
        lens = [focal * scale, (cx - x0 + 0.5) * scale - 0.5, (cy - y0 + 0.5) * scale - 0.5]
        return FacePicture(np.asarray(grey, np.uint8), np.array(lens), view, expression.copy())

    def contrast(self) -> F32:
        """(H, W) how much brighter than around, in units of what is usual around."""
        grey = self.grey.astype(np.float32)
        size = (0, 0)
        detail = grey - cv2.GaussianBlur(grey, size, NEIGHBOURHOOD_PX)
        power = cv2.GaussianBlur(detail * detail, size, NEIGHBOURHOOD_PX)
        return np.asarray(detail / np.sqrt(power + LEAST_CONTRAST**2), np.float32)


@dataclass(slots=True)
class PictureBook:
    """The best picture from each direction. Not thread-safe."""

    _bins: dict[tuple[int, int], FacePicture] = field(default_factory=dict)

    def offer(self, image: U8, view: View, expression: F32) -> bool:
        """Keep a picture if it shows the face better than what there is from this direction.

        Returns:
            Whether it is kept.
        """
        if abs(view.yaw) > MOST_YAW:
            return False
        number = round(view.yaw / YAW_BIN), round(view.pitch / PITCH_BIN)
        kept = self._bins.get(number)
        if kept is not None and view.weight < BETTER * kept.view.weight:
            aged = replace(kept.view, weight=AGEING * kept.view.weight)
            self._bins[number] = replace(kept, view=aged)
            return False
        picture = FacePicture.cut(image, view, expression)
        if picture is not None:
            self._bins[number] = picture
        return picture is not None

    def pictures(self) -> list[FacePicture]:
        """All that are kept, from one side to the other."""
        return [self._bins[number] for number in sorted(self._bins)]

    def clear(self) -> None:
        """Forget them."""
        self._bins.clear()
