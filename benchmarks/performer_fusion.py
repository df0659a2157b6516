"""The fusion half of ``sars eval performer``: our Table V, and what can be seen of the seam.

People of whom nothing is known act in front of the camera; the engine fits pose and expression on
the average avatar, the identity fitter reads their faces off the landmarks, and each mode of
fusion joins that face to the average body. Their bodies stay unknown (no age, no build), so whole
body errors are mostly those of the body's shape; the face's are what the modes differ in. Faces
are drawn from the prior that they are fitted with: ``sars eval heads`` has strangers to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fusion import (
    KEYS,
    MM,
    NAMES,
    avatars_by_mode,
    flicker_mm,
    gap_mm,
    mode_errors,
    seam_of,
)
from benchmarks.heads.picture import Row, draw_rows
from benchmarks.similarity import laid_on
from engine.avatar.topology import FusedAvatar, Region
from engine.body.blend_skinning import Poser
from engine.body.kinematics import forward_kinematics
from engine.engine import Engine, EngineOptions
from engine.face.identity_fit import IdentityFitter
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.estimates import BodyEstimate, FaceEstimate, FaceView
from engine.fusion.modes import COPY_PASTE, MODES, CopyPaste, fusion_of
from engine.fusion.neck_normals import neck_corrections
from engine.fusion.normals import vertex_normals
from engine.slot import Policy
from engine.sources.performer import Performer, open_performer
from engine.sources.source import Closing, stamped
from engine.types import F32, F64, U8, AvatarState, Frame, Phenotypes
from viewer.snapshot import save_png

EVERY = 5
"""Of the frames, one in so many is compared: neighbours are alike."""
STILL_FRAMES, SETTLING = 150, 60
"""Of somebody who rests; the filters and the neutral face settle in the first of them."""
SENSOR_NOISE = 2.0
"""Grey levels, standard deviation: a webcam's picture of something still is never the same."""
AVERAGE = "average_face"


@dataclass(frozen=True, slots=True)
class Sitting:
    """One person's performance, seen by the engine."""

    performer: Performer
    body: BodyEstimate
    face: FaceEstimate
    frames: list[tuple[AvatarState, F32]]
    """Some of the fitted states, each with the true vertices (V, 3)."""
    picture: U8
    """(H, W, 3) RGB: what the last of them was fitted to."""


@dataclass(frozen=True, slots=True)
class Casting:
    """Who performs for how long."""

    people: int
    frames: int


QUICK, FULL = Casting(3, 90), Casting(8, 300)


async def eval_fusion(
    casting: Casting, options: EngineOptions, picture: Path | None = None
) -> dict[str, Any]:
    """Let people act, fuse each in every mode, and compare.

    Args:
        casting: how many people, and for how long.
        options: of the engine; identities stay as they start, and are read off afterwards.
        picture: where to draw the first of them in every mode; None draws nothing.

    Returns:
        ``fusion{mode{v2v_mm, pa_v2v_mm, face_v2v_mm, face_pa_v2v_mm}}`` (means over people, with
        the average face beside the three modes) and ``seam{gap_mm, normal_deg, flicker_mm, ...}``.
    """
    options = replace(options, identity=False)
    with Engine.open(options) as engine:
        base = engine.reconstructor.base
        seeds = range(1, casting.people + 1)
        sittings = [await watch(engine, seed, casting.frames) for seed in seeds]
        flicker = await _flicker(engine)
    tables = [_errors(base, sitting) for sitting in sittings]
    fusion = {
        mode: {name: round(float(np.mean([t[mode][name] for t in tables])), 3) for name in NAMES}
        for mode in tables[0]
    }
    if picture is not None:
        save_png(draw_rows(list(_rows(base, sittings[0]))), picture)
    return {"fusion": fusion, "seam": _seam(base, sittings) | {"flicker_mm": flicker}}


async def watch(engine: Engine, seed: int, frames: int) -> Sitting:
    """One person acts; pose and expression are fitted on the average avatar."""
    base = engine.reconstructor.base
    fitter = IdentityFitter(base.model)
    kept: list[tuple[AvatarState, F32]] = []
    picture = np.zeros((1, 1, 3), np.uint8)
    view: FaceView | None = None
    with open_performer(f"webcam,seed={seed}", frames=frames) as performer:
        async with engine.pipeline.run(performer, Policy.BLOCK, pose=False) as results:
            async for result in results:
                head, face = result.head, result.observation.face
                if head is not None and face is not None:
                    state = result.state
                    fitter.observe(
                        face,
                        head,
                        state.expression,
                        state.camera,
                        state.face_confidence,
                        result.frame.image,
                    )
                    view = FaceView.of(head, face, state.face_confidence)
                if result.frame.index % EVERY == EVERY - 1:
                    picture = result.frame.image
                    truth = performer.truth(result.frame.index).mesh.vertices_m
                    kept.append((result.state, truth.copy()))
    unknown = Phenotypes()
    shape = fitter.estimate(unknown)
    return Sitting(
        performer,
        BodyEstimate(unknown, view=view),
        FaceEstimate.of(base.model, unknown, shape),
        kept,
        picture,
    )


def _errors(base: BaseAvatar, sitting: Sitting) -> dict[str, dict[str, float]]:
    avatars = avatars_by_mode(base.model, base.fusion_map, sitting.body, sitting.face)
    return mode_errors({AVERAGE: base.average, **avatars}, sitting.frames)


def _seam(base: BaseAvatar, sittings: list[Sitting]) -> dict[str, Any]:
    """Means over people, the worst of what must hold for each; of the live mode and the others."""
    gaps, modes = [], {}
    for mode in MODES:
        fusion = fusion_of(mode, base.model, base.fusion_map)
        seams = []
        for sitting in sittings:
            avatar = fusion.fuse(sitting.body, sitting.face)
            if isinstance(fusion, CopyPaste):
                gaps.append(gap_mm(fusion, sitting.body, sitting.face))
            seams.append(_posed_seam(base, avatar, sitting))
        modes[KEYS[mode]] = {
            name: round(float(np.mean([seam[name] for seam in seams])), 2) for name in seams[0]
        } | {"boundary_edges": max(seam["boundary_edges"] for seam in seams)}
    return {"gap_mm": round(float(np.mean(gaps)), 3), **modes[KEYS[COPY_PASTE]], "modes": modes}


def _posed_seam(base: BaseAvatar, avatar: FusedAvatar, sitting: Sitting) -> dict[str, float]:
    """The seam as it is drawn, neck normals included, in the middle of the performance."""
    corrections = neck_corrections(avatar, base.model, base.model.shape(sitting.body.phenotypes))
    state = sitting.frames[len(sitting.frames) // 2][0]
    mesh = Poser(avatar, None, corrections).pose(state)
    return seam_of(mesh.vertices_m, mesh.normals, avatar.topology).numbers()


def _rows(base: BaseAvatar, sitting: Sitting) -> Iterator[Row]:
    """Truth, mesh and deviation of the last frame, mode by mode."""
    state, truth = sitting.frames[-1]
    true, faces = truth.astype(np.float64), base.average.topology.faces
    face = base.average.topology.regions == Region.FACE
    normals = np.zeros_like(truth)
    vertex_normals(truth, faces, normals)
    # Portraits are drawn of heads that face +Z.
    turned = _head_rotation(base, state)
    avatars = avatars_by_mode(base.model, base.fusion_map, sitting.body, sitting.face)
    for mode, avatar in avatars.items():
        mesh = Poser(avatar).pose(state).vertices_m.astype(np.float64)
        laid = laid_on(mesh, true, face)
        deviation = MM * ((laid - true) * normals).sum(axis=1)
        deviation[~face] = np.nan
        yield Row(
            title=f"{mode}: {np.nanmean(np.abs(deviation)):.2f} mm off along the normals",
            frame=sitting.picture,
            truth_m=true @ turned,
            truth_faces=faces,
            ours_m=laid @ turned,
            ours_faces=faces,
            deviation_mm=deviation,
            centre_m=true[face].mean(axis=0) @ turned,
        )


def _head_rotation(base: BaseAvatar, state: AvatarState) -> F64:
    """(3, 3) rest pose to camera space."""
    avatar = base.average
    transforms = np.empty((len(avatar.parents), 3, 4), np.float32)
    forward_kinematics(state.rotations_xyzw, avatar.joints_m, avatar.parents, transforms)
    return transforms[avatar.joint_names.index("head"), :, :3].astype(np.float64)


class Resting(Closing):
    """Somebody who does nothing, before a camera whose sensor is never still."""

    fps, live = 30.0, False

    def __init__(self, performer: Performer, frames: int) -> None:
        self._performer, self._frames = performer, frames
        self.size = performer.size

    def __iter__(self) -> Iterator[Frame]:
        """The performer's first picture again and again, each time with its own noise."""
        picture = next(iter(self._performer)).image.astype(np.float32)
        rng = np.random.default_rng(0)

        def pictures() -> Iterator[tuple[float, Any]]:
            for index in range(self._frames):
                noisy = picture + SENSOR_NOISE * rng.standard_normal(picture.shape, np.float32)
                yield index / self.fps, np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

        return stamped(pictures(), paced=False)


async def _flicker(engine: Engine) -> float:
    """Millimetres by which the seam trembles on a face at rest."""
    with open_performer("webcam", frames=1) as performer:
        source = Resting(performer, STILL_FRAMES)
        async with engine.pipeline.run(source, Policy.BLOCK) as results:
            meshes = [
                result.mesh.vertices_m.copy()
                async for result in results
                if result.frame.index >= SETTLING
            ]
    return round(flicker_mm(meshes, engine.reconstructor.avatar), 4)
