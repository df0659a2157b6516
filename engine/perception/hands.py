"""The hand tracker: 21 landmarks of one of the person's hands, in the picture and in metres.

Where to look, in this order: where the hand was; where the body's wrist is; where a palm is
seen. Which hand it is follows from the body's wrists, and from the network's own reading of
handedness where the wrists are too close to tell or no body is seen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from engine.perception.backoff import Backoff
from engine.perception.crop import Cropper, is_picture
from engine.perception.detector import PALM, Detector
from engine.perception.hand_region import (
    Side,
    from_landmarks,
    from_palm,
    from_pose,
    hand_visibility,
    wrist_of,
    wrist_visibility,
)
from engine.perception.hand_side import belongs, is_at, is_same_hand
from engine.perception.landmarks import to_gltf_axes
from engine.perception.networks import Networks
from engine.perception.one_euro import HAND, WORLD, LandmarkFilter
from engine.perception.region import Region, steadied
from engine.types import F32, U8, HandLandmarks, PoseLandmarks

SIDE = 224
PRESENT = 0.5
KEPT = 0.35
"""A hand that is followed may be blurred by its motion: it needs less than one that is found."""
DEPTH_SCALE = 1.0 / 0.4
"""The network's depth counts 0.4 to the pixel (MediaPipe's normalize_z)."""
STEADY = 0.03
WRIST_VISIBLE = 0.4
HAND_VISIBLE = 0.94
"""From here a look at the wrist finds the hand one time in three, below one time in twelve
(signing clips); a look takes as long as the body's."""
INSIDE = 0.4
"""A hand with fewer of its points in the picture has left it."""
SIDE_MEMORY = 0.8
FOREIGN = 0.2
"""Below this running probability of being on its own side, a tracked hand is let go."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """One run of the landmark network."""

    points: F32
    """(21, 3) frame pixels."""
    world: F32
    presence: float
    own_side: float
    """Probability, by its looks, that it is a hand of the tracker's side."""
    region: Region


class HandTracker:
    """Follows one hand; not for two threads at once."""

    def __init__(self, networks: Networks, side: Side, *, smooth: bool = False) -> None:
        """Open the landmark network; the palm detector opens when first needed.

        Args:
            networks: where sessions come from.
            side: the person's own left or right.
            smooth: filter the landmarks (One-Euro).
        """
        self._side: Side = side
        self._network = networks.open("hand_landmarks")
        self._crop = Cropper(self._network.image)
        self._detector = Detector(networks, PALM)
        self._filters = (LandmarkFilter(HAND), LandmarkFilter(WORLD)) if smooth else None
        self._wrist_backoff = Backoff(longest=4)
        self._doubtful_backoff = Backoff(first=4, longest=12)
        self._palm_backoff = Backoff(first=6, longest=16)
        self._region: Region | None = None
        self._own_side = 0.5

    def reset(self) -> None:
        """Forget the hand."""
        self._wrist_backoff.reset()
        self._doubtful_backoff.reset()
        self._palm_backoff.reset()
        self._lose()

    def track(
        self, image: U8, pose: PoseLandmarks | None, other: HandLandmarks | None = None
    ) -> HandLandmarks | None:
        """Find the hand in the next frame.

        Args:
            image: (H, W, 3) RGB.
            pose: the body in the frame before.
            other: the other hand in the frame before, which this tracker must not take.

        Returns:
            The landmarks, or ``None`` where the hand is not seen.
        """
        if not is_picture(image):
            return None
        # Never both: a hand that was just lost is found more often with the next frame's wrist
        # than with the last one's, and no frame pays for two runs of the network.
        look = self._search if self._region is None else self._follow
        reading = look(image, pose, other)
        if reading is None:
            self._lose()
            return None
        self._remember(reading)
        return self._landmarks(reading)

    def _follow(
        self, image: U8, pose: PoseLandmarks | None, other: HandLandmarks | None
    ) -> _Reading | None:
        """Look where the hand was."""
        assert self._region is not None
        reading = self._read(image, self._region, KEPT)
        if reading is None:
            return None
        self._own_side = SIDE_MEMORY * self._own_side + (1.0 - SIDE_MEMORY) * reading.own_side
        return reading if self._is_mine(reading, self._own_side, pose, other, FOREIGN) else None

    def _search(
        self, image: U8, pose: PoseLandmarks | None, other: HandLandmarks | None
    ) -> _Reading | None:
        """At the body's wrist, or in another frame at a palm: never both, to bound the time."""
        if pose is not None:
            if not self._is_expected(image, pose):
                return None
            region = from_pose(pose, self._side)
            clear = self._is_clear(image, pose, region)
            backoff = self._wrist_backoff if clear else self._doubtful_backoff
            if backoff.due():
                return _noted(self._accept(image, region, pose, other), backoff)
            if not clear:
                return None
        if not self._palm_backoff.due():
            return None
        return _noted(self._at_palm(image, pose, other), self._palm_backoff)

    def _at_palm(
        self, image: U8, pose: PoseLandmarks | None, other: HandLandmarks | None
    ) -> _Reading | None:
        """Try the palm nearest to the body's wrist; without a body, the best one."""
        area = None
        if pose is not None:
            near = from_pose(pose, self._side)
            area = Region(near.cx, near.cy, 2.0 * near.side)
        found = [from_palm(palm) for palm in self._detector(image, area)]
        palms = [palm for palm in found if other is None or not is_at(palm, other.points_px)]
        if not palms:
            return None
        if pose is None:
            return self._accept(image, palms[0], pose, other)
        x, y = wrist_of(pose, self._side)
        nearest = min(palms, key=lambda palm: math.hypot(palm.cx - x, palm.cy - y))
        return self._accept(image, nearest, pose, other)

    def _accept(
        self, image: U8, region: Region, pose: PoseLandmarks | None, other: HandLandmarks | None
    ) -> _Reading | None:
        """Read a region and take what is there only if it is this tracker's hand."""
        reading = self._read(image, region, PRESENT)
        if reading is None or not self._is_mine(reading, reading.own_side, pose, other, 0.5):
            return None
        self._own_side = 0.5 + 0.5 * reading.own_side
        self._region = None
        return reading

    def _is_mine(
        self,
        reading: _Reading,
        own_side: float,
        pose: PoseLandmarks | None,
        other: HandLandmarks | None,
        least: float,
    ) -> bool:
        taken = other is not None and is_same_hand(reading.points, other.points_px)
        return belongs(reading.points, self._side, pose, own_side, least=0.5 if taken else least)

    def _is_expected(self, image: U8, pose: PoseLandmarks) -> bool:
        """Whether the body says that the hand is in the picture."""
        x, y = wrist_of(pose, self._side)
        return _shows(image, x, y) and wrist_visibility(pose, self._side) >= WRIST_VISIBLE

    def _is_clear(self, image: U8, pose: PoseLandmarks, region: Region) -> bool:
        """Whether a look at the wrist is likely to find the hand."""
        shown = _shows(image, region.cx, region.cy)
        return shown and hand_visibility(pose, self._side) >= HAND_VISIBLE

    def _read(self, image: U8, region: Region, least: float) -> _Reading | None:
        height, width = image.shape[:2]
        if not region.is_readable(width, height):
            return None
        landmarks, presence, right, world = self._network(self._crop(image, region))
        if presence.flat[0] < least:
            return None
        points = region.to_frame(landmarks[0], SIDE)
        points[:, 2] *= DEPTH_SCALE
        if _inside(points, width, height) < INSIDE:
            return None
        is_right = float(right.flat[0])
        return _Reading(
            points=points,
            world=to_gltf_axes(region.turned(world[0])),
            presence=float(presence.flat[0]),
            own_side=is_right if self._side == "right" else 1.0 - is_right,
            region=region,
        )

    def _remember(self, reading: _Reading) -> None:
        """Choose the next frame's region: around the landmarks."""
        self._wrist_backoff.reset()
        self._doubtful_backoff.reset()
        self._palm_backoff.reset()
        self._region = steadied(self._region, from_landmarks(reading.points), STEADY)

    def _landmarks(self, reading: _Reading) -> HandLandmarks:
        points, world = reading.points, reading.world
        if self._filters is not None:
            points = self._filters[0](points, reading.region.side / 2.0)
            world = self._filters[1](world, 1.0)
        return HandLandmarks(points, world, reading.presence)

    def _lose(self) -> None:
        self._region = None
        self._own_side = 0.5
        for landmark_filter in self._filters or ():
            landmark_filter.reset()


def _shows(image: U8, x: float, y: float) -> bool:
    """Whether a point lies in the picture."""
    return bool(0.0 <= x < image.shape[1] and 0.0 <= y < image.shape[0])


def _noted(reading: _Reading | None, backoff: Backoff) -> _Reading | None:
    """The result of a search, once its backoff knows of it."""
    if reading is None:
        backoff.failed()
    return reading


def _inside(points: F32, width: int, height: int) -> float:
    """Fraction of the points that lie in the picture."""
    x, y = points[:, 0], points[:, 1]
    return float(np.mean((x >= 0) & (x < width) & (y >= 0) & (y < height)))
