"""The frames that an identity is estimated from: few, good, and from many sides.

A face seen from one side for an hour says no more about its depth than one frame does, so views
are kept in bins of head direction, the best few of each. What is not a face seen well enough to
tell its shape is not kept at all: hands, masks and half faces leave an identity as it was.

A fitted expression only says how much a view counts. To take it out of the landmarks would take
out identity too, for a stranger's long upper lip is fitted as an expression: measured on heads of
another model, that costs an eighth of the accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from engine import quaternions
from engine.face.head_pose import HeadPose
from engine.face.landmark_features import view_angles, view_direction
from engine.types import F32, F64, Camera, FaceLandmarks

LEAST_PRESENCE = 0.8
SMALLEST_FACE_PX = 48.0
LARGEST_MISFIT = 0.03
"""Pose residual as a share of the face's width. Beyond, something else than a face is seen."""
MOST_YAW, MOST_PITCH = np.radians((50.0, 35.0))
"""Beyond, half of the landmarks are guesses."""
QUIET = 0.25
"""Sum of squared actions at which a face counts less than half."""
YAW_BINS, PITCH_BINS = 9, 3
VIEWS_PER_BIN = 3
AGEING = 0.98
"""What a kept view's weight is multiplied by whenever another one asks for its place."""


@dataclass(frozen=True, slots=True)
class View:
    """One frame of a face."""

    points_px: F64
    """(478, 3) as the network gave them."""
    lens: F64
    """(3,) focal length, cx, cy in pixels."""
    yaw: float
    """Of the head as the camera sees it, rad."""
    weight: float
    """In (0, 1]."""
    pitch: float = 0.0
    """Likewise."""
    known_expression: F64 | None = None
    """(52,) to be taken out of the landmarks where it is known for sure, as in calibration."""


def judge(
    face: FaceLandmarks, head: HeadPose, expression: F32, camera: Camera, weight: float
) -> tuple[View, int] | None:
    """A frame as a view and the number of its bin, or None where it says nothing on identity.

    Args:
        face: the landmarks.
        head: as fitted to them.
        expression: (52,) as fitted.
        camera: that took them.
        weight: in [0, 1]: how sharp the picture is, and what else the caller knows of it.
    """
    points = np.asarray(face.points_px, np.float64)
    width = float(np.ptp(points[:, :2], axis=0).max())
    if face.presence < LEAST_PRESENCE or not width >= SMALLEST_FACE_PX or not weight > 0.0:
        return None
    misfit = head.residual_px / width
    rotation = np.asarray(quaternions.to_matrix(head.rotation_xyzw.astype(np.float64)), np.float64)
    yaw, pitch = view_angles(view_direction(rotation, head.translation_m.astype(np.float64)))
    if not misfit < LARGEST_MISFIT or abs(yaw) > MOST_YAW or abs(pitch) > MOST_PITCH:
        return None
    acting = float(np.square(expression, dtype=np.float64).sum())
    quality = weight / (1.0 + acting / QUIET)
    lens = np.array([camera.focal_px, camera.cx, camera.cy])
    view = View(points, lens, yaw, float(quality), pitch)
    return view, _bin(yaw, MOST_YAW, YAW_BINS) * PITCH_BINS + _bin(pitch, MOST_PITCH, PITCH_BINS)


def _bin(angle: float, most: float, count: int) -> int:
    return min(int((angle / most + 1.0) / 2.0 * count), count - 1)


@dataclass(slots=True)
class ViewBook:
    """The best views of each direction. Not thread-safe."""

    _bins: dict[int, list[View]] = field(default_factory=dict)

    def offer(self, view: View, number: int) -> None:
        """Keep a view where its bin has room or holds a worse one."""
        views = self._bins.setdefault(number, [])
        if len(views) < VIEWS_PER_BIN:
            views.append(view)
            return
        worst = min(range(len(views)), key=lambda k: views[k].weight)
        if view.weight >= views[worst].weight:
            views[worst] = view
        else:
            views[worst] = replace(views[worst], weight=AGEING * views[worst].weight)

    def views(self) -> list[View]:
        """All that are kept."""
        return [view for number in sorted(self._bins) for view in self._bins[number]]

    def clear(self) -> None:
        """Forget them."""
        self._bins.clear()
