"""Does relief bring the mesh closer? ``python -m benchmarks.relief`` prints the table.

Rendered people with known wrinkles, folds, bags and bumps, and people with freckles, blotches and
stubble but no relief at all, each under another light. The face below the relief is the true one,
which a live engine only estimates. Poses are true, or what the real landmark network and face fit
find. Errors are mean distances along the normals over the
dense face's vertices, micrometres: before, with the displacement map, with wrinkles, with both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import typer

from benchmarks.relief_truth import SIZE, Person, Shot, Skin, Studio, wrinkled
from engine.avatar.topology import FusedAvatar, Region
from engine.body.blend_skinning import Poser
from engine.face.appearance import AppearanceGatherer
from engine.face.face_fit import FaceFit, FaceFitter
from engine.face.relief.relief import Relief
from engine.face.view import FaceView
from engine.fusion.base_avatar import BaseAvatar
from engine.inference.store import ModelStore
from engine.perception.face import FaceTracker
from engine.perception.networks import Networks
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import ARKIT_NAMES, AvatarState, Camera, FusedMesh, Phenotypes

PEOPLE: tuple[tuple[str, Skin], ...] = (
    ("lines", Skin()),
    ("spots only", Skin(lines=0, spots=0.8)),
    ("deep, spots", Skin(lines=1.4, spots=0.3)),
    ("bumps", Skin(lines=0, bumps_mm=0.35)),
    ("lines, bumps", Skin(bumps_mm=0.2)),
    ("smooth", Skin(lines=0)),
    ("dark lines", Skin(darkened=0.25)),
    ("spots only", Skin(lines=0, spots=1.0)),
    ("lines, spots", Skin(spots=0.6)),
    ("few spots", Skin(lines=0, spots=0.2)),
    ("faint lines", Skin(lines=0.7)),
    ("dark, spots", Skin(lines=1.2, darkened=0.15, spots=0.3)),
)
STILL = np.zeros(len(ARKIT_NAMES), np.float32)
SWITCHES = ((True, False), (False, True), (True, True))
"""Displacement, wrinkles."""


@dataclass(frozen=True, slots=True)
class Row:
    """One person, one kind of pose; micrometres."""

    name: str
    poses: str
    before: float
    after: tuple[float, float, float]
    """In the order of SWITCHES."""


def compare(count: int, shots: int, first_seed: int) -> Iterator[Row]:
    """Rows for ``count`` people, ``shots`` pictures each."""
    store = ModelStore.default()
    base, tracker = BaseAvatar.load(store), FaceTracker(Networks(store))
    gatherer = AppearanceGatherer(base.average)
    with OffscreenRenderer(*SIZE) as renderer:
        studio = Studio(renderer, 0.55)
        for number in range(count):
            name, skin = PEOPLE[number % len(PEOPLE)]
            seed = first_seed + number
            person = wrinkled(base.model, base.fusion_map, _somebody(seed), skin, seed)
            taken = list(studio.shots(person, Light.varied(seed), shots, seed))
            exact: list[FusedMesh | None] = [shot.mesh for shot in taken]
            found = _tracked(person.smooth, taken, tracker)
            yield _row(name, "true", person, taken, exact, gatherer)
            yield _row(name, "tracked", person, taken, found, gatherer)


def _somebody(seed: int) -> Phenotypes:
    rng = np.random.default_rng([seed, 0xFACE])
    gender, muscle, weight = map(float, rng.uniform(0.2, 0.8, 3))
    return Phenotypes(gender, float(rng.uniform(0.55, 0.85)), muscle, weight)


def _row(
    name: str,
    poses: str,
    person: Person,
    shots: list[Shot],
    meshes: list[FusedMesh | None],
    gatherer: AppearanceGatherer,
) -> Row:
    """One person's errors; pictures go through the skin's gatherer first, as in the slow loop."""
    relief = Relief(person.smooth)
    gatherer.reset()
    for shot, mesh in zip(shots, meshes, strict=True):
        if mesh is None:
            continue
        view = FaceView(shot.image, mesh, shot.camera, STILL, person.smooth.rest_vertices_m)
        if gatherer.observe(view) > 0.0:
            size = relief.grid.shape[::-1]
            visible = cv2.resize(gatherer.visible(), size, interpolation=cv2.INTER_AREA)
            relief.observe(shot.image, mesh, shot.camera, visible.astype(np.float32))
    face = person.smooth.topology.regions == Region.FACE
    truth, after = person.detail_mm[face], []
    for relief.displacement, relief.wrinkles in SWITCHES:
        detail, _ = relief.detail_m()
        after.append(1e3 * float(np.abs(1e3 * detail[face] - truth).mean()))
    return Row(name, poses, 1e3 * float(np.abs(truth).mean()), (after[0], after[1], after[2]))


def _tracked(
    avatar: FusedAvatar, shots: list[Shot], tracker: FaceTracker
) -> list[FusedMesh | None]:
    """The smooth avatar posed as the engine's own tracker and face fit would."""
    head = avatar.joint_names.index("head")
    fitter = FaceFitter(avatar.rest_vertices_m, avatar.joints_m[head], smooth=False)
    poser = Poser(avatar)
    found = []
    for shot in shots:
        tracker.reset()
        # The second look's region comes from landmarks, as in a video.
        found.append(tracker.track(shot.image, None) and tracker.track(shot.image, None))
    for shot, face in zip(shots, found, strict=True):  # the fit gets to know the face
        if face is not None:
            fitter.fit(face, shot.camera)
    fits = [
        None if face is None else fitter.fit(face, shot.camera)
        for shot, face in zip(shots, found, strict=True)
    ]
    return [
        None if fit is None else _posed(poser, head, fit, shot.camera)
        for shot, fit in zip(shots, fits, strict=True)
    ]


def _posed(poser: Poser, head: int, fit: FaceFit, camera: Camera) -> FusedMesh:
    """Turned as a whole, so that its head is where the fit says."""
    rotations = np.tile(np.array([0, 0, 0, 1], np.float32), (len(poser.avatar.parents), 1))
    rotations[0] = fit.head.rotation_xyzw
    state = AvatarState(0, 0, 0, rotations, np.zeros(3, np.float32), fit.expression, camera)
    poser.pose(state)
    place = poser.workspace.transforms[head]
    joint = place[:, :3] @ poser.avatar.joints_m[head] + place[:, 3]
    shift = np.asarray(fit.head.translation_m - joint, np.float32)
    mesh = poser.pose(replace(state, translation_m=shift))
    return replace(mesh, vertices_m=mesh.vertices_m.copy(), normals=mesh.normals.copy())


def main(people: int = 12, shots: int = 14, seed: int = 101) -> None:
    """Print the table and the means."""
    rows = []
    typer.echo(f"{'person':14} {'poses':8} {'before':>7} {'displ.':>7} {'lines':>7} {'both':>7}")
    for row in compare(people, shots, seed):
        rows.append(row)
        errors = " ".join(f"{value:7.1f}" for value in (row.before, *row.after))
        typer.echo(f"{row.name:14} {row.poses:8} {errors}")
    for poses in ("true", "tracked"):
        chosen = [row for row in rows if row.poses == poses]
        table = np.array([(row.before, *row.after) for row in chosen])
        means = " ".join(f"{value:7.1f}" for value in table.mean(axis=0))
        worst = " ".join(f"{value:+7.2f}" for value in (table[:, 1:] - table[:, :1]).max(axis=0))
        typer.echo(f"{'mean':14} {poses:8} {means}")
        typer.echo(f"{'worst change':14} {poses:8} {'':7} {worst}")


if __name__ == "__main__":
    typer.run(main)
