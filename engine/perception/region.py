"""Rotated square regions of interest, and how landmarks and detections choose them.

The geometry is that of MediaPipe's calculators (AlignmentPointsRects, DetectionsToRects,
HandLandmarksToRect, HandDetectionsFromPoseToRects, RectTransformation), written in pixels.
Angles are radians, clockwise as seen in the picture because y points down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.types import F32

UPRIGHT = math.pi / 2.0
"""Target angle of an axis that should point up in the crop."""
LEVEL = 0.0
"""Target angle of an axis that should point to the right in the crop."""


@dataclass(frozen=True, slots=True)
class Region:
    """A square of the frame, turned about its centre; the crop of it is what a network sees."""

    cx: float
    cy: float
    side: float
    """Pixels of the frame."""
    rotation: float = 0.0

    def matrix(self, crop_side: int) -> F32:
        """The affine map from crop pixels to frame pixels, (2, 3)."""
        scale = self.side / crop_side
        c, s = scale * math.cos(self.rotation), scale * math.sin(self.rotation)
        half = crop_side / 2.0
        return np.array(
            [[c, -s, self.cx - (c - s) * half], [s, c, self.cy - (s + c) * half]], np.float32
        )

    def to_frame(self, points: F32, crop_side: int) -> F32:
        """Move points from the crop into the frame.

        Args:
            points: (N, 2) or (N, 3), crop pixels; a third column is a depth in the same unit.
            crop_side: width of the crop in pixels.

        Returns:
            The same shape in frame pixels; depth is scaled, not turned.
        """
        matrix = self.matrix(crop_side)
        moved = points * np.float32(self.side / crop_side)
        moved[:, :2] = points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        return moved

    def turned(self, vectors: F32) -> F32:
        """Rotate (N, 3) image-axis vectors, such as metric landmarks of the crop, to the frame."""
        c, s = math.cos(self.rotation), math.sin(self.rotation)
        out = vectors.copy()
        out[:, 0] = c * vectors[:, 0] - s * vectors[:, 1]
        out[:, 1] = s * vectors[:, 0] + c * vectors[:, 1]
        return out

    def is_readable(self, width: int, height: int) -> bool:
        """Whether the region shows some of the picture, at a size that a network can read.

        The centre may lie outside: the hips of a person at a webcam do.
        """
        half = self.side / 2.0
        shows = -half < self.cx < width + half and -half < self.cy < height + half
        return shows and 4.0 <= self.side <= 8.0 * max(width, height)


def whole_picture(width: int, height: int) -> Region:
    """The smallest square around the picture: what a detector sees, letterboxed."""
    return Region(width / 2.0, height / 2.0, float(max(width, height)))


def wrapped(angle: float) -> float:
    """The same angle in [-pi, pi)."""
    return angle - 2.0 * math.pi * math.floor((angle + math.pi) / (2.0 * math.pi))


def axis_rotation(start: F32, end: F32, target: float) -> float:
    """The turn after which the axis from ``start`` to ``end`` has the angle ``target``."""
    dx, dy = float(end[0] - start[0]), float(end[1] - start[1])
    return wrapped(target - math.atan2(-dy, dx))


def square(
    centre: tuple[float, float],
    extent: tuple[float, float],
    rotation: float,
    scale: float,
    shift_y: float = 0.0,
) -> Region:
    """RectTransformation: shift along the region's own vertical, make square, then scale.

    Args:
        centre: x, y in pixels.
        extent: width, height in pixels, along the region's own axes.
        rotation: radians.
        scale: factor on the longer side.
        shift_y: fraction of the (unscaled) height; negative moves towards the crop's top.
    """
    width, height = extent
    dx = -height * shift_y * math.sin(rotation)
    dy = height * shift_y * math.cos(rotation)
    return Region(centre[0] + dx, centre[1] + dy, max(width, height) * scale, rotation)


def from_alignment_points(centre: F32, rim: F32, scale: float) -> Region:
    """A region about ``centre`` that reaches ``rim``, which ends up straight above it."""
    box = 2.0 * math.hypot(float(rim[0] - centre[0]), float(rim[1] - centre[1]))
    rotation = axis_rotation(centre, rim, UPRIGHT)
    return square((float(centre[0]), float(centre[1])), (box, box), rotation, scale)


def from_box(points: F32, start: F32, end: F32, scale: float, shift_y: float = 0.0) -> Region:
    """The upright bounding box of ``points``, turned so that ``start`` to ``end`` is level."""
    low, high = points[:, :2].min(axis=0), points[:, :2].max(axis=0)
    middle, extent = (low + high) / 2.0, high - low
    return square(
        (float(middle[0]), float(middle[1])),
        (float(extent[0]), float(extent[1])),
        axis_rotation(start, end, LEVEL),
        scale,
        shift_y,
    )


def from_turned_box(points: F32, rotation: float, scale: float, shift_y: float) -> Region:
    """The tight bounding box of ``points`` along axes turned by ``rotation``."""
    c, s = math.cos(rotation), math.sin(rotation)
    along = points[:, 0] * c + points[:, 1] * s
    across = points[:, 1] * c - points[:, 0] * s
    x = float(along.min() + along.max()) / 2.0
    y = float(across.min() + across.max()) / 2.0
    extent = (float(np.ptp(along)), float(np.ptp(across)))
    return square((x * c - y * s, x * s + y * c), extent, rotation, scale, shift_y)


def steadied(previous: Region | None, wanted: Region, tolerance: float) -> Region:
    """Keep the previous region while the wanted one is nearly the same.

    A still person then gives identical crops and so no jitter from the crop itself, without lag:
    a region that is left is left at once (MediaPipe's RoiTracking).

    Args:
        previous: the region of the frame before.
        wanted: the region that this frame's landmarks ask for.
        tolerance: fraction of the side by which centre and side may differ; also radians.
    """
    if previous is None:
        return wanted
    slack = tolerance * previous.side
    near = math.hypot(wanted.cx - previous.cx, wanted.cy - previous.cy) <= slack
    alike = abs(wanted.side - previous.side) <= slack
    level = abs(wrapped(wanted.rotation - previous.rotation)) <= tolerance
    return previous if near and alike and level else wanted
