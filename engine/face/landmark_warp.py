"""Landmarks pull the picture onto the face model: eyes on eyes, lips on lips.

No fitted head is exactly the person's, and a mouth that is sampled two millimetres beside the
model's lips makes two mouths. What is left between the landmarks seen and those of the posed mesh
is spread over the texels, linearly in a triangulation of the landmarks in texture space.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engine.avatar.paint.atlas import HEAD
from engine.avatar.topology import Topology
from engine.face.face_atlas import FaceAtlas, cover
from engine.face.head_pose import procrustes
from engine.face.landmark_embedding import LandmarkEmbedding
from engine.types import F32, F64, I32, Camera

ON_SKIN = 468
"""Landmarks of the face's surface; the irises follow."""
DECAY_TEXELS = 60.0
"""Beyond the outermost landmarks their shift fades over such a distance."""


@dataclass(frozen=True, slots=True)
class LandmarkWarp:
    """For each of the atlas' N texels, three landmarks and their shares."""

    landmarks: I32
    """(N, 3)."""
    shares: F32
    """(N, 3); they sum to 1 within the landmarks' hull and to less outside."""

    @staticmethod
    def of(atlas: FaceAtlas, topology: Topology, embedding: LandmarkEmbedding) -> LandmarkWarp:
        """Triangulate the landmarks in the atlas (Delaunay)."""
        places = (_landmark_uvs(topology, embedding) - (atlas.window.u0, atlas.window.v0)) / (
            atlas.window.u1 - atlas.window.u0
        )
        kept = np.flatnonzero(((places > 0.0) & (places < 1.0)).all(axis=1)).astype(np.int32)
        triangles = kept[_delaunay(places[kept])]
        owners, shares = cover(np.ascontiguousarray(places[triangles], np.float32), atlas.size)
        nearest, distance = _nearest_covered(owners.reshape(atlas.size, atlas.size) >= 0)
        source = nearest.ravel()[atlas.texels]
        fading = np.exp(-distance.ravel()[atlas.texels] / DECAY_TEXELS).astype(np.float32)
        return LandmarkWarp(
            landmarks=np.ascontiguousarray(triangles[owners[source]], np.int32),
            shares=np.ascontiguousarray(shares[source] * fading[:, None]),
        )


def landmark_shifts(
    vertices_m: F32, rest_vertices_m: F32, points_px: F32, camera: Camera, e: LandmarkEmbedding
) -> F32:
    """(478, 2) px: how far the landmarks seen lie from where the posed mesh has them.

    Args:
        vertices_m: (V, 3) posed, camera space.
        rest_vertices_m: (V, 3) the same person at rest.
        points_px: (478, 3) landmarks seen.
        camera: that saw them.
        e: where the landmarks are on the mesh; its offsets turn with the head.
    """
    posed = e.landmarks_m(vertices_m).astype(np.float64)
    rest = e.landmarks_m(rest_vertices_m).astype(np.float64)
    turned = procrustes(rest, posed, e.pose_weights.astype(np.float64)).rotation
    model: F64 = posed + e.offset_m @ turned.T
    scale = camera.focal_px / np.maximum(-model[:, 2], 1e-3)
    predicted = np.stack([camera.cx + model[:, 0] * scale, camera.cy - model[:, 1] * scale], axis=1)
    return np.ascontiguousarray(points_px[:, :2] - predicted, np.float32)


def _landmark_uvs(topology: Topology, embedding: LandmarkEmbedding) -> F32:
    """(468, 2); NaN for a landmark that is not on the head's island."""
    uvs = np.full((len(topology.regions), 2), np.nan, np.float32)
    on_head = HEAD.holds(topology.render_uvs)
    uvs[topology.render_vertices[on_head]] = topology.render_uvs[on_head]
    corners = uvs[embedding.triangles[:ON_SKIN]]
    return np.asarray((embedding.barycentric[:ON_SKIN, :, None] * corners).sum(axis=1), np.float32)


def _delaunay(points: F32) -> I32:
    """(T, 3) indices of the Delaunay triangles of points in the unit square."""
    plane = cv2.Subdiv2D((-1, -1, 3, 3))
    owner = {plane.insert((float(x), float(y))): n for n, (x, y) in enumerate(points)}
    known = {plane.getVertex(vertex)[0]: n for vertex, n in owner.items()}
    corners = np.asarray(plane.getTriangleList(), np.float32).reshape(-1, 3, 2).tolist()
    found = [[known.get((x, y)) for x, y in triangle] for triangle in corners]
    inside = [triangle for triangle in found if None not in triangle]
    return np.asarray(inside, np.int32).reshape(-1, 3)


def _nearest_covered(covered: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> tuple[I32, F32]:
    """For each texel the flat index of the nearest covered one, and its distance."""
    distance, labels = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.flatnonzero(covered)
    of_label = np.zeros(int(labels.max()) + 1, np.int32)
    of_label[labels.ravel()[places]] = places
    return of_label[labels], np.asarray(distance, np.float32)
