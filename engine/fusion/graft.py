"""A face of another topology on the body: cut, paste and stitch once, then only vertices move.

The foreign head is laid onto the body's template (eyes, then ICP). Of the body the face
goes, with the eye sockets, the mouth's cavity and the tongue behind it; of the foreign head what
lies over that hole stays, less a margin, with its own sockets and cavity, because these hang on its
lids and lips. The body keeps its eyeballs: they turn with its eye joints and carry painted irises;
they move into the foreign sockets. The gap is bridged (:mod:`engine.fusion.zipper`).

Expressions of the foreign part are the foreign model's own; skin weights and texture coordinates
come from the nearest place of the body, so that painted and gathered textures apply.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import PART_NAMES, BodyModel, RestShape
from engine.avatar.morphable_model import MorphableModel, Part
from engine.avatar.topology import FusedAvatar, Region, Topology
from engine.errors import ModelFileError
from engine.face.head_pose import Similarity, procrustes
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.copy_paste import INFLUENCES, SMALLEST_OFFSET_M
from engine.fusion.estimates import FaceEstimate
from engine.fusion.face_region import face_triangles
from engine.fusion.loops import closed_loops
from engine.fusion.paste_region import INNER_PARTS
from engine.fusion.registration import apply, register
from engine.fusion.stitching import boundary_edges
from engine.fusion.zipper import Bridge, bridge
from engine.types import ARKIT_NAMES, F32, F64, I32

MARGIN_M = 0.007
"""How far inside the hole's edge the foreign face ends: room for the bridge."""
KEPT = 0.8
"""Share of the closest pairs that register the faces: a foreign one reaches beyond ours."""
EYES = (("L", Part.EYE_LEFT), ("R", Part.EYE_RIGHT))
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
    bridge: Bridge
    matches: I32
    """(M,) the body's vertices that have a partner on the foreign face,"""
    partners: SurfaceMatch
    """and where that partner is."""
    skin_joints: I32
    skin_weights: F32
    similarity: Similarity
    """The foreign mean head on the body's template."""

    def estimate(self, alpha: F32) -> FaceEstimate:
        """The foreign face resampled at the body's vertices, in the foreign frame.

        Vertices without a partner are where the registration would put the body's template.
        """
        shape = self.head.shape(alpha)
        back = _inverse(self.similarity)
        vertices = apply(back, self.body.template_m).astype(np.float32)
        vertices[self.matches] = self.partners.on(shape)
        return FaceEstimate(vertices, np.stack([_middle(self.head, shape, p) for _, p in EYES]))

    def avatar(self, alpha: F32, rest: RestShape) -> FusedAvatar:
        """The fused avatar of a foreign face on a body, at rest.

        Args:
            alpha: the face's identity coefficients.
            rest: the body, at best one whose own face resembles the foreign one.
        """
        shape = self.head.shape(alpha).astype(np.float64)
        wanted = rest.vertices_m[self.matches].astype(np.float64)
        here = self.partners.on(shape)
        placed = procrustes(here, wanted, np.ones(len(wanted)))
        body, joints = self._with_eyes(rest, shape, placed)
        parts = [body[self.kept_body], apply(placed, shape[self.kept_head])]
        solid = np.concatenate(parts)
        vertices = np.concatenate([solid, self._bridged(solid)]).astype(np.float32)
        starts, actions, offsets = self._morphs(placed)
        return FusedAvatar(
            self.topology, vertices, joints, self.body.joint_names, self.body.parents,
            self.skin_joints, self.skin_weights, starts, actions, offsets, None, 0,
        )  # fmt: skip

    def _bridged(self, values: F64) -> F64:
        """(R, C) of the bridge from (B + N, C) of all others."""
        b = self.bridge
        return np.asarray(np.einsum("rs,rsc->rc", b.weights, values[b.sources]))

    def _with_eyes(self, rest: RestShape, shape: F64, placed: Similarity) -> tuple[F64, F32]:
        """The body's eyeballs, moved and scaled into the foreign sockets."""
        vertices, joints = rest.vertices_m.astype(np.float64), rest.joints_m.copy()
        for side, part in EYES:
            joint = self.body.joint_names.index(f"eye.{side}")
            own = _eyeball(self.body, side)
            foreign = apply(placed, shape[np.unique(self.head.faces_of(part))])
            centre, target = vertices[own].mean(axis=0), foreign.mean(axis=0)
            scale = np.ptp(foreign, axis=0).max() / np.ptp(vertices[own], axis=0).max()
            joints[joint] = target + scale * (joints[joint] - centre)
            vertices[own] = target + scale * (vertices[own] - centre)
        return vertices, joints

    def _morphs(self, placed: Similarity) -> tuple[I32, I32, F32]:
        """The body's own sparse offsets, the foreign face's, and the bridge's by its stencils."""
        count = len(self.kept_body)
        dense = np.zeros((count + len(self.kept_head), len(ARKIT_NAMES), 3), np.float32)
        own = _dense_morphs(self.body)[self.kept_body]
        dense[:count] = own
        turn = (placed.scale * placed.rotation).astype(np.float32)
        for action in np.flatnonzero(self.head.actions):
            dense[count:, action] = self.head.expression.mode(action)[self.kept_head] @ turn.T
        ring = self._bridged(dense.reshape(len(dense), -1).astype(np.float64))
        dense = np.concatenate([dense, ring.reshape(-1, len(ARKIT_NAMES), 3).astype(np.float32)])
        moved = np.linalg.norm(dense, axis=2) > SMALLEST_OFFSET_M
        starts = np.concatenate([[0], np.cumsum(moved.sum(axis=1))])
        return starts.astype(np.int32), np.nonzero(moved)[1].astype(np.int32), dense[moved]


@dataclass(frozen=True, slots=True)
class SurfaceMatch:
    """Fixed places on the foreign mesh."""

    corners: I32
    """(M, 3)."""
    barycentric: F64
    """(M, 3)."""

    def on(self, vertices: F32 | F64) -> F64:
        """(M, 3) where they are on these vertices."""
        return np.asarray(np.einsum("mk,mkc->mc", self.barycentric, vertices[self.corners]))


def build_graft(body: BodyModel, head: MorphableModel) -> Graft:
    """Cut and stitch the head's mean face onto the body's template.

    Raises:
        ModelFileError: what the head shows where the body's face is has no single outline.
    """
    skin = face_triangles(body)
    laid = _laid(body, skin, head)
    placed = apply(laid, head.mean_m)
    inner = [PART_NAMES.index(name) for name in INNER_PARTS if not name.startswith("eye_back")
             and not name.startswith("eye_front")]  # fmt: skip
    body_faces = body.faces[~skin & ~np.isin(body.face_parts, inner)]
    hole = closed_loops(boundary_edges(body.faces[skin]))[0]
    head_faces = _cut(body, skin, hole, head, placed)
    kept_body, kept_head = np.unique(body_faces), np.unique(head_faces)
    count = len(kept_body)
    solid = np.concatenate([body.template_m[kept_body], placed[kept_head]])
    new_body = _renumbered(kept_body, len(body.template_m), 0)
    new_head = _renumbered(kept_head, len(head.mean_m), count)
    faces = np.concatenate([new_body[body_faces], new_head[head_faces]])
    rims = closed_loops(boundary_edges(new_head[head_faces]))
    edges = closed_loops(boundary_edges(new_body[body_faces]))
    if len(rims) != 1 or len(edges) != 1:
        raise ModelFileError(
            f"the face of {head.name} has {len(rims)} open boundaries and the body {len(edges)} "
            "where it is cut; a face that can be stitched has one, its sockets and mouth closed"
        )
    joined = bridge(faces, rims[0], edges[0], solid)
    uv = _texture_coordinates(body, skin, head, placed, head_faces)
    topology = _topology(body, body_faces, faces, joined, uv, count, kept_body)
    matches, partners = _matches(body, skin, head, placed)
    joints, weights = _skin(body, kept_body, placed[kept_head], joined)
    return Graft(
        body, head, topology, kept_body.astype(np.int32), kept_head.astype(np.int32), joined,
        matches, partners, joints, weights, laid,
    )  # fmt: skip


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


def _cut(body: BodyModel, skin: Mask, hole: I32, head: MorphableModel, placed: F64) -> I32:
    """(F, 3) the foreign skin over the hole, its margin left out, and what hangs on it."""
    outer = SurfaceTree(body.template_m, body.faces[~skin])
    inside = SurfaceTree(body.template_m, body.faces[skin])
    near = inside.closest(placed)
    over = np.linalg.norm(placed - near.points, axis=1)
    beside = np.linalg.norm(placed - outer.closest(placed).points, axis=1)
    edge = _distance_to_loop(near.points, body.template_m[hole].astype(np.float64))
    good = (edge > MARGIN_M) & (over <= beside + MARGIN_M)
    is_skin = np.isin(head.face_parts, (Part.FACE, Part.HEAD))
    mask = is_skin & good[head.faces].all(axis=1)
    # Lips and lids that overlap may look as if they lay elsewhere: only the outside is outside.
    mask = _largest_piece(head.faces, mask)
    mask = is_skin & ~_largest_piece(head.faces, is_skin & ~mask)
    mask = _smooth_outline(head.faces, mask, is_skin)
    inner = np.isin(head.face_parts, (Part.EYE_SOCKETS, Part.MOUTH_CAVITY))
    return np.asarray(head.faces[mask | inner])


def _distance_to_loop(points: F64, loop: F64) -> F64:
    following = np.roll(loop, -1, axis=0) - loop
    away = points[:, None] - loop
    share = np.clip((away * following).sum(axis=2) / (following**2).sum(axis=1), 0, 1)
    return np.asarray(np.linalg.norm(away - share[..., None] * following, axis=2).min(axis=1))


def _largest_piece(faces: I32, mask: Mask) -> Mask:
    """The largest part of a mask that hangs together by vertices."""
    chosen = np.flatnonzero(mask)
    label = np.arange(int(faces.max()) + 1)
    while True:
        lowest = label[faces[chosen]].min(axis=1)
        before = label.copy()
        np.minimum.at(label, faces[chosen], lowest[:, None])
        label = label[label]
        if (label == before).all():
            break
    pieces, sizes = np.unique(label[faces[chosen, 0]], return_counts=True)
    result = np.zeros_like(mask)
    result[chosen[label[faces[chosen, 0]] == pieces[np.argmax(sizes)]]] = True
    return result


def _smooth_outline(faces: I32, mask: Mask, allowed: Mask) -> Mask:
    """Fill notches and drop corners of the outline, until neither is left."""
    mask = mask.copy()
    directed = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1).astype(np.int64)
    keys = (directed[:, 0] << 32 | directed[:, 1]).reshape(-1, 3)
    _, number = np.unique(keys, return_inverse=True)
    number = number.reshape(-1, 3)
    for _ in range(20):
        sides = np.bincount(number[mask].reshape(-1), minlength=int(number.max()) + 1)
        neighbours = (sides[number] - mask[:, None]).sum(axis=1)
        fill, drop = ~mask & allowed & (neighbours >= 2), mask & allowed & (neighbours <= 1)
        if not fill.any() and not drop.any():
            break
        mask = (mask | fill) & ~drop
    return mask


def _matches(
    body: BodyModel, skin: Mask, head: MorphableModel, placed: F64
) -> tuple[I32, SurfaceMatch]:
    """For the face's vertices of the body, the place of the foreign face that faces them."""
    vertices = np.unique(body.faces[skin])
    foreign = head.faces_of(Part.FACE, Part.HEAD)
    tree = SurfaceTree(placed, foreign)
    found = tree.closest(body.template_m[vertices])
    return vertices.astype(np.int32), SurfaceMatch(foreign[found.triangles], found.barycentric)


def _texture_coordinates(
    body: BodyModel, skin: Mask, head: MorphableModel, placed: F64, faces: I32
) -> F32:
    """(F, 3, 2) of the foreign corners, from the nearest place of the same kind on the body."""
    kinds = {
        "skin": (skin, np.isin(head.face_parts, (Part.FACE, Part.HEAD))),
        "eye_cavity": (_part(body, "eye_cavity"), head.face_parts == Part.EYE_SOCKETS),
        "mouth_cavity": (_part(body, "mouth_cavity"), head.face_parts == Part.MOUTH_CAVITY),
    }
    kept = _rows_of(head.faces, faces)
    uvs = np.zeros((len(faces), 3, 2), np.float32)
    for on_body, of_head in kinds.values():
        rows = np.flatnonzero(of_head[kept])
        if not len(rows):
            continue
        corners, inverse = np.unique(faces[rows], return_inverse=True)
        found = SurfaceTree(body.template_m, body.faces[on_body]).closest(placed[corners])
        uv = body.uvs[body.face_uvs[on_body][found.triangles]]
        uvs[rows] = np.einsum("nk,nkc->nc", found.barycentric, uv)[inverse.reshape(-1, 3)]
    return uvs


def _part(body: BodyModel, name: str) -> Mask:
    numbers = [i for i, part in enumerate(PART_NAMES) if part.startswith(name)]
    return np.isin(body.face_parts, numbers)


def _rows_of(all_faces: I32, some: I32) -> NDArray[np.int64]:
    """Which rows of ``all_faces`` the rows of ``some`` are."""
    table = {tuple(face): row for row, face in enumerate(all_faces.tolist())}
    return np.array([table[tuple(face)] for face in some.tolist()])


def _topology(
    body: BodyModel, body_faces: I32, faces: I32, joined: Bridge, uv: F32, count: int,
    kept_body: NDArray[np.integer],
) -> Topology:  # fmt: skip
    """Regions, the seam (the middle of the bridge), and one drawn vertex per (vertex, uv)."""
    every = np.concatenate([faces, joined.faces])
    regions = np.full(int(joined.ring[-1]) + 1, Region.BODY, np.uint8)
    regions[count:] = Region.FACE
    regions[joined.ring] = Region.SEAM
    seam = np.stack([joined.ring, np.roll(joined.ring, -1)], axis=1)
    own = body.uvs[body.face_uvs[_rows_of(body.faces, body_faces)]]
    known = np.concatenate([own, uv])
    across = _bridge_uvs(faces, known, joined)
    uvs = np.concatenate([known, across]).reshape(-1, 2)
    u, v = np.rint(np.clip(uvs, 0, 1) * (2**20 - 1)).astype(np.int64).T
    keys = every.reshape(-1).astype(np.int64) << 40 | u << 20 | v
    _, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return Topology(
        every, regions, seam.astype(np.int32), every.reshape(-1)[index].astype(np.int32),
        uvs[index].astype(np.float32), inverse.reshape(-1, 3).astype(np.int32),
    )  # fmt: skip


def _bridge_uvs(faces: I32, uvs: F32, joined: Bridge) -> F32:
    """(3 R, 3, 2): the sides' own coordinates, and their middle at the bridge's vertices."""
    first = int(joined.ring[0])
    at = np.zeros((int(joined.ring[-1]) + 1, 2), np.float32)
    at[faces.reshape(-1)] = uvs.reshape(-1, 2)
    a, b = joined.sources[:, 0], joined.sources[:, 1]
    at[first:] = (at[a] + at[b]) / 2
    return np.asarray(at[joined.faces])


def _skin(
    body: BodyModel, kept_body: NDArray[np.integer], placed: F64, joined: Bridge
) -> tuple[I32, F32]:
    """The body's own weights; those of the nearest place for the face; means on the bridge."""
    dense = np.zeros((len(body.template_m), len(body.parents)))
    np.add.at(dense, (np.arange(len(dense))[:, None], body.skin_joints), body.skin_weights)
    skin = _part(body, "head") | _part(body, "body")
    found = SurfaceTree(body.template_m, body.faces[skin]).closest(placed)
    nearest = found.interpolate(body.faces[skin], dense)
    every = np.concatenate([dense[kept_body], nearest])
    ring = (every[joined.sources[:, 0]] + every[joined.sources[:, 1]]) / 2
    every = np.concatenate([every, ring])
    joints = np.argsort(-every, axis=1, kind="stable")[:, :INFLUENCES]
    weights = np.take_along_axis(every, joints, axis=1)
    joints = np.where(weights > 0, joints, 0)
    return joints.astype(np.int32), (weights / weights.sum(axis=1, keepdims=True)).astype(
        np.float32
    )


def _dense_morphs(body: BodyModel) -> F32:
    counts = np.diff(body.morph_starts)
    dense = np.zeros((len(counts), len(ARKIT_NAMES), 3), np.float32)
    dense[np.repeat(np.arange(len(counts)), counts), body.morph_actions] = body.morph_offsets_m
    return dense


def _eyeball(body: BodyModel, side: str) -> NDArray[np.integer]:
    numbers = [PART_NAMES.index(f"eye_{half}.{side}") for half in ("back", "front")]
    return np.unique(body.faces[np.isin(body.face_parts, numbers)])


def _middle(head: MorphableModel, shape: F32, part: Part) -> F32:
    return np.asarray(shape[np.unique(head.faces_of(part))].mean(axis=0), np.float32)


def _inverse(similarity: Similarity) -> Similarity:
    rotation = similarity.rotation.T
    scale = 1.0 / similarity.scale
    return Similarity(scale, rotation, -scale * rotation @ similarity.translation)
