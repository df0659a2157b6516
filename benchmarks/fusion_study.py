"""Table V on people whose truth is known: ``python -m benchmarks.fusion_study``.

Their bodies and faces are misjudged at random, and each mode of fusion joins the two. The errors
are those that the modes are made for: a face of the wrong size, worse on the side that was turned
away, on a body whose doubts are known. So this says whether a mode does what it is meant to, under
errors of assumed sizes; how it does under the engine's own is what ``benchmarks.performer_fusion``
measures. Beside it, how long a frame of the fused mesh takes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from benchmarks.fusion import KEYS, NAMES, distances_mm, gap_mm, neck_of
from engine import quaternions
from engine.avatar.anny import BodyModel
from engine.avatar.topology import FusedAvatar, Region
from engine.body.blend_skinning import Poser
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.copy_paste import FusionMap, fuse
from engine.fusion.estimates import BodyEstimate, FaceEstimate, FaceView
from engine.fusion.modes import MODES, CopyPaste, fusion_of
from engine.fusion.paste_region import PasteRegion
from engine.inference.store import ModelStore
from engine.kernels import start_numba
from engine.types import (
    ARKIT_NAMES,
    F32,
    F64,
    AvatarState,
    Camera,
    FaceShape,
    Identity,
    Phenotypes,
)  # fmt: skip

PEOPLE = 30
POSES = 1000
ACTIVE_ACTIONS = 15


@dataclass(frozen=True, slots=True)
class Misjudgement:
    """How far off the two modules are taken to be, one standard deviation each."""

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
    study = Study(model, PasteRegion.of(model), off or Misjudgement())
    rows: dict[str, list[list[float]]] = {mode: [] for mode in MODES}
    gaps = []
    for number in range(people):
        truth, body, face = study.person(np.random.default_rng([seed, number]))
        true = fuse(model, fusion_map, truth)
        shown = true.topology.regions == Region.FACE
        for mode, fusion in fusions.items():
            avatar = fusion.fuse(body, face)
            meshes = avatar.rest_vertices_m, true.rest_vertices_m
            rows[mode].append(distances_mm(*meshes, shown, neck_of(avatar)))
        paste = fusions[MODES[0]]
        assert isinstance(paste, CopyPaste)
        gaps.append(gap_mm(paste, body, face))
    table = {
        KEYS[mode]: dict(zip(NAMES, np.mean(found, axis=0).round(3).tolist(), strict=True))
        for mode, found in rows.items()
    }
    table[KEYS[MODES[0]]]["gap_mm"] = round(float(np.mean(gaps)), 3)
    return table


class Study:
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


def posing_ms(avatar: FusedAvatar, poses: int = POSES) -> tuple[float, float]:
    """Least and median milliseconds of one frame's mesh.

    All joints are turned and fifteen actions at work; it is kinematics, expression, skinning and
    normals.
    """
    rng = np.random.default_rng(0)
    expression = np.zeros(len(ARKIT_NAMES), np.float32)
    chosen = rng.choice(len(expression), ACTIVE_ACTIONS, replace=False)
    expression[chosen] = rng.random(ACTIVE_ACTIONS)
    turns = rng.normal(0, 0.2, (len(avatar.parents), 3))
    rotations = quaternions.from_rotation_vector(turns).astype(np.float32)
    camera, origin = Camera.from_size(640, 480), np.zeros(3, np.float32)
    state = AvatarState(0, 0, 0, rotations, origin, expression, camera)
    poser, times = Poser(avatar), []
    for _ in range(poses):
        began = time.perf_counter()
        poser.pose(state)
        times.append(1e3 * (time.perf_counter() - began))
    return min(times), float(np.median(times))


def main() -> None:
    """Print both."""
    start_numba()
    base = BaseAvatar.load(ModelStore.default())
    table = fusion_study(base.model, base.fusion_map, PEOPLE)
    print(f"{PEOPLE} people{'':13}" + "".join(f"{name:>16}" for name in NAMES))
    for mode, errors in table.items():
        print(f"{mode:<22}" + "".join(f"{errors[name]:>16.2f}" for name in NAMES))
    print(f"gap of the paste before bridging {table[KEYS[MODES[0]]]['gap_mm']:.2f} mm")
    least, median = posing_ms(base.average)
    count = len(base.average.rest_vertices_m)
    print(f"posing {count} vertices: {least:.3f} ms at least, {median:.3f} ms in the median")


if __name__ == "__main__":
    main()
