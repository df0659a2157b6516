"""The body tracker: 33 landmarks in the picture and in metres.

Detector (hips and scale point) -> region -> landmarks; the two auxiliary landmarks then give the
region of the next frame (BlazePose, Bazarevsky et al. 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.perception.backoff import Backoff
from engine.perception.crop import Cropper, is_picture
from engine.perception.detection import Detection
from engine.perception.detector import POSE, Detector
from engine.perception.heatmap import refine
from engine.perception.landmarks import sigmoid, to_gltf_axes
from engine.perception.networks import Networks
from engine.perception.one_euro import BODY, WORLD, LandmarkFilter
from engine.perception.region import Region, from_alignment_points, steadied
from engine.types import F32, U8, PoseLandmarks

SIDE = 256
PRESENT = 0.5
REGION_SCALE = 1.25
STEADY = 0.06
"""A region that moves less than this fraction of its side stays where it is: at rest that lowers
the jitter from 1.5 to 0.23 px and from 12.6 to 1.1 mm (webcam clip), without lag."""
RESCAN_FRAMES = 60
"""How often a tracked person is compared with everybody in the picture."""
CONFIRM_FRAMES = 6
"""A nearer person must still be there after this many frames."""
NEARER = 1.5
"""How much larger another person must be to take over."""


@dataclass(frozen=True, slots=True)
class _Reading:
    """One run of the landmark network, in frame pixels."""

    points: F32
    """(39, 3): the 33 landmarks, then the auxiliary ones."""
    world: F32
    visibility: F32
    presence: float
    region: Region


class BodyTracker:
    """Follows one person; not for two threads at once."""

    def __init__(self, networks: Networks, *, smooth: bool = False) -> None:
        """Open the landmark network; the detector opens when first needed.

        Args:
            networks: where sessions come from.
            smooth: filter the landmarks (One-Euro); off, they are the network's own.
        """
        self._network = networks.open("pose_landmarks")
        self._detector = Detector(networks, POSE)
        self._crop = Cropper(self._network.image)
        self._filters = (LandmarkFilter(BODY), LandmarkFilter(WORLD)) if smooth else None
        self._backoff = Backoff()
        self._region: Region | None = None
        self._rescan = RESCAN_FRAMES
        self._rival = False

    def reset(self) -> None:
        """Forget the person."""
        self._rescan = RESCAN_FRAMES
        self._rival = False
        self._backoff.reset()
        self._lose()

    def track(self, image: U8) -> PoseLandmarks | None:
        """Find the person in the next frame.

        Args:
            image: (H, W, 3) RGB.

        Returns:
            The landmarks, or ``None`` where nobody is seen.
        """
        if not is_picture(image):
            return None
        reading = self._follow(image) or self._search(image)
        if reading is None:
            self._lose()
            return None
        self._region = steadied(reading.region, _next_region(reading.points), STEADY)
        self._backoff.reset()
        return self._landmarks(reading)

    def _follow(self, image: U8) -> _Reading | None:
        """Look where the person was; now and then check that it is the nearest one."""
        if self._region is None:
            return None
        region = self._nearer_person(image) or self._region
        return self._read(image, region)

    def _search(self, image: U8) -> _Reading | None:
        """Look everywhere, nearest person first."""
        if not self._backoff.due():
            return None
        for person in sorted(self._detector(image), key=_person_size, reverse=True)[:2]:
            reading = self._read(image, _region_of(person))
            if reading is not None:
                return reading
        self._backoff.failed()
        return None

    def _nearer_person(self, image: U8) -> Region | None:
        """The region of a clearly larger person who has stayed, if there is one."""
        self._rescan -= 1
        if self._rescan > 0 or self._region is None:
            return None
        rivals = [_region_of(found) for found in self._detector(image)]
        nearest = max(rivals, key=lambda region: region.side, default=None)
        larger = nearest is not None and nearest.side > NEARER * self._region.side
        takes_over = larger and self._rival
        self._rescan = CONFIRM_FRAMES if larger and not takes_over else RESCAN_FRAMES
        self._rival = larger and not takes_over
        return nearest if takes_over else None

    def _read(self, image: U8, region: Region) -> _Reading | None:
        if not region.is_readable(image.shape[1], image.shape[0]):
            return None
        outputs = self._network(self._crop(image, region))
        presence = float(outputs[1].flat[0])
        if presence < PRESENT:
            return None
        raw, heatmap, world = outputs[0][0], outputs[2][0], outputs[3][0]
        points = np.array(raw[:, :3])
        refine(points, heatmap, SIDE / heatmap.shape[-1], 3, 0.5)
        return _Reading(
            points=region.to_frame(points, SIDE),
            world=to_gltf_axes(region.turned(world[:33])),
            visibility=sigmoid(raw[:33, 3]),
            presence=presence,
            region=region,
        )

    def _landmarks(self, reading: _Reading) -> PoseLandmarks:
        points, world = np.ascontiguousarray(reading.points[:33]), reading.world
        if self._filters is not None:
            points = self._filters[0](points, reading.region.side / REGION_SCALE)
            world = self._filters[1](world, 1.0)
        return PoseLandmarks(points, world, reading.visibility, reading.presence)

    def _lose(self) -> None:
        self._region = None
        for landmark_filter in self._filters or ():
            landmark_filter.reset()


def _region_of(person: Detection) -> Region:
    """Keypoint 0 is the middle of the hips, keypoint 1 lies on the circle around the body."""
    return from_alignment_points(person.keypoints[0], person.keypoints[1], REGION_SCALE)


def _next_region(points: F32) -> Region:
    """Landmarks 33 and 34 mean the same as the detector's two keypoints."""
    return from_alignment_points(points[33], points[34], REGION_SCALE)


def _person_size(person: Detection) -> float:
    return _region_of(person).side
