"""How well a face and a body are joined: the seam, and the paper's Table V.

Every function takes meshes or avatars and returns millimetres or degrees, so that any evaluation
can report them. :func:`fusion_study` is a Table V of its own, on people whose truth is known: their
bodies and faces are misjudged as much as estimators do, and each mode of fusion joins the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.similarity import aligned
from engine import quaternions
from engine.avatar.anny import BodyModel
from engine.avatar.topology import FusedAvatar, Region, Topology
from engine.body.blend_skinning import Poser
from engine.fusion.copy_paste import FusionMap, fuse
from engine.fusion.estimates import BodyEstimate, FaceEstimate, FaceView
from engine.fusion.loops import closed_loops
from engine.fusion.modes import MODES, CopyPaste, fusion_of
from engine.fusion.paste_region import PasteRegion
from engine.fusion.stitching import boundary_edges, edge_keys
from engine.types import F32, F64, I32, AvatarState, FaceShape, Identity, Phenotypes

MM = 1e3
KEYS = {mode: mode.replace("-", "_") for mode in MODES}
"""Names of the modes in reports."""


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
    necks = {mode: _neck(avatar) for mode, avatar in avatars.items()}
    series: dict[str, list[list[float]]] = {mode: [] for mode in avatars}
    for found, truth in frames:
        for mode, poser in posers.items():
            mesh = poser.pose(found)
            face = mesh.topology.regions == Region.FACE
            series[mode].append(_distances_mm(mesh.vertices_m, truth, face, necks[mode]))
    names = ("v2v_mm", "pa_v2v_mm", "face_v2v_mm", "face_pa_v2v_mm")
    return {
        KEYS.get(mode, mode): dict(zip(names, np.mean(rows, axis=0).round(3).tolist(), strict=True))
        for mode, rows in series.items()
    }


def _neck(avatar: FusedAvatar) -> Any:
    """(V,) the vertices that follow the neck's lowest joint more than any other."""
    return avatar.skin_joints[:, 0] == avatar.joint_names.index("neck01")


def _distances_mm(vertices: F32, truth: F32, face: Any, neck: Any) -> list[float]:
    mesh, true = vertices.astype(np.float64), truth.astype(np.float64)
    pairs = (
        (mesh - mesh.mean(axis=0), true - true.mean(axis=0)),
        (aligned(mesh, true, scaled=True), true),
        (mesh[face] - mesh[neck].mean(axis=0), true[face] - true[neck].mean(axis=0)),
        (aligned(mesh[face], true[face], scaled=True), true[face]),
    )
    return [MM * float(np.linalg.norm(a - b, axis=1).mean()) for a, b in pairs]


@dataclass(frozen=True, slots=True)
class Misjudgement:
    """How far off the two modules are, one standard deviation each."""

    phenotype: float = 0.1
    """Of each of the body's phenotypes."""
    face_m: float = 0.0012
    """Of the face's surface, smooth over a third of its size."""
    scale: float = 0.06
    """Of the face's size, which one camera cannot see."""
    turned_rad: float = 0.5
    """How far from frontal the face was seen; its far side is judged worse."""
    far_side: float = 2.5
    """By how much."""


def fusion_study(
    model: BodyModel,
    fusion_map: FusionMap,
    people: int = 20,
    seed: int = 0,
    off: Misjudgement | None = None,
) -> dict[str, dict[str, float]]:
    """Table V on synthetic people at rest, means over them, with ``gap_mm`` of the paste.

    Args:
        model: with an identity basis.
        fusion_map: its topology.
        people: how many.
        seed: of the first.
        off: how badly they are judged.
    """
    fusions = {mode: fusion_of(mode, model, fusion_map) for mode in MODES}
    study = _Study(model, PasteRegion.of(model), off or Misjudgement())
    rows: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
    gaps = []
    for number in range(people):
        truth, body, face = study.person(np.random.default_rng([seed, number]))
        true = fuse(model, fusion_map, truth)
        shown = true.topology.regions == Region.FACE
        for mode, fusion in fusions.items():
            avatar = fusion.fuse(body, face)
            meshes = avatar.rest_vertices_m, true.rest_vertices_m
            rows[mode].append(_distances_mm(*meshes, shown, _neck(avatar)))
        paste = fusions[MODES[0]]
        assert isinstance(paste, CopyPaste)
        gaps.append(gap_mm(paste, body, face))
    names = ("v2v_mm", "pa_v2v_mm", "face_v2v_mm", "face_pa_v2v_mm")
    table = {
        KEYS[mode]: dict(zip(names, np.mean(found, axis=0).round(3).tolist(), strict=True))
        for mode, found in rows.items()
    }
    table[KEYS[MODES[0]]]["gap_mm"] = round(float(np.mean(gaps)), 3)
    return table


class _Study:
    """Draws people and misjudges them."""

    def __init__(self, model: BodyModel, region: PasteRegion, off: Misjudgement) -> None:
        self._model, self._region, self._off = model, region, off

    def person(self, rng: np.random.Generator) -> tuple[Identity, BodyEstimate, FaceEstimate]:
        """A true identity, and what the two modules make of it."""
        model, off = self._model, self._off
        age, rest = rng.uniform(0.5, 0.85), rng.uniform(0.2, 0.8, 4)
        people = np.array([rng.uniform(0, 1), age, *rest])
        own = rng.standard_normal(model.identity_count).astype(np.float32)
        truth = Identity(phenotypes=Phenotypes(*map(float, people)), face=FaceShape(own, 1.0))
        believed = np.clip(people + off.phenotype * rng.standard_normal(6), 0, 1)
        yaw = off.turned_rad * rng.standard_normal()
        view = FaceView(
            quaternions.from_rotation_vector(np.array([0.0, yaw, 0.0])).astype(np.float32), 60.0
        )
        doubts = Phenotypes(*[max(off.phenotype, 1e-3)] * 6)
        body = BodyEstimate(Phenotypes(*map(float, believed)), doubts, view)
        return truth, body, self._face(truth, view, rng)

    def _face(self, truth: Identity, view: FaceView, rng: np.random.Generator) -> FaceEstimate:
        """The true face, smoothly wrong, worse where it was turned away, in another size."""
        assert truth.face is not None
        rest = self._model.shape(truth.phenotypes, truth.face.coefficients)
        skin = rest.vertices_m[self._region.skin]
        centre = skin.mean(axis=0)
        turned = np.asarray(quaternions.to_matrix(view.rotation_xyzw.astype(np.float64)))
        away = (rest.vertices_m - centre) / np.ptp(skin, axis=0).max()
        side = np.clip(-(away @ turned.T)[:, 2] + 0.1, 0.0, 0.5) / 0.5
        error = self._off.face_m * (1.0 + side * (self._off.far_side - 1.0))
        wrong = rest.vertices_m + error[:, None] * _smooth_noise(away, rng)
        scale = float(np.exp(self._off.scale * rng.standard_normal()))
        joints = [self._model.joint_names.index(name) for name in ("eye.L", "eye.R")]
        moved = (((p - centre) * scale).astype(np.float32) for p in (wrong, rest.joints_m[joints]))
        vertices, eyes = moved
        return FaceEstimate(vertices, eyes)


def _smooth_noise(points: F32, rng: np.random.Generator, waves: int = 64) -> F64:
    """(V, 3) of unit variance, alike at neighbours: random waves about three to the unit."""
    ahead, phase = 5.0 * rng.standard_normal((3, waves)), rng.uniform(0, 2 * np.pi, waves)
    basis = np.cos(points @ ahead + phase) * np.sqrt(2.0 / waves)
    return np.asarray(basis @ rng.standard_normal((waves, 3)))


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
