"""Which part of a foreign face goes over the hole that the body's own face leaves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import BodyModel
from engine.avatar.morphable_model import MorphableModel, Part
from engine.errors import ModelFileError
from engine.fusion.closest_point import SurfaceTree
from engine.types import F64, I32

MARGIN_M = 0.007
"""How far inside the hole's edge the foreign face ends: room for the bridge."""
LEAST_MARGIN_M = 0.005
"""What smoothing its outline leaves of that."""
SMOOTHING_ROUNDS = 20
Mask = NDArray[np.bool_]


def cut_over(body: BodyModel, skin: Mask, hole: I32, head: MorphableModel, placed: F64) -> I32:
    """(F, 3) the foreign skin over the hole, its margin left out, and what hangs on it.

    Args:
        body: the template that the head lies on.
        skin: (F_body,) its face.
        hole: (H,) the outer boundary of that, in order.
        head: the foreign head.
        placed: (V, 3) its vertices in the template's place.

    Raises:
        ModelFileError: there is none.
    """
    outer = SurfaceTree(body.template_m, body.faces[~skin])
    inside = SurfaceTree(body.template_m, body.faces[skin])
    near = inside.closest(placed)
    over = np.linalg.norm(placed - near.points, axis=1)
    beside = np.linalg.norm(placed - outer.closest(placed).points, axis=1)
    edge = _distance_to_loop(near.points, body.template_m[hole].astype(np.float64))
    good = (edge > MARGIN_M) & (over <= beside + MARGIN_M)
    is_skin = np.isin(head.face_parts, (Part.FACE, Part.HEAD))
    mask = is_skin & good[head.faces].all(axis=1)
    if not mask.any():
        raise ModelFileError(
            f"{head.name} has no skin where the body has its face; its triangles' parts or its "
            "axes are not what the conversion promises: convert it again"
        )
    # Lips and lids that overlap may look as if they lay elsewhere: only the outside is outside.
    mask = _largest_piece(head.faces, mask)
    mask = is_skin & ~_largest_piece(head.faces, is_skin & ~mask)
    mask = _smooth_outline(
        head.faces, mask, is_skin & (edge > LEAST_MARGIN_M)[head.faces].all(axis=1)
    )
    inner = np.isin(head.face_parts, (Part.EYE_SOCKETS, Part.MOUTH_CAVITY))
    return np.asarray(head.faces[mask | inner])


def _distance_to_loop(points: F64, loop: F64) -> F64:
    """(N,) from points to a closed polyline (H, 3)."""
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
    for _ in range(SMOOTHING_ROUNDS):
        sides = np.bincount(number[mask].reshape(-1), minlength=int(number.max()) + 1)
        neighbours = (sides[number] - mask[:, None]).sum(axis=1)
        fill, drop = ~mask & allowed & (neighbours >= 2), mask & allowed & (neighbours <= 1)
        if not fill.any() and not drop.any():
            break
        mask = (mask | fill) & ~drop
    return mask
