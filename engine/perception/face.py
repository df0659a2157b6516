"""The face tracker: 478 landmarks with irises.

Where to look, in this order: where the face was; where the body's head is; everywhere.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.perception.backoff import Backoff
from engine.perception.crop import is_picture
from engine.perception.detection import Detection
from engine.perception.detector import FACE, Detector
from engine.perception.face_mesh import AttentionMesh, FaceMesh, IrisMesh
from engine.perception.landmarks import FACE_POINTS, LEFT_EYE, NOSE, RIGHT_EYE
from engine.perception.networks import Networks
from engine.perception.one_euro import FACE as FACE_FILTER
from engine.perception.one_euro import LandmarkFilter
from engine.perception.region import Region, from_box, steadied
from engine.types import F32, U8, FaceLandmarks, PoseLandmarks

PRESENT = 0.5
STEADY = 0.03
MESH_SCALE = 1.5
KEYPOINT_SCALE = 2.0
HEAD_SCALE = 3.0
VISIBLE = 0.5
STRAYED_FRAMES = 5
"""A face that is away from the body's nose for so long is another person's."""
EYE_CORNERS = (33, 263)

Refinement = Literal["attention", "iris"]


class FaceTracker:
    """Follows one face; not for two threads at once."""

    def __init__(
        self, networks: Networks, *, smooth: bool = False, refinement: Refinement = "attention"
    ) -> None:
        """Open the landmark networks; the detector opens when first needed.

        Args:
            networks: where sessions come from.
            smooth: filter the landmarks (One-Euro).
            refinement: the one attention network, or the plain mesh with two iris networks.
        """
        self._mesh: FaceMesh = (
            AttentionMesh(networks) if refinement == "attention" else IrisMesh(networks)
        )
        self._detector = Detector(networks, FACE)
        self._filter = LandmarkFilter(FACE_FILTER) if smooth else None
        self._backoff = Backoff()
        self._head_backoff = Backoff(longest=3)
        self._region: Region | None = None
        self._strayed = 0

    def reset(self) -> None:
        """Forget the face."""
        self._backoff.reset()
        self._head_backoff.reset()
        self._lose()

    def track(self, image: U8, pose: PoseLandmarks | None) -> FaceLandmarks | None:
        """Find the face in the next frame.

        Args:
            image: (H, W, 3) RGB.
            pose: the body in the frame before, which tells whose face it is and where a small
                one may be.

        Returns:
            The landmarks, or ``None`` where no face is seen.
        """
        if not is_picture(image):
            return None
        if self._region is not None and self._is_strange(self._region, pose):
            self._lose()
        found = self._follow(image) or self._search(image, pose)
        if found is None:
            self._lose()
            return None
        self._backoff.reset()
        self._head_backoff.reset()
        return found

    def _follow(self, image: U8) -> FaceLandmarks | None:
        return None if self._region is None else self._read(image, self._region)

    def _search(self, image: U8, pose: PoseLandmarks | None) -> FaceLandmarks | None:
        """At the body's head, else the largest face of the picture: one search a frame."""
        self._region = None
        head = _head_region(pose)
        backoff = self._backoff if head is None else self._head_backoff
        if not backoff.due():
            return None
        found = self._largest(image, head)
        if found is None:
            backoff.failed()
        return found

    def _largest(self, image: U8, where: Region | None) -> FaceLandmarks | None:
        faces = self._detector(image, where)
        if not faces:
            return None
        return self._read(image, _region_of(max(faces, key=lambda face: face.size)))

    def _read(self, image: U8, region: Region) -> FaceLandmarks | None:
        if not region.is_readable(image.shape[1], image.shape[0]):
            return None
        points, presence = self._mesh.read(image, region)
        if presence < PRESENT:
            return None
        self._region = steadied(self._region, _next_region(points), STEADY)
        if self._filter is not None:
            points = self._filter(points, region.side / MESH_SCALE)
        return FaceLandmarks(points, presence)

    def _is_strange(self, region: Region, pose: PoseLandmarks | None) -> bool:
        """Whether the tracked face has long been away from the body's nose."""
        if pose is None or pose.visibility[NOSE] < VISIBLE:
            self._strayed = 0
            return False
        away = np.hypot(*(pose.points_px[NOSE, :2] - (region.cx, region.cy)))
        self._strayed = self._strayed + 1 if away > region.side else 0
        return self._strayed >= STRAYED_FRAMES

    def _lose(self) -> None:
        self._region = None
        self._strayed = 0
        if self._filter is not None:
            self._filter.reset()


def _head_region(pose: PoseLandmarks | None) -> Region | None:
    """MediaPipe Holistic's: the box of the pose's face points, three times as large."""
    if pose is None or pose.visibility[NOSE] < VISIBLE:
        return None
    points = pose.points_px
    return from_box(points[FACE_POINTS], points[RIGHT_EYE], points[LEFT_EYE], HEAD_SCALE)


def _region_of(face: Detection) -> Region:
    """Keypoints 0 and 1 are the person's right and left eye."""
    return from_box(
        face.keypoints, face.keypoints[0], face.keypoints[1], KEYPOINT_SCALE, shift_y=-0.1
    )


def _next_region(points: F32) -> Region:
    right, left = EYE_CORNERS
    return from_box(points[:468], points[right], points[left], MESH_SCALE)
