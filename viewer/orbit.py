"""The orbit camera: pure mathematics of turning, moving and fitting a view.

The space is the source camera's (glTF axes, metres). Matrices are (4, 4) row-major float32.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from engine.rendering.projection import projection_matrix
from engine.types import F32, F64, Camera

FIELD_OF_VIEW_DEG = 30.0
"""Vertical. A portrait lens: a wider one makes noses long."""
MAX_PITCH = math.radians(85.0)
NEAREST_M, FARTHEST_M = 0.15, 20.0
TURN_PER_HEIGHT = math.pi
"""A drag over the window's full height turns by half a circle."""
ZOOM_PER_STEP = 0.88
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class OrbitCamera:
    """Looks at ``target`` from ``distance`` metres away."""

    target: Vector = (0.0, 0.0, -2.0)
    yaw: float = 0.0
    """Radians about +Y; 0 looks along -Z, so at the front of someone who faces +Z."""
    pitch: float = 0.0
    """Radians; positive looks down from above."""
    distance: float = 2.0
    field_of_view_deg: float = FIELD_OF_VIEW_DEG
    """Vertical."""


def turn(camera: OrbitCamera, dx: float, dy: float) -> OrbitCamera:
    """Turn about the target by a drag of (dx, dy) window heights, y down."""
    pitch = camera.pitch + dy * TURN_PER_HEIGHT
    return replace(
        camera,
        yaw=math.remainder(camera.yaw - dx * TURN_PER_HEIGHT, math.tau),
        pitch=min(max(pitch, -MAX_PITCH), MAX_PITCH),
    )


def zoom(camera: OrbitCamera, steps: float) -> OrbitCamera:
    """Come nearer by scroll steps (negative: go away), never through the target."""
    distance = camera.distance * ZOOM_PER_STEP**steps
    return replace(camera, distance=min(max(distance, NEAREST_M), FARTHEST_M))


def pan(camera: OrbitCamera, dx: float, dy: float) -> OrbitCamera:
    """Move sideways so that the target's plane follows a drag of (dx, dy) window heights."""
    height_m = 2.0 * camera.distance * math.tan(math.radians(camera.field_of_view_deg) / 2.0)
    right, up, _ = axes(camera)
    moved = np.asarray(camera.target) + height_m * (dy * up - dx * right)
    return replace(camera, target=_vector(moved))


def axes(camera: OrbitCamera) -> tuple[F32, F32, F32]:
    """Right, up and backward (from the target to the eye) unit vectors, each (3,)."""
    sin_yaw, cos_yaw = math.sin(camera.yaw), math.cos(camera.yaw)
    sin_pitch, cos_pitch = math.sin(camera.pitch), math.cos(camera.pitch)
    right = np.array([cos_yaw, 0.0, -sin_yaw], np.float32)
    backward = np.array([sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch], np.float32)
    up = np.array([-sin_yaw * sin_pitch, cos_pitch, -cos_yaw * sin_pitch], np.float32)
    return right, up, backward


def eye(camera: OrbitCamera) -> Vector:
    """Where the camera is, metres."""
    return _vector(np.asarray(camera.target) + camera.distance * axes(camera)[2])


def view_matrix(camera: OrbitCamera) -> F32:
    """Source camera space to this camera's space, a rigid motion."""
    rotation = np.stack(axes(camera))
    matrix = np.eye(4, dtype=np.float32)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = -rotation @ np.asarray(eye(camera), np.float32)
    return matrix


def clip_matrix(
    camera: OrbitCamera, width: int, height: int, *, mirror: bool = False, flip_y: bool = False
) -> F32:
    """Source camera space to clip space.

    Args:
        camera: the view.
        width: of the picture, pixels.
        height: of the picture, pixels.
        mirror: swap left and right, as a mirror does.
        flip_y: draw upside down, so that reading pixels back yields the top row first.
    """
    lens = Camera.from_size(width, height, camera.field_of_view_deg)
    matrix: F32 = projection_matrix(lens, flip_y=flip_y) @ view_matrix(camera)
    if mirror:
        matrix[0] *= -1.0
    return matrix


def fit(
    points_m: F32, aspect: float, yaw: float = 0.0, pitch: float = 0.0, margin: float = 1.15
) -> OrbitCamera:
    """The camera that looks at the middle of the points and sees all of them.

    Args:
        points_m: (N, 3), N >= 1.
        aspect: width over height of the picture.
        yaw: radians, as in :class:`OrbitCamera`.
        pitch: radians.
        margin: 1 touches the picture's edge.
    """
    low, high = points_m.min(axis=0), points_m.max(axis=0)
    camera = OrbitCamera(_vector((low + high) / 2.0), yaw, pitch)
    right, up, backward = axes(camera)
    centred = points_m - np.asarray(camera.target, np.float32)
    tangent = math.tan(math.radians(camera.field_of_view_deg) / 2.0)
    reach = np.maximum(abs(centred @ up), abs(centred @ right) / aspect) * margin / tangent
    distance = float((reach + centred @ backward).max())
    return replace(camera, distance=min(max(distance, NEAREST_M), FARTHEST_M))


def _vector(values: F32 | F64) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z
