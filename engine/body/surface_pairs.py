"""Which point of one body's surface is which of another's, body part by body part.

A vertex pairs with the nearest surface of the same part (:func:`body_parts`, by skinning weights)
or of a part that it touches, so that an arm can never pair with a hip or one finger with the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.avatar.joint_names import SMPL_FAMILY, SMPLX_PARENTS, canonical_name
from engine.avatar.parametric_body import ParametricBody
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.registration import vertex_directions
from engine.types import F32, F64, I32

FARTHEST_M = 0.05
ALIKE = 0.3
"""The least cosine between the normals of two surfaces that are the same."""
LARGE_POINTS, USUAL_POINTS, FINGER_POINTS = 60, 24, 8
"""How many vertices are fitted of trunk or head, of another part, of a finger's bone."""
_TRUNK = ("pelvis", "spine1", "spine2", "spine3", "left_collar", "right_collar")
_HEAD = ("head", "jaw")
EYES = ("left_eye", "right_eye")
"""Eyeballs are inside, and made in too many ways to pair."""


@dataclass(frozen=True, slots=True)
class SurfacePairs:
    """P vertices of the target, each with its point on the source's surface."""

    rows: I32
    """(P,) vertices of the target."""
    corners: I32
    """(P, 3) vertices of the source."""
    barycentric: F64
    """(P, 3), rows sum to 1."""

    def on(self, source_vertices_m: F32 | F64) -> F64:
        """(P, 3) where the source's surface has those points."""
        picked = source_vertices_m[self.corners].astype(np.float64)
        return np.asarray((self.barycentric[:, :, None] * picked).sum(axis=1))

    def among(self, rows: I32) -> SurfacePairs:
        """Those of some of the target's vertices."""
        kept = np.isin(self.rows, rows)
        return SurfacePairs(self.rows[kept], self.corners[kept], self.barycentric[kept])


def common_joints(source: ParametricBody, target: ParametricBody) -> frozenset[str]:
    """The joints, by SMPL-X's names, that both have."""
    ours, theirs = ({canonical_name(n) for n in body.joint_names} for body in (source, target))
    return frozenset(name for name in ours & theirs if name is not None)


def body_parts(body: ParametricBody, known: frozenset[str]) -> NDArray[np.str_]:
    """(V,) the part of each vertex: the joint that it hangs on most, or the nearest known above.

    The trunk is one part, for models divide it at different heights; so is the head.
    """
    owners: list[str] = []
    for j, name in enumerate(body.joint_names):
        own, parent = canonical_name(name), int(body.parents[j])
        if own is None or own not in known:
            own = owners[parent] if parent >= 0 else "pelvis"
        owners.append(own)
    merged = np.array([_merged(name) for name in owners])
    return np.asarray(merged[body.weights.argmax(axis=1)])


def _merged(joint: str) -> str:
    if joint in _TRUNK:
        return "trunk"
    return "head" if joint in _HEAD else joint


def neighbours(part: str) -> frozenset[str]:
    """The part itself and those that it touches."""
    names = SMPL_FAMILY["SMPL-X"]
    pairs = [(_merged(n), _merged(names[p])) for n, p in zip(names, SMPLX_PARENTS, strict=True)]
    near = {a for a, b in pairs if b == part} | {b for a, b in pairs if a == part}
    return frozenset({part} | near)


def same_surface(source: ParametricBody, target: ParametricBody) -> bool:
    """Whether vertex n is the same spot on both, as on SMPL and SMPL+H."""
    return len(source.template_m) == len(target.template_m) and np.array_equal(
        source.faces, target.faces
    )


def spread_rows(body: ParametricBody, parts: NDArray[np.str_]) -> I32:
    """Some vertices of each part, as far from each other as can be; none of the eyeballs."""
    chosen = [
        rows[_farthest(body.template_m[rows], _points_of(str(part)))]
        for part in np.unique(parts)
        if part not in EYES
        for rows in [np.flatnonzero(parts == part)]
    ]
    return np.sort(np.concatenate(chosen)).astype(np.int32)


def _points_of(part: str) -> int:
    if part in ("trunk", "head"):
        return LARGE_POINTS
    return FINGER_POINTS if part[-1] in "123" else USUAL_POINTS


def _farthest(points: F32, count: int) -> NDArray[np.intp]:
    """Farthest point sampling, from the point farthest from the middle."""
    distance = np.full(len(points), np.inf)
    at = int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmax())
    found = []
    for _ in range(min(count, len(points))):
        found.append(at)
        distance = np.minimum(distance, np.linalg.norm(points - points[at], axis=1))
        at = int(distance.argmax())
    return np.array(found)


def vertex_pairs(rows: I32) -> SurfacePairs:
    """Of a surface with itself."""
    corners = np.repeat(rows[:, None], 3, axis=1)
    return SurfacePairs(rows, corners, np.tile([1.0, 0.0, 0.0], (len(rows), 1)))


class PartedSurface:
    """The source's surface, prepared for questions about its parts."""

    def __init__(self, vertices_m: F64, faces: I32, parts: NDArray[np.str_]) -> None:
        """Take (V, 3) vertices, (F, 3) faces and (V,) the part of each vertex."""
        self._vertices, self._faces, self._parts = vertices_m, faces, parts
        self._normals = vertex_directions(vertices_m, faces)

    def pairs(
        self, rows: I32, vertices_m: F64, faces: I32, parts: NDArray[np.str_]
    ) -> SurfacePairs:
        """Pair vertices of a target that lies nearly on this surface.

        Those that find nothing near that faces the same way stay without.

        Args:
            rows: (P,) which of the target's vertices.
            vertices_m: (V', 3) all of the target's.
            faces: (F', 3) its triangles.
            parts: (V',) the part of each.
        """
        corners, weights = np.zeros((len(rows), 3), np.int32), np.zeros((len(rows), 3))
        distance = np.full(len(rows), np.inf)
        for part in np.unique(parts[rows]):
            own = np.flatnonzero(parts[rows] == part)
            near = np.isin(self._parts, list(neighbours(str(part))))
            allowed = self._faces[near[self._faces].all(axis=1)]
            if not len(allowed):
                continue
            found = SurfaceTree(self._vertices, allowed).closest(vertices_m[rows[own]])
            corners[own], weights[own] = allowed[found.triangles], found.barycentric
            distance[own] = np.linalg.norm(found.points - vertices_m[rows[own]], axis=1)
        facing = (weights[:, :, None] * self._normals[corners]).sum(axis=1)
        alike = (facing * vertex_directions(vertices_m, faces)[rows]).sum(axis=1) > ALIKE
        kept = alike & (distance < FARTHEST_M)
        return SurfacePairs(rows[kept], corners[kept], weights[kept])
