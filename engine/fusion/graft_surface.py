"""What a foreign face takes over from the nearest place of the body: texture and skin weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.avatar.morphable_model import MorphableModel, Part
from engine.avatar.topology import Region, Topology
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.copy_paste import INFLUENCES
from engine.fusion.zipper import Bridge
from engine.types import F32, F64, I32

Mask = NDArray[np.bool_]


def texture_coordinates(
    body: BodyModel, followed: F64, skin: Mask, head: MorphableModel, placed: F64, faces: I32
) -> F32:
    """(F, 3, 2) of the foreign corners, from the same place of the body, or the nearest.

    Args:
        body: whose texture it is.
        followed: (V, 3) its vertices, where its skin means the same places of the foreign face.
        skin: (F_body,) its face.
        head: the foreign head.
        placed: (V_head, 3) its vertices on the body's template.
        faces: (F, 3) of its triangles.
    """
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
        found = SurfaceTree(followed, body.faces[on_body]).closest(placed[corners])
        uv = body.uvs[body.face_uvs[on_body][found.triangles]]
        uvs[rows] = np.einsum("nk,nkc->nc", found.barycentric, uv)[inverse.reshape(-1, 3)]
    return uvs


def grafted_topology(
    body: BodyModel, body_faces: I32, faces: I32, joined: Bridge, uv: F32, solid: F64
) -> Topology:
    """Regions, the seam (the middle of the bridge), and one drawn vertex per (vertex, uv)."""
    every = np.concatenate([faces, joined.faces])
    regions = np.full(int(joined.ring[-1]) + 1, Region.BODY, np.uint8)
    regions[int(faces[: len(body_faces)].max()) + 1 :] = Region.FACE
    regions[joined.ring] = Region.SEAM
    seam = np.stack([joined.ring, joined.following], axis=1)
    own = body.uvs[body.face_uvs[_rows_of(body.faces, body_faces)]]
    uvs = np.concatenate([own, uv, _bridge_uvs(body, solid, joined)]).reshape(-1, 2)
    u, v = np.rint(np.clip(uvs, 0, 1) * (2**20 - 1)).astype(np.int64).T
    keys = every.reshape(-1).astype(np.int64) << 40 | u << 20 | v
    _, index, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return Topology(
        every, regions, seam.astype(np.int32), every.reshape(-1)[index].astype(np.int32),
        uvs[index].astype(np.float32), inverse.reshape(-1, 3).astype(np.int32),
    )  # fmt: skip


def _bridge_uvs(body: BodyModel, solid: F64, joined: Bridge) -> F32:
    """(3 R, 3, 2): each triangle prolongs the texture of the body's triangle that it lies on.

    One triangle for all three corners: the body's charts may end here, and a triangle that reached
    from one into another would show everything between them.
    """
    middles = np.einsum("rs,rsc->rc", joined.weights, solid[joined.sources])
    corners = np.concatenate([solid, middles])[joined.faces]
    skin = _part(body, "head") | _part(body, "body")
    faces = body.faces[skin]
    found = SurfaceTree(body.template_m, faces).closest(corners.mean(axis=1)).triangles
    a, b, c = np.moveaxis(body.template_m[faces[found]].astype(np.float64), 1, 0)
    sides = np.stack([b - a, c - a], axis=2)
    places = np.linalg.pinv(sides) @ (corners - a[:, None]).transpose(0, 2, 1)
    uv_a, uv_b, uv_c = np.moveaxis(body.uvs[body.face_uvs[skin][found]].astype(np.float64), 1, 0)
    chart = np.stack([uv_b - uv_a, uv_c - uv_a], axis=2)
    return np.asarray(uv_a[:, None] + (chart @ places).transpose(0, 2, 1), np.float32)


def _rows_of(all_faces: I32, some: I32) -> NDArray[np.int64]:
    """Which rows of ``all_faces`` the rows of ``some`` are."""
    table = {tuple(face): row for row, face in enumerate(all_faces.tolist())}
    return np.array([table[tuple(face)] for face in some.tolist()])


def grafted_skin(
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


def _part(body: BodyModel, name: str) -> Mask:
    numbers = [i for i, part in enumerate(PART_NAMES) if part.startswith(name)]
    return np.isin(body.face_parts, numbers)
