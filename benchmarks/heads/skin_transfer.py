"""ICT heads in Anny's painted skin, so that networks trained on people read them.

Anny's head is warped onto ICT's mean, which says for every vertex of ICT where it is on Anny, and
so where in Anny's painted texture: the paint stays on brows and lips for every identity and every
expression. What Anny's head has not (ICT ends in a bust) is one
colour of skin.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.heads.ict_people import LANDMARK_VERTICES, LANDMARKS_478, skin
from engine.avatar.anny import PART_NAMES, BodyModel
from engine.avatar.morphable_model import MorphableModel, Part
from engine.avatar.paint.atlas import EYE_FRONTS, MOUTH_BAG, TONGUE, Island
from engine.avatar.topology import Topology
from engine.face.landmark_embedding import default_embedding
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.nonrigid import LandmarkPairs, warp
from engine.types import F32, Phenotypes

TORN_UV = 0.06
"""A triangle that spans more of the texture lies across one of its seams."""
FURTHEST_M = 0.012
"""From Anny's head: further away is bust, which Anny's head does not have."""
EAR_HEIGHT_M = 0.0
"""Above, and behind the face, a torn triangle is hair, below it is skin; ICT's own axes."""
CHIN = 199
PAINTED = (Part.FACE, Part.HEAD, Part.EYE_LEFT, Part.EYE_RIGHT, Part.EYE_SOCKETS,
           Part.MOUTH_CAVITY, Part.TONGUE_AND_GUMS, Part.TEETH)  # fmt: skip


def dress(ict: MorphableModel, anny: BodyModel) -> Topology:
    """How ICT's vertices are drawn with Anny's texture.

    The topology is for drawing alone: it has no regions and no seam.
    """
    paint = _Paint.of(ict, anny)
    faces = np.concatenate([ict.faces_of(part) for part in PAINTED])
    vertices, uvs, drawn, count = [], [], [], 0
    for part in PAINTED:
        used, local = np.unique(ict.faces_of(part), return_inverse=True)
        vertices.append(used)
        uvs.append(paint.uvs(part, ict.mean_m[used]))
        drawn.append(local.reshape(-1, 3) + count)
        count += len(used)
    places, triangles = np.concatenate(uvs), np.concatenate(drawn)
    rows = np.concatenate(vertices)
    torn = np.ptp(places[triangles], axis=1).max(axis=1) > TORN_UV
    corners = rows[triangles[torn]].reshape(-1)
    triangles[torn] = count + np.arange(len(corners)).reshape(-1, 3)
    middles = np.repeat(ict.mean_m[corners].reshape(-1, 3, 3).mean(axis=1), 3, axis=0)
    return Topology(
        faces=np.ascontiguousarray(faces, np.int32),
        regions=np.zeros(len(ict.mean_m), np.uint8),
        seam_edges=np.zeros((0, 2), np.int32),
        render_vertices=np.concatenate([rows, corners]).astype(np.int32),
        render_uvs=np.concatenate([places, paint.mended(middles)]).astype(np.float32),
        render_faces=triangles.astype(np.int32),
    )


@dataclass(frozen=True, slots=True)
class _Eyeball:
    tree: SurfaceTree
    """Around the origin, with radius 1."""
    corner_uvs: F32
    """(F, 3, 2)."""

    @staticmethod
    def of(anny: BodyModel, side: str) -> _Eyeball:
        parts = [PART_NAMES.index(f"eye_{half}.{side}") for half in ("front", "back")]
        chosen = np.isin(anny.face_parts, parts)
        faces, rest = anny.faces[chosen], anny.shape(Phenotypes()).vertices_m
        directions = _directions(rest, rest[np.unique(faces)])
        return _Eyeball(SurfaceTree(directions, faces), anny.uvs[anny.face_uvs[chosen]])

    def uvs(self, points: F32) -> F32:
        return _interpolated(self.tree, self.corner_uvs, _directions(points, points))


def _directions(points: F32, eyeball: F32) -> F32:
    """Unit rays to points (N, 3) from the centre of an eyeball, whose back half is a sphere."""
    low, high = eyeball.min(axis=0), eyeball.max(axis=0)
    radius = (high[1] - low[1]) / 2
    centre = np.array([(low[0] + high[0]) / 2, low[1] + radius, low[2] + radius])
    rays = points - centre
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True), np.float32)


@dataclass(frozen=True, slots=True)
class _Paint:
    """Anny's head in ICT's shape, and single colours for what Anny's head has not."""

    tree: SurfaceTree
    corner_uvs: F32
    """(F, 3, 2)."""
    eyes: dict[Part, _Eyeball]
    chips: dict[str, F32]
    """(2,) places in the texture, by what has their colour."""

    @staticmethod
    def of(ict: MorphableModel, anny: BodyModel) -> _Paint:
        rest = anny.shape(Phenotypes()).vertices_m
        is_head = anny.face_parts == PART_NAMES.index("head")
        rows, local = np.unique(anny.faces[is_head], return_inverse=True)
        faces = local.reshape(-1, 3).astype(np.int32)
        embedding = default_embedding()
        pairs = LandmarkPairs(
            embedding.landmarks_m(rest)[list(LANDMARKS_478)].astype(np.float64),
            ict.mean_m[list(LANDMARK_VERTICES)].astype(np.float64),
        )
        warped = warp(SurfaceTree(rest[rows], faces), SurfaceTree(ict.mean_m, skin(ict)), pairs)
        uv_of = np.zeros((len(rest), 2), np.float32)
        uv_of[anny.faces] = anny.uvs[anny.face_uvs]
        top = rest[:, 1].argmax()
        chips = {
            "skin": uv_of[embedding.triangles[CHIN, 0]],
            "hair": uv_of[top],
            "gums": _middle(TONGUE),
            "mouth": _middle(MOUTH_BAG),
            "teeth": np.array([EYE_FRONTS[0].u0 + 0.03, EYE_FRONTS[0].v0 + 0.012], np.float32),
        }
        eyes = {Part.EYE_LEFT: _Eyeball.of(anny, "L"), Part.EYE_RIGHT: _Eyeball.of(anny, "R")}
        return _Paint(SurfaceTree(warped, faces), anny.uvs[anny.face_uvs[is_head]], eyes, chips)

    def uvs(self, part: Part, points: F32) -> F32:
        """(N, 2) where in the texture points (N, 3) of a part of ICT's mean are."""
        if part in (Part.FACE, Part.HEAD):
            return self._skin(points)
        if part in self.eyes:
            return self.eyes[part].uvs(points)
        return np.tile(self.chips[CHIP_OF[part]], (len(points), 1))

    def _skin(self, points: F32) -> F32:
        uvs = _interpolated(self.tree, self.corner_uvs, points)
        found = self.tree.closest(points)
        uvs[np.linalg.norm(found.points - points, axis=1) > FURTHEST_M] = self.chips["skin"]
        return uvs

    def mended(self, points: F32) -> F32:
        """(N, 2) the one colour of triangles across seams of the texture, by their middles."""
        uvs = np.tile(self.chips["skin"], (len(points), 1))
        uvs[points[:, 1] > EAR_HEIGHT_M] = self.chips["hair"]
        return uvs


CHIP_OF = {
    Part.EYE_SOCKETS: "gums",
    Part.MOUTH_CAVITY: "mouth",
    Part.TONGUE_AND_GUMS: "gums",
    Part.TEETH: "teeth",
}


def _interpolated(tree: SurfaceTree, corner_values: F32, points: F32) -> F32:
    """(N, C) values of triangle corners (F, 3, C) at the closest points of a surface."""
    found = tree.closest(points)
    corners = corner_values[found.triangles]
    return np.asarray((found.barycentric[:, :, None] * corners).sum(axis=1), np.float32)


def _middle(island: Island) -> F32:
    return np.array([(island.u0 + island.u1) / 2, (island.v0 + island.v1) / 2], np.float32)
