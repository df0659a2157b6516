"""How well a face and a body are joined: the seam, and the paper's Table V.

Every function takes meshes or avatars and returns millimetres or degrees, so that any evaluation
can report them; :mod:`benchmarks.fusion_study` is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.similarity import aligned
from engine.avatar.anny import BodyModel
from engine.avatar.topology import FusedAvatar, Region, Topology
from engine.body.blend_skinning import Poser
from engine.fusion.copy_paste import FusionMap
from engine.fusion.estimates import BodyEstimate, FaceEstimate
from engine.fusion.loops import closed_loops
from engine.fusion.modes import MODES, CopyPaste, fusion_of
from engine.fusion.stitching import boundary_edges, edge_keys
from engine.types import F32, F64, I32, AvatarState

MM = 1e3
KEYS = {mode: mode.replace("-", "_") for mode in MODES}
"""Names of the modes in reports."""
NAMES = ("v2v_mm", "pa_v2v_mm", "face_v2v_mm", "face_pa_v2v_mm")


@dataclass(frozen=True, slots=True)
class Seam:
    """What can be seen of a seam."""

    boundary_edges: int
    """Open edges of the whole mesh; 0 is watertight."""
    normal_deg: float
    """95th percentile of the angle between vertex normals across the edges at the seam."""
    normal_p95_deg: float
    """The same of all edges of the face and the head around it: what is usual there."""
    normal_median_deg: float

    def numbers(self) -> dict[str, float]:
        """For a report."""
        return {
            "boundary_edges": self.boundary_edges,
            "normal_deg": round(self.normal_deg, 2),
            "normal_p95_deg": round(self.normal_p95_deg, 2),
            "normal_median_deg": round(self.normal_median_deg, 2),
        }


def seam_of(vertices_m: F32, normals: F32, topology: Topology, reach_m: float = 0.12) -> Seam:
    """Look at one mesh's seam.

    Args:
        vertices_m: (V, 3).
        normals: (V, 3) as they are drawn.
        topology: of the mesh.
        reach_m: how far from the seam's outer loop skin is compared with.
    """
    edges = _edges(topology.faces)
    seam = _outer_seam(topology)
    steps = _angles_deg(normals[edges[:, 0]], normals[edges[:, 1]])
    at_seam = np.isin(edges, seam).any(axis=1)
    middle = vertices_m[seam].mean(axis=0)
    near = np.linalg.norm(vertices_m - middle, axis=1) < reach_m
    around = near[edges].all(axis=1) & ~at_seam
    return Seam(
        boundary_edges=len(boundary_edges(topology.faces)),
        normal_deg=float(np.percentile(steps[at_seam], 95)),
        normal_p95_deg=float(np.percentile(steps[around], 95)),
        normal_median_deg=float(np.median(steps[around])),
    )


def gap_mm(copy_paste: CopyPaste, body: BodyEstimate, face: FaceEstimate) -> float:
    """Mean distance between the pasted face's boundary and the body's, before bridging."""
    rest = copy_paste.model.shape(body.phenotypes).vertices_m
    seam = copy_paste.region.seam
    placed = copy_paste.place(rest, face).vertices_m
    return MM * float(np.linalg.norm(placed[seam] - rest[seam], axis=1).mean())


def flicker_mm(meshes: Iterable[F32 | None], avatar: FusedAvatar) -> float:
    """Root mean square frame-to-frame motion of the seam relative to the skull, at rest.

    Args:
        meshes: (V, 3) vertices of consecutive frames; None where the person did not truly rest.
        avatar: whom they pose.
    """
    seam, skull = _outer_seam(avatar.topology), _skull(avatar)
    moves: list[F64] = []
    first = before = None
    for mesh in meshes:
        if mesh is None:
            before = None
            continue
        points = mesh.astype(np.float64)
        if first is None:
            first = points[skull]
        held = _onto(points[skull], first, points[seam])
        if before is not None:
            moves.append(np.linalg.norm(held - before, axis=1))
        before = held
    return MM * float(np.sqrt(np.mean(np.square(moves)))) if moves else float("nan")


def _skull(avatar: FusedAvatar) -> I32:
    """The vertices that follow the head alone and that no expression moves."""
    head = avatar.joint_names.index("head")
    follows = (avatar.skin_joints[:, 0] == head) & (avatar.skin_weights[:, 0] > 0.999)
    return np.flatnonzero(follows & (np.diff(avatar.morph_starts) == 0)).astype(np.int32)


def avatars_by_mode(
    model: BodyModel, fusion_map: FusionMap, body: BodyEstimate, face: FaceEstimate
) -> dict[str, FusedAvatar]:
    """One person fused in every mode, for :func:`mode_errors`."""
    return {mode: fusion_of(mode, model, fusion_map).fuse(body, face) for mode in MODES}


def mode_errors(
    avatars: Mapping[str, FusedAvatar], frames: Iterable[tuple[AvatarState, F32]]
) -> dict[str, dict[str, float]]:
    """Table V: V2V and PA-V2V, whole and of the face, per mode.

    Args:
        avatars: one per mode, all of one topology.
        frames: the found state and the true vertices (V, 3) of each, in the avatars' topology.

    Returns:
        ``{mode: {v2v_mm, pa_v2v_mm, face_v2v_mm, face_pa_v2v_mm}}``, means over the frames. V2V is
        taken about the middle of the vertices, the face's about the neck, as evaluations of
        SMPL-X do; PA after the best similarity of just what is compared.
    """
    posers = {mode: Poser(avatar) for mode, avatar in avatars.items()}
    necks = {mode: neck_of(avatar) for mode, avatar in avatars.items()}
    series: dict[str, list[list[float]]] = {mode: [] for mode in avatars}
    for found, truth in frames:
        for mode, poser in posers.items():
            mesh = poser.pose(found)
            face = mesh.topology.regions == Region.FACE
            series[mode].append(distances_mm(mesh.vertices_m, truth, face, necks[mode]))
    return {
        KEYS.get(mode, mode): dict(zip(NAMES, np.mean(rows, axis=0).round(3).tolist(), strict=True))
        for mode, rows in series.items()
    }


def neck_of(avatar: FusedAvatar) -> Any:
    """(V,) the vertices that follow the neck's lowest joint more than any other."""
    return avatar.skin_joints[:, 0] == avatar.joint_names.index("neck01")


def distances_mm(vertices: F32, truth: F32, face: Any, neck: Any) -> list[float]:
    """:data:`NAMES` of one mesh; ``face`` and ``neck`` are (V,) masks."""
    mesh, true = vertices.astype(np.float64), truth.astype(np.float64)
    pairs = (
        (mesh - mesh.mean(axis=0), true - true.mean(axis=0)),
        (aligned(mesh, true, scaled=True), true),
        (mesh[face] - mesh[neck].mean(axis=0), true[face] - true[neck].mean(axis=0)),
        (aligned(mesh[face], true[face], scaled=True), true[face]),
    )
    return [MM * float(np.linalg.norm(a - b, axis=1).mean()) for a, b in pairs]


def _edges(faces: I32) -> I32:
    directed = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, first = np.unique(edge_keys(directed), return_index=True)
    return np.asarray(directed[first])


def _outer_seam(topology: Topology) -> I32:
    """The seam's longest loop: those around eyes and mouth lie where skin folds anyway."""
    return closed_loops(topology.seam_edges)[0]


def _angles_deg(a: F32, b: F32) -> F64:
    cosine = np.clip(np.sum(a.astype(np.float64) * b, axis=1), -1.0, 1.0)
    return np.asarray(np.degrees(np.arccos(cosine)))


def _onto(points: F64, target: F64, moved: F64) -> F64:
    """``moved`` by the rigid motion that takes ``points`` onto ``target``."""
    own, wanted = points.mean(axis=0), target.mean(axis=0)
    u, _, vt = np.linalg.svd((points - own).T @ (target - wanted))
    flip = np.array([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))])
    return np.asarray((moved - own) @ ((vt.T * flip) @ u.T).T + wanted)
