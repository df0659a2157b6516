"""What stands before the face: a small depth buffer of the mesh itself, and hands that are seen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numba import njit

from engine.types import F32, I32, Camera

MAX_SIDE = 192
NEAREST_FACE_M = 0.1
MARGIN = 0.15
"""Around the face's box, as a share of it."""
FINGER_SHARE = 0.10
"""Half a finger's thickness, as a share of the hand's length."""
NEAREST = np.float32(0.0)
NOTHING = np.float32(np.inf)


@dataclass(frozen=True, slots=True)
class DepthMap:
    """Depth (-z) of what is nearest around the face."""

    depth_m: F32
    """(H, W): infinite where nothing is, 0 where a hand covers whatever is there."""
    placing: F32
    """(3,) x0, y0 in frame pixels and cells per pixel."""


def depth_around_face(
    vertices_m: F32, faces: I32, face_vertices: I32, camera: Camera
) -> DepthMap | None:
    """Draw the mesh around its face; ``None`` where the face is not in front of the camera.

    Args:
        vertices_m: (V, 3) posed, camera space.
        faces: (F, 3).
        face_vertices: those that must be covered by the map.
        camera: pinhole.
    """
    points = vertices_m[face_vertices]
    if not float(points[:, 2].max()) < -NEAREST_FACE_M or not np.isfinite(points).all():
        return None
    scale = camera.focal_px / -points[:, 2]
    x, y = camera.cx + points[:, 0] * scale, camera.cy - points[:, 1] * scale
    extent = max(float(np.ptp(x)), float(np.ptp(y)), 1.0)
    cells = min(1.0, MAX_SIDE / ((1 + 2 * MARGIN) * extent))
    x0, y0 = float(x.min()) - MARGIN * extent, float(y.min()) - MARGIN * extent
    width = int(cells * (np.ptp(x) + 2 * MARGIN * extent)) + 1
    height = int(cells * (np.ptp(y) + 2 * MARGIN * extent)) + 1
    placing = np.array([x0, y0, cells], np.float32)
    depth = np.full((height, width), NOTHING, np.float32)
    lens = np.array([camera.focal_px, camera.cx, camera.cy], np.float32)
    _draw(vertices_m, faces, lens, placing, depth)
    return DepthMap(depth, placing)


def cover_with_hand(depth: DepthMap, points_px: F32) -> None:
    """Nothing is seen through a hand: mark it as nearest, in place.

    Args:
        depth: of :func:`depth_around_face`.
        points_px: (21, 3) its landmarks.
    """
    places = (points_px[:, :2] - depth.placing[:2]) * depth.placing[2]
    length = float(np.linalg.norm(np.ptp(places, axis=0)))
    limit = 4.0 * max(depth.depth_m.shape)
    if not length < limit or not np.abs(places).max() < limit:
        return
    hull = cv2.convexHull(np.rint(places).astype(np.int32))
    mask = np.zeros(depth.depth_m.shape, np.uint8)
    cv2.fillConvexPoly(mask, hull, 1)
    thickness = max(1, int(2 * FINGER_SHARE * length))
    cv2.polylines(mask, [hull], True, 1, thickness)
    depth.depth_m[mask > 0] = NEAREST


@njit(cache=True, nogil=True, fastmath=False, error_model="numpy")
def _draw(
    vertices: F32, faces: I32, lens: F32, placing: F32, depth: F32
) -> None:  # pragma: no cover - compiled
    height, width = depth.shape
    count = vertices.shape[0]
    places = np.empty((count, 3), np.float32)
    for v in range(count):
        z = -vertices[v, 2]
        if z < np.float32(0.05):
            places[v, 2] = np.float32(-1.0)
            continue
        scale = lens[0] / z
        places[v, 0] = (lens[1] + vertices[v, 0] * scale - placing[0]) * placing[2]
        places[v, 1] = (lens[2] - vertices[v, 1] * scale - placing[1]) * placing[2]
        places[v, 2] = z
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        if places[a, 2] < 0 or places[b, 2] < 0 or places[c, 2] < 0:
            continue
        ax, ay, bx, by = places[a, 0], places[a, 1], places[b, 0], places[b, 1]
        cx, cy = places[c, 0], places[c, 1]
        if max(ax, bx, cx) < 0 or max(ay, by, cy) < 0 or min(ax, bx, cx) >= width:
            continue
        if min(ay, by, cy) >= height:
            continue
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area >= 0.0:  # y points down: what faces the camera runs the other way round
            continue
        x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(max(ax, bx, cx)))
        y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(max(ay, by, cy)))
        for y in range(y0, y1 + 1):
            for x in range(x0, x1 + 1):
                wb = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                wc = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                wa = 1.0 - wb - wc
                if wa < 0.0 or wb < 0.0 or wc < 0.0:
                    continue
                z = np.float32(wa * places[a, 2] + wb * places[b, 2] + wc * places[c, 2])
                depth[y, x] = min(depth[y, x], z)
