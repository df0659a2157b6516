"""The face tracker: 478 landmarks with irises.

Where to look: where the face was; else at the body's head, seen from behind or not; everywhere
only where no body is tracked, so that the avatar never wears a bystander's face.
"""

from __future__ import annotations

import math

from engine.perception.backoff import Backoff
from engine.perception.crop import is_picture
from engine.perception.detection import Detection
from engine.perception.detector import FACE, Detector
from engine.perception.face_mesh import AttentionMesh
from engine.perception.landmarks import FACE_POINTS, LEFT_EYE, RIGHT_EYE
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
STRAYED_FRAMES = 5
"""A face that is away from the body's head for so long is another person's."""
EYE_CORNERS = (33, 263)


class FaceTracker:
    """Follows one face; not for two threads at once."""

    def __init__(self, networks: Networks, *, smooth: bool = False) -> None:
        """Open the landmark network; the detector opens when first needed.

        Args:
            networks: where sessions come from.
            smooth: filter the landmarks (One-Euro).
        """
        self._mesh = AttentionMesh(networks)
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
        head = None if pose is None else _head_region(pose)
        if self._region is not None and self._is_strange(self._region, head):
            self._lose()
        found = self._follow(image) or self._search(image, head)
        if found is None:
            self._lose()
            return None
        self._backoff.reset()
        self._head_backoff.reset()
        return found

    def _follow(self, image: U8) -> FaceLandmarks | None:
        return None if self._region is None else self._read(image, self._region)

    def _search(self, image: U8, head: Region | None) -> FaceLandmarks | None:
        """At the body's head, or the largest face of the picture: one search a frame."""
        self._region = None
        backoff = self._backoff if head is None else self._head_backoff
        if not backoff.due():
            return None
        faces = self._detector(image, head)
        region = _largest(faces) if head is None else _nearest(faces, head)
        found = None if region is None else self._read(image, region)
        if found is None:
            backoff.failed()
        return found

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

    def _is_strange(self, region: Region, head: Region | None) -> bool:
        """Whether the tracked face has long been away from the body's head."""
        away = head is not None and not _belongs(region, head)
        self._strayed = self._strayed + 1 if away else 0
        return self._strayed >= STRAYED_FRAMES

    def _lose(self) -> None:
        self._region = None
        self._strayed = 0
        if self._filter is not None:
            self._filter.reset()


def _head_region(pose: PoseLandmarks) -> Region:
    """MediaPipe Holistic's: the box of the pose's face points, three times as large."""
    points = pose.points_px
    return from_box(points[FACE_POINTS], points[RIGHT_EYE], points[LEFT_EYE], HEAD_SCALE)


def _belongs(face: Region, head: Region) -> bool:
    """Whether a face's middle is nearer to the head's than half of the region around the head."""
    return math.hypot(face.cx - head.cx, face.cy - head.cy) < 0.5 * head.side


def _nearest(faces: list[Detection], head: Region) -> Region | None:
    """The face that is this head's; its neighbours may look into the region too."""
    regions = [region for region in map(_region_of, faces) if _belongs(region, head)]
    return min(
        regions,
        key=lambda face: math.hypot(face.cx - head.cx, face.cy - head.cy),
        default=None,
    )


def _largest(faces: list[Detection]) -> Region | None:
    face = max(faces, key=lambda face: face.size, default=None)
    return None if face is None else _region_of(face)


def _region_of(face: Detection) -> Region:
    """Keypoints 0 and 1 are the person's right and left eye."""
    return from_box(
        face.keypoints, face.keypoints[0], face.keypoints[1], KEYPOINT_SCALE, shift_y=-0.1
    )


def _next_region(points: F32) -> Region:
    right, left = EYE_CORNERS
    return from_box(points[:468], points[right], points[left], MESH_SCALE)
