"""A face of another topology on the body: cut, paste and stitch once, then only vertices move.

The foreign head is laid onto the body's template (eyes, then ICP). Of the body the face
goes; of the foreign head what lies over that hole stays, less a margin. Eye sockets and the mouth's
cavity hang on lids and lips, so they are the foreign head's; where it has none, its lids and lips
are bridged to the body's. The body keeps its eyeballs: they turn with its eye joints and carry
painted irises; they move behind the foreign lids. Gaps are bridged (:mod:`engine.fusion.zipper`).

Expressions of the foreign part are the foreign model's own, but that lids meet on everybody. Skin
weights come from the nearest place of the body, texture coordinates from the place that landmarks
say is the same, so that painted and gathered textures apply.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import PART_NAMES, BodyModel, RestShape
from engine.avatar.morphable_model import MorphableModel, Part
from engine.avatar.topology import FusedAvatar, Topology
from engine.errors import ModelFileError
from engine.face.head_pose import Similarity
from engine.face.landmark_embedding import default_embedding
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.estimates import FaceEstimate
from engine.fusion.face_region import face_triangles
from engine.fusion.graft_morphs import FaceMorphs, bridged, lid_reach, straighten
from engine.fusion.graft_surface import grafted_skin, grafted_topology, texture_coordinates
from engine.fusion.loops import closed_loops
from engine.fusion.matched_face import MatchedFace, SurfaceMatch
from engine.fusion.nonrigid import LandmarkPairs, carry
from engine.fusion.outline import cut_over
from engine.fusion.registration import apply, inverse, register
from engine.fusion.stitching import boundary_edges
from engine.fusion.zipper import Bridge, bridges
from engine.types import F32, F64, I32

KEPT = 0.8
"""Share of the closest pairs that register the faces: a foreign one reaches beyond ours."""
EYES = (("L", Part.EYE_LEFT), ("R", Part.EYE_RIGHT))
EYES_APART_M = (0.03, 0.15)
"""From the middle of one eyeball to the other's."""
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Graft:
    """What does not depend on who it is. B body, N foreign and R bridge vertices, in this order."""

    body: BodyModel
    head: MorphableModel
    topology: Topology
    kept_body: I32
    """(B,) of the body's vertices."""
    kept_head: I32
    """(N,) of the head's vertices."""
    rim: I32
    """The foreign face's outline among those vertices, in order."""
    bridge: Bridge
    matched: MatchedFace
    """The body's face and the foreign one, place by place."""
    skin_joints: I32
    skin_weights: F32
    similarity: Similarity
    """The foreign mean head on the body's template."""
    morphs: FaceMorphs

    def estimate(self, alpha: F32, confidence: float = 1.0) -> FaceEstimate:
        """The foreign face resampled at the body's vertices, in the foreign frame.

        Vertices without a partner are where the registration would put the body's template.
        """
        shape = self.head.shape(alpha)
        back = inverse(self.similarity)
        vertices = apply(back, self.body.template_m).astype(np.float32)
        vertices[self.matched.vertices] = self.matched.partners.on(shape)
        eyes = np.stack([_middle(self.head, shape, part) for _, part in EYES])
        return FaceEstimate(vertices, eyes, confidence, alpha)

    def alpha_of(self, vertices_m: F32) -> F32:
        """(K,) the foreign coefficients whose face comes closest to that of a body (V, 3)."""
        return self.matched.alpha_of(vertices_m)

    def avatar(self, alpha: F32, rest: RestShape) -> FusedAvatar:
        """The fused avatar of a foreign face on a body, at rest.

        Args:
            alpha: the face's identity coefficients.
            rest: the body, at best one whose own face resembles the foreign one.
        """
        own = self.head.shape(alpha)
        shape = own.astype(np.float64)
        placed = self.matched.placed(shape, rest.vertices_m)
        body, joints = self._with_eyes(rest, shape, placed)
        parts = [body[self.kept_body], apply(placed, shape[self.kept_head])]
        solid = np.concatenate(parts)
        straighten(solid, self.rim)
        vertices = np.concatenate([solid, bridged(self.bridge, solid)]).astype(np.float32)
        return FusedAvatar(
            self.topology, vertices, joints, self.body.joint_names, self.body.parents,
            self.skin_joints, self.skin_weights, self.morphs.starts, self.morphs.actions,
            self.morphs.offsets_m(placed, lid_reach(self.head, own)), None, 0,
        )  # fmt: skip

    def _with_eyes(self, rest: RestShape, shape: F64, placed: Similarity) -> tuple[F64, F32]:
        """The body's eyeballs, moved and scaled into the foreign sockets."""
        vertices, joints = rest.vertices_m.astype(np.float64), rest.joints_m.copy()
        for side, part in EYES:
            joint = self.body.joint_names.index(f"eye.{side}")
            own = _eyeball(self.body, side)
            foreign = apply(placed, shape[np.unique(self.head.faces_of(part))])
            (centre, radius), (target, size) = _ball(vertices[own]), _ball(foreign)
            scale = size / radius
            joints[joint] = target + scale * (joints[joint] - centre)
            vertices[own] = target + scale * (vertices[own] - centre)
        return vertices, joints


def build_graft(body: BodyModel, head: MorphableModel) -> Graft:
    """Cut and stitch the head's mean face onto the body's template.

    Raises:
        ModelFileError: the head has no eyeballs or is none in metres, shows nothing where the
            body's face is, or its openings there are not the body's.
    """
    _check_eyes(head)
    skin = face_triangles(body)
    laid = _laid(body, skin, head)
    placed = apply(laid, head.mean_m)
    body_faces = body.faces[~skin & ~_behind(body, head)]
    hole = closed_loops(boundary_edges(body.faces[skin]))[0]
    head_faces = cut_over(body, skin, hole, head, placed)
    kept_body, kept_head = np.unique(body_faces), np.unique(head_faces)
    count = len(kept_body)
    solid: F64 = np.concatenate([body.template_m[kept_body], placed[kept_head]], dtype=np.float64)
    new_body = _renumbered(kept_body, len(body.template_m), 0)
    new_head = _renumbered(kept_head, len(head.mean_m), count)
    faces = np.concatenate([new_body[body_faces], new_head[head_faces]])
    rims = closed_loops(boundary_edges(new_head[head_faces]))
    gaps = _gaps(rims, closed_loops(boundary_edges(new_body[body_faces])), solid, head.name)
    straighten(solid, rims[0])
    joined = bridges(faces, gaps, solid)
    followed = _followed(body, head, placed)
    uv = texture_coordinates(body, followed, skin, head, placed, head_faces)
    topology = grafted_topology(body, body_faces, faces, joined, uv, solid)
    matched = _matched(body, followed, skin, head, placed)
    joints, weights = grafted_skin(body, kept_body, placed[kept_head], joined)
    morphs = FaceMorphs.of(body, head, (kept_body, kept_head), rims[0], joined, laid)
    return Graft(
        body, head, topology, kept_body.astype(np.int32), kept_head.astype(np.int32), rims[0],
        joined, matched, joints, weights, laid, morphs,
    )  # fmt: skip


def _check_eyes(head: MorphableModel) -> None:
    eyes = [head.mean_m[np.unique(head.faces_of(part))] for _, part in EYES]
    if not all(map(len, eyes)):
        raise ModelFileError(
            f"{head.name} has no eyeballs: a head that can be joined to the body has its eyes "
            "apart from its skin, as ICT-FaceKit and FLAME do"
        )
    apart = float(np.linalg.norm(eyes[0].mean(axis=0) - eyes[1].mean(axis=0)))
    if not EYES_APART_M[0] < apart < EYES_APART_M[1]:
        raise ModelFileError(
            f"the eyes of {head.name} are {apart:.3g} m apart, expected {EYES_APART_M[0]} to "
            f"{EYES_APART_M[1]} m; convert it again"
        )


def _behind(body: BodyModel, head: MorphableModel) -> Mask:
    """(F,) what of the body goes because the foreign head brings its own."""
    own = {"eye_cavity": Part.EYE_SOCKETS, "mouth_cavity": Part.MOUTH_CAVITY}
    brought = [name for name, part in own.items() if (head.face_parts == part).any()]
    brought += ["tongue"] * ("mouth_cavity" in brought)
    gone = [i for i, name in enumerate(PART_NAMES) if name.startswith((*brought,))]
    return (
        np.asarray(np.isin(body.face_parts, gone)) if brought else np.zeros(len(body.faces), bool)
    )


def _gaps(rims: list[I32], edges: list[I32], vertices: F64, name: str) -> list[tuple[I32, I32]]:
    """Each open boundary of the face with the body's that is nearest to it.

    Raises:
        ModelFileError: they do not pair off.
    """
    middles = np.array([vertices[edge].mean(axis=0) for edge in edges])
    away = [np.linalg.norm(middles - vertices[rim].mean(axis=0), axis=1) for rim in rims]
    partners = [int(np.argmin(distances)) for distances in away]
    # The outer boundary goes around the mouth, and may have its middle there.
    partners[0] = 0
    if sorted(partners) != list(range(len(edges))):
        raise ModelFileError(
            f"the face of {name} has {len(rims)} open boundaries where the body has {len(edges)}; "
            "a face that can be stitched has an outer one, and one more for each eye and for the "
            "mouth where it has no sockets or cavity of its own"
        )
    return [(rim, edges[partner]) for rim, partner in zip(rims, partners, strict=True)]


def _laid(body: BodyModel, skin: Mask, head: MorphableModel) -> Similarity:
    """Eye on eye, then ICP between the faces.

    Both face +Z, so nothing needs turning at first; the principal axes of two heads that are cut
    at different heights of the neck may agree best upside down.
    """
    eyes = body.template_joints_m[[body.joint_names.index(f"eye.{side}") for side, _ in EYES]]
    own = np.stack([_middle(head, head.mean_m, part) for _, part in EYES])
    scale = float(np.linalg.norm(eyes[0] - eyes[1]) / np.linalg.norm(own[0] - own[1]))
    start = Similarity(scale, np.eye(3), (eyes.mean(axis=0) - scale * own.mean(axis=0)))
    face, foreign = body.faces[skin], head.faces_of(Part.FACE)
    source, target = _tree(head.mean_m, foreign), _tree(body.template_m, face)
    return register(source, target, scaled=True, start=start, kept=KEPT).similarity


def _tree(vertices: F32 | F64, faces: I32) -> SurfaceTree:
    used = np.unique(faces)
    return SurfaceTree(vertices[used], _renumbered(used, len(vertices), 0)[faces])


def _renumbered(kept: NDArray[np.integer], count: int, first: int) -> I32:
    """(count,) each kept vertex's new number from ``first`` on, -1 for the others."""
    numbers = np.full(count, -1, np.int32)
    numbers[kept] = first + np.arange(len(kept))
    return numbers


def _followed(body: BodyModel, head: MorphableModel, placed: F64) -> F64:
    """(V, 3) the template with its head warped onto the foreign one: lips on lips, brows on brows.

    Without landmarks nearest places must do.
    """
    followed = body.template_m.astype(np.float64)
    if head.landmarks is None:
        return followed
    known = head.landmarks.placed
    pairs = LandmarkPairs(
        default_embedding().landmarks_m(body.template_m)[known].astype(np.float64),
        head.landmarks.on(placed.astype(np.float32))[known].astype(np.float64),
    )
    # All of the head: sockets and mouth hang on lids and lips.
    followed[body.head_vertices] = carry(followed[body.head_vertices], pairs)
    return followed


def _matched(
    body: BodyModel, followed: F64, skin: Mask, head: MorphableModel, placed: F64
) -> MatchedFace:
    """For the face's vertices of the body, the place of the foreign face that they mean."""
    vertices = np.unique(body.faces[skin]).astype(np.int32)
    foreign = head.faces_of(Part.FACE, Part.HEAD)
    found = SurfaceTree(placed, foreign).closest(followed[vertices])
    partners = SurfaceMatch(foreign[found.triangles], found.barycentric)
    return MatchedFace.of(head, vertices, partners)


def _eyeball(body: BodyModel, side: str) -> NDArray[np.integer]:
    numbers = [PART_NAMES.index(f"eye_{half}.{side}") for half in ("back", "front")]
    return np.unique(body.faces[np.isin(body.face_parts, numbers)])


def _ball(eyeball: F64) -> tuple[F64, float]:
    """Centre and radius of an eyeball (N, 3) that faces +Z, whatever its cornea's bulge."""
    low, high = eyeball.min(axis=0), eyeball.max(axis=0)
    radius = float((high - low)[:2].mean()) / 2
    x, y, _ = (low + high) / 2
    return np.array([x, y, low[2] + radius]), radius


def _middle(head: MorphableModel, shape: F32, part: Part) -> F32:
    return np.asarray(shape[np.unique(head.faces_of(part))].mean(axis=0), np.float32)
