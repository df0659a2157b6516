"""How far a reconstructed head is from the truth: the paper's Table I, MICC's protocol.

The truth is cropped to 95 mm around the tip of its nose, the reconstruction is registered to it
by ICP, and distances are measured to the planes at the closest points, from the truth to the
reconstruction and back; both means count the same. One camera does not know how large a head is,
so the ICP finds an isotropic scale too, as is usual where monocular methods are measured this
way. :class:`HeadError` also has the error at the reconstruction's own size,
without a scale: that one includes the guess of how large the person's head is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.face.head_pose import Similarity, procrustes
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.registration import apply, inverse, register, vertex_areas
from engine.types import F32, F64, I32

RADIUS_M = 0.095


@dataclass(frozen=True, slots=True)
class Head:
    """A head's skin, and points on it that are also known on others."""

    vertices_m: F64
    """(V, 3)."""
    faces: I32
    """(F, 3): the outer skin alone."""
    landmarks_m: F64
    """(L, 3) in the same order for all heads."""
    nose_tip: int
    """Which of the landmarks."""

    @staticmethod
    def of(vertices_m: F32, faces: I32, landmarks_m: F32, nose_tip: int) -> Head:
        """From a model's own arrays."""
        return Head(vertices_m.astype(np.float64), faces, landmarks_m.astype(np.float64), nose_tip)

    def crop(self) -> I32:
        """(G, 3) the triangles within 95 mm of the tip of the nose."""
        near = np.linalg.norm(self.vertices_m - self.landmarks_m[self.nose_tip], axis=1) < RADIUS_M
        return np.ascontiguousarray(self.faces[near[self.faces].all(axis=1)])


@dataclass(frozen=True, slots=True)
class HeadError:
    """Of one reconstruction."""

    scaled_mm: float
    """Average symmetric point-to-plane distance after ICP with a scale: the headline."""
    rigid_mm: float
    """The same without: the reconstruction's own size."""
    scale: float
    """That the ICP found: 1 where the reconstruction had the right size."""
    aligned_m: F64
    """(V, 3) the reconstruction's vertices on the truth, scaled."""
    to_truth_mm: F64
    """(V,) signed distance of the truth from each of them along its plane, NaN outside."""


def measure(head: Head, truth: Head) -> HeadError:
    """Compare a reconstruction with the truth.

    Args:
        head: of any topology.
        truth: of any other.
    """
    full, cropped = SurfaceTree(truth.vertices_m, truth.faces), truth.crop()
    target = SurfaceTree(truth.vertices_m, cropped)
    source = SurfaceTree(head.vertices_m, head.crop())
    own = SurfaceTree(head.vertices_m, head.faces)
    start = procrustes(head.landmarks_m, truth.landmarks_m, np.ones(len(head.landmarks_m)))
    found = register(source, target, scaled=True, start=start).similarity
    rigid = register(source, target, start=_at_own_size(found, head)).similarity
    aligned = apply(found, head.vertices_m)
    tip = truth.landmarks_m[truth.nose_tip]
    distances = np.full(len(aligned), np.nan)
    inside = _inside(aligned, head.faces, tip)
    distances[inside] = _to_plane(aligned[inside], full)
    return HeadError(
        scaled_mm=_symmetric(own, full, cropped, found, tip),
        rigid_mm=_symmetric(own, full, cropped, rigid, tip),
        scale=found.scale,
        aligned_m=aligned,
        to_truth_mm=1e3 * distances,
    )


def _at_own_size(start: Similarity, head: Head) -> Similarity:
    centre = head.landmarks_m.mean(axis=0)
    middle = start.scale * start.rotation @ centre + start.translation
    return Similarity(1.0, start.rotation, middle - start.rotation @ centre)


def _symmetric(
    own: SurfaceTree, truth: SurfaceTree, cropped: I32, similarity: Similarity, tip: F64
) -> float:
    """Millimetres; each side's mean is over its area, as dense eyelids are no larger for that.

    Partners may lie beyond the crop, so that its border costs nothing.
    """
    aligned = apply(similarity, own.vertices)
    there = _inside(aligned, own.faces, tip)
    areas = vertex_areas(aligned, own.faces)[there]
    forth = np.average(np.abs(_to_plane(aligned[there], truth)), weights=areas)
    areas = vertex_areas(truth.vertices, cropped)
    used = areas > 0.0
    asked = apply(inverse(similarity), truth.vertices[used])
    back = similarity.scale * np.average(np.abs(_to_plane(asked, own)), weights=areas[used])
    return float(1e3 * (forth + back) / 2.0)


def _inside(vertices: F64, faces: I32, tip: F64) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Rows of the vertices of the skin that are within the crop."""
    used = np.unique(faces)
    return np.asarray(used[np.linalg.norm(vertices[used] - tip, axis=1) < RADIUS_M])


def _to_plane(points: F64, surface: SurfaceTree) -> F64:
    """(N,) signed distance from the planes of the closest triangles, positive outside."""
    found = surface.closest(points)
    normals = surface.face_normals()[found.triangles]
    return np.asarray(((points - found.points) * normals).sum(axis=1))
