"""What one silhouette tells of a person's build: widths and lengths as shares of the trunk.

Everything is measured across or along a bone, in the picture, and divided by the length of the
trunk: a camera knows shapes, not sizes. What a pose hides (an arm before the waist, a foreshortened
thigh, a trunk turned away) is not measured, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numba import njit

from engine.perception.silhouette import SIDE, Silhouette
from engine.types import F32, F64

NOSE, LEFT_EAR, RIGHT_EAR = 0, 7, 8
SHOULDERS, ELBOWS, WRISTS, HIPS, KNEES, ANKLES = (
    (11, 12), (13, 14), (15, 16), (23, 24), (25, 26), (27, 28),
)  # fmt: skip
TRUNK_LEVELS = (0.3, 0.5, 0.65, 0.8, 0.95, 1.05)
"""Where trunk widths are taken: 0 between the shoulders, 1 between the hips."""
LIMB_WIDTHS = (
    ("thigh_upper", HIPS, KNEES, 0.35), ("thigh_lower", HIPS, KNEES, 0.7),
    ("calf", KNEES, ANKLES, 0.3), ("shin", KNEES, ANKLES, 0.7),
    ("upper_arm", SHOULDERS, ELBOWS, 0.55), ("forearm", ELBOWS, WRISTS, 0.35),
)  # fmt: skip
LENGTHS = (
    ("thigh_length", HIPS, KNEES), ("shank_length", KNEES, ANKLES),
    ("upper_arm_length", SHOULDERS, ELBOWS), ("forearm_length", ELBOWS, WRISTS),
)  # fmt: skip
NAMES = (
    "shoulders", "hips", "ears", "neck", "crown", "face",
    *(name for name, *_ in LENGTHS),
    *(f"trunk_{level}" for level in TRUNK_LEVELS),
    *(name for name, *_ in LIMB_WIDTHS),
)  # fmt: skip
"""The measurements, in order."""
COUNT = len(NAMES)
SEEN = 0.6
"""Visibility from which on a landmark is where it is said to be."""
IN_PLANE = 0.85
"""A bone that the picture shows shorter than this share of its length is not measured."""
TURNED = np.radians(40.0)
LEANING = 0.92
LEAST_TRUNK_PX = 30.0
"""A trunk this short in the crop of 256 shows no widths."""
EDGE = 2.0
"""Pixels from the crop's edge within which a mask is cut off."""
LARGEST_HALF = 0.75
"""Of the trunk: no half of a body is wider; what is, is somebody else or the room."""
LIMB_APART = 0.1
"""Of the trunk: a limb whose bone passes nearer than this to the edge found has been met."""


@dataclass(frozen=True, slots=True)
class Measurements:
    """One view's."""

    values: F64
    """(COUNT,) logarithms of shares of the trunk's length; 0 where not valid."""
    valid: F64
    """(COUNT,) 1 where measured, else 0."""
    weight: float
    """In [0, 1]: how well the view shows a build at all."""


def measure(seen: Silhouette, face_height_px: float | None) -> Measurements | None:
    """Measure one view.

    Args:
        seen: the silhouette.
        face_height_px: from brow to chin in pixels of the frame, of a face that looks at the
            camera; None where none does.

    Returns:
        None where the trunk is not seen upright and from the front, or too small.
    """
    points, world = seen.points_px.astype(np.float64), seen.world_m.astype(np.float64)
    if not (np.isfinite(points).all() and np.isfinite(world).all()):
        return None
    if seen.visibility[[*SHOULDERS, *HIPS]].min() < SEEN:
        return None
    top, bottom = _middle(points, SHOULDERS), _middle(points, HIPS)
    length, shown = float(np.linalg.norm(bottom - top)), _in_plane(world, SHOULDERS, HIPS)
    turn = _turn(world)
    if length < LEAST_TRUNK_PX or shown < LEANING or turn > TURNED:
        return None
    gauge = _Gauge(seen, points, world, length / shown)
    found = [
        gauge.bone(*SHOULDERS), gauge.bone(*HIPS), gauge.bone(LEFT_EAR, RIGHT_EAR),
        gauge.neck(top), gauge.crown(top), gauge.face(face_height_px),
        *(gauge.length(a, b) for _, a, b in LENGTHS),
        *(gauge.trunk(top, bottom, level) for level in TRUNK_LEVELS),
        *(gauge.limb(a, b, share, outer_only=a is HIPS) for _, a, b, share in LIMB_WIDTHS),
    ]  # fmt: skip
    shares = np.array([np.nan if value is None else value for value in found])
    valid = np.isfinite(shares) & (shares > 0.0)
    values = np.log(np.where(valid, shares, 1.0))
    return Measurements(values, valid.astype(np.float64), seen.presence * float(np.cos(turn)) ** 2)


def _middle(points: F64, pair: tuple[int, int]) -> F64:
    return np.asarray(0.5 * (points[pair[0]] + points[pair[1]]))


def _in_plane(world: F64, start: tuple[int, int], end: tuple[int, int]) -> float:
    """The cosine of the angle between the trunk and the picture."""
    axis = _middle(world, end) - _middle(world, start)
    return float(np.hypot(axis[0], axis[1]) / max(float(np.linalg.norm(axis)), 1e-6))


def _turn(world: F64) -> float:
    """Radians by which shoulders and hips are turned from the camera; above pi/2 from behind."""
    across = (world[11] - world[12]) + (world[23] - world[24])
    return float(np.abs(np.arctan2(across[2], across[0])))


@dataclass(frozen=True, slots=True)
class _Gauge:
    """Takes single measurements as shares of ``unit`` crop pixels, the trunk's own length."""

    seen: Silhouette
    points: F64
    world: F64
    unit: float

    def bone(self, a: int, b: int) -> float | None:
        """A bone's length, its foreshortening undone, if there is little of it."""
        if min(self.seen.visibility[a], self.seen.visibility[b]) < SEEN:
            return None
        axis = self.world[b] - self.world[a]
        shown = np.hypot(axis[0], axis[1]) / max(float(np.linalg.norm(axis)), 1e-6)
        if shown < IN_PLANE:
            return None
        return float(np.linalg.norm(self.points[b] - self.points[a]) / (shown * self.unit))

    def length(self, starts: tuple[int, int], ends: tuple[int, int]) -> float | None:
        """Of a limb's bone, the mean of the sides that are seen."""
        return _mean([self.bone(a, b) for a, b in zip(starts, ends, strict=True)])

    def neck(self, top: F64) -> float | None:
        """From between the shoulders to between the ears."""
        if self.seen.visibility[[LEFT_EAR, RIGHT_EAR]].min() < SEEN:
            return None
        ears = 0.5 * (self.points[LEFT_EAR] + self.points[RIGHT_EAR])
        return float(np.linalg.norm(ears - top) / self.unit)

    def crown(self, top: F64) -> float | None:
        """From between the ears to the top of the head, hair included."""
        if self.seen.visibility[[LEFT_EAR, RIGHT_EAR]].min() < SEEN:
            return None
        ears = 0.5 * (self.points[LEFT_EAR] + self.points[RIGHT_EAR])
        up = ears - top
        reach = edge_distance(self.seen.mask, ears, up / max(float(np.linalg.norm(up)), 1e-6))
        return self._share(reach)

    def face(self, height_px: float | None) -> float | None:
        """A face's height, which a face network measures finer than the pose network."""
        if height_px is None or not height_px > 0.0:
            return None
        return height_px / (self.seen.frame_px * self.unit)

    def trunk(self, top: F64, bottom: F64, level: float) -> float | None:
        """The trunk's width at a level: twice the mean of the halves that no arm hides."""
        down = (bottom - top) / float(np.linalg.norm(bottom - top))
        centre, across = top + level * (bottom - top), np.array([-down[1], down[0]])
        halves = []
        for sign in (1.0, -1.0):
            half = self._share(edge_distance(self.seen.mask, centre, sign * across))
            if half is not None and not self._meets_arm(centre, sign * across, down, half):
                halves.append(2.0 * half)
        return _mean(halves)

    def _meets_arm(self, centre: F64, across: F64, down: F64, half: float) -> bool:
        """Whether an arm's bone crosses this level so near that the edge found may be its own."""
        for shoulder, elbow, wrist in zip(SHOULDERS, ELBOWS, WRISTS, strict=True):
            hand = self.points[wrist] + 0.4 * (self.points[wrist] - self.points[elbow])
            chain = (self.points[shoulder], self.points[elbow], self.points[wrist], hand)
            for a, b in pairwise(chain):
                heights = (a - centre) @ down, (b - centre) @ down
                if heights[0] * heights[1] > 0.0:
                    continue
                t = heights[0] / (heights[0] - heights[1]) if heights[0] != heights[1] else 0.0
                aside = float((a + t * (b - a) - centre) @ across) / self.unit
                if -LIMB_APART < aside < half + LIMB_APART:
                    return True
        return False

    def limb(
        self, starts: tuple[int, int], ends: tuple[int, int], share: float, *, outer_only: bool
    ) -> float | None:
        """A limb's width across its bone, the mean of the sides; of thighs the outer half."""
        found = []
        for side, (a, b) in enumerate(zip(starts, ends, strict=True)):
            if self.bone(a, b) is None:
                continue
            axis = self.points[b] - self.points[a]
            out = np.array([axis[1], -axis[0]]) / max(float(np.linalg.norm(axis)), 1e-6)
            out = out if side == 0 else -out  # the person's left is at the picture's right
            centre = self.points[a] + share * axis
            halves = [self._share(edge_distance(self.seen.mask, centre, out))]
            if not outer_only:
                halves.append(self._share(edge_distance(self.seen.mask, centre, -out)))
            widths = [half for half in halves if half is not None and half < 0.3]
            if len(widths) == len(halves):
                found.append(sum(widths))
        return _mean(found)

    def _share(self, pixels: float) -> float | None:
        return pixels / self.unit if 0.0 < pixels < LARGEST_HALF * self.unit else None


def _mean(values: list[float | None] | list[float]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


@njit(cache=True, nogil=True)
def edge_distance(mask: F32, start: F64, direction: F64) -> float:
    """Pixels from a point inside the mask to where it falls below one half; nan if never.

    Args:
        mask: (256, 256) probabilities.
        start: (2,) x, y.
        direction: (2,) unit.
    """
    step, before = 0.5, _sample(mask, start[0], start[1])
    if not before >= 0.5:
        return np.nan
    for n in range(1, 2 * SIDE):
        x, y = start[0] + n * step * direction[0], start[1] + n * step * direction[1]
        if not (EDGE < x < SIDE - 1 - EDGE and EDGE < y < SIDE - 1 - EDGE):
            return np.nan
        here = _sample(mask, x, y)
        if here < 0.5:
            return step * (n - 1 + (before - 0.5) / (before - here))
        before = here
    return np.nan


@njit(cache=True, nogil=True)
def _sample(mask: F32, x: float, y: float) -> float:
    """Bilinear; nan outside."""
    if not (0.0 <= x < SIDE - 1 and 0.0 <= y < SIDE - 1):
        return np.nan
    i, j = int(y), int(x)
    u, v = x - j, y - i
    above = (1.0 - u) * mask[i, j] + u * mask[i, j + 1]
    below = (1.0 - u) * mask[i + 1, j] + u * mask[i + 1, j + 1]
    return float((1.0 - v) * above + v * below)
