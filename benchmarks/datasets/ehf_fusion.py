"""Table V on EHF: the three ways of joining a face to the body, on the same pictures.

The paper measures V2V, which needs vertices that belong together. A fused mesh of ours has no such
vertices with SMPL-X, and fitting SMPL-X to it would smooth away what the ways differ in. So what
is measured is another thing under another name: ASPD, the average symmetric point-to-surface
distance, from the truth's vertices to our surface and back. It is smaller than V2V, for sliding
along the surface costs nothing: figures of the two may not be compared, those of the ways may.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.datasets.watching import Watched
from benchmarks.fusion import avatars_by_mode
from engine.body.blend_skinning import Poser
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.estimates import estimates_of
from engine.types import F64, I32


def fusion_errors(
    seen: Watched,
    true: F64,
    faces: I32,
    shifts: Mapping[str, F64],
    parts: Mapping[str, NDArray[np.int64]],
) -> dict[str, dict[str, float]]:
    """ASPD in millimetres of every mode's mesh, under the names of the paper's columns.

    Args:
        seen: the person of a picture, with a face of their own.
        true: (V, 3) the true mesh.
        faces: (F, 3) its triangles.
        shifts: (3,) by part, what brings our body's pelvis and our face's neck onto the truth's.
        parts: the truth's rows of "body" and "face"; without them the whole alone.
    """
    model = seen.base.model
    body, face = estimates_of(model, seen.identity)
    avatars = avatars_by_mode(model, seen.base.fusion_map, replace(body, view=seen.view), face)
    truth = SurfaceTree(true, faces)
    errors: dict[str, dict[str, float]] = {}
    for mode, avatar in avatars.items():
        mesh = Poser(avatar).pose(seen.state)
        at_body, at_face = (
            SurfaceTree(mesh.vertices_m + shifts[part], mesh.topology.faces)
            for part in ("body", "face")
        )
        errors[mode] = {"v2v_mm": aspd_mm(at_body, truth)}
        if parts:
            errors[mode]["body_v2v_mm"] = aspd_mm(at_body, truth, parts["body"])
            errors[mode]["face_v2v_mm"] = aspd_mm(at_face, truth, parts["face"])
    return errors


def aspd_mm(ours: SurfaceTree, truth: SurfaceTree, rows: NDArray[np.int64] | None = None) -> float:
    """Average symmetric point-to-surface distance, millimetres; both ways count the same.

    Args:
        ours: any topology, metres.
        truth: any other.
        rows: vertices of the truth that count; of ours then those whose closest triangle of the
            truth has one of them. All without it.
    """
    wanted = truth.vertices if rows is None else truth.vertices[rows]
    forth = np.linalg.norm(ours.closest(wanted).points - wanted, axis=1)
    found = truth.closest(ours.vertices)
    back = np.linalg.norm(found.points - ours.vertices, axis=1)
    if rows is not None:
        back = back[np.isin(truth.faces[found.triangles], rows).any(axis=1)]
    # Where nothing of ours is nearest to the part, the one way is all that can be said.
    both = [forth.mean(), back.mean()] if len(back) else [forth.mean()]
    return float(1e3 * np.mean(both))
