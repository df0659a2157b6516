"""Poses and shapes of one body model as another's, by fitting.

Once for two models the target is fitted to the source at rest: first to the joints that both
name, then to the surface, whose nearest points are sought anew after each fit. That gives the
pairs of surface points, and how each of the target's joints is turned where the source's are not.
A frame then starts from the source's own turns, put on that, and a few Gauss-Newton steps do the
rest: no frame depends on the one before, only on the one shape that all share. Both models face +Z
at rest with Y up, as all of these do. Expressions are not converted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from engine.avatar.parametric_body import ParametricBody
from engine.body.conversion_error import ConversionError, ErrorMeter
from engine.body.joint_pairs import (
    JointPairs,
    global_turns,
    joint_places,
    led_rotations,
    rotation_matrices,
)
from engine.body.model_fit import BodyPose, FitOptions, PoseTarget, fit_poses
from engine.body.parametric_forward import BodyPoser
from engine.body.shape_space import ShapeSpace, betas_space, confined
from engine.body.surface_pairs import (
    PartedSurface,
    SurfacePairs,
    body_parts,
    common_joints,
    same_surface,
    spread_rows,
    vertex_pairs,
)
from engine.errors import AvatarError
from engine.types import F32, F64

ROUNDS = 5
"""Of pairing and fitting at rest."""
SAME_M = 5e-4
"""How well points of the very same surface are known; else ``FitOptions.point_m``."""
SHAPE_FRAMES, MEASURED_FRAMES = 6, 24
SHAPE_STEPS, POSE_STEPS = 10, 5
LED_TURN = 0.2
"""Radians that a joint may turn, more or less, from where the source's turns put it."""


@dataclass(frozen=True, slots=True)
class BodyMotion:
    """N frames of one person on a model of J joints."""

    betas: F32
    """(at most S,)."""
    rotations: F32
    """(N, J, 3) axis-angle relative to the parent."""
    translation_m: F32
    """(N, 3) added to every vertex."""


@dataclass(frozen=True, slots=True)
class Conversion:
    """The same motion on the other model, and how far from the source it is."""

    motion: BodyMotion
    error: ConversionError
    ms_per_frame: float
    """Of the poses, without the one shape and the measurement."""


@dataclass(frozen=True, slots=True)
class PosedMesh:
    """One frame of the source."""

    vertices_m: F32 | F64
    """(V, 3)."""
    joints_m: F32 | F64
    """(J, 3)."""
    rotations: F32
    """(J, 3) axis-angle that it is posed with."""


class ModelConverter:
    """Turns motions of one model into another's. Not for two threads at once."""

    def __init__(
        self,
        source: ParametricBody,
        target: ParametricBody,
        *,
        source_space: ShapeSpace | None = None,
        target_space: ShapeSpace | None = None,
        known: SurfacePairs | None = None,
    ) -> None:
        """Pair the two surfaces: some seconds, once.

        Args:
            source: with joint names.
            target: likewise.
            source_space: what its people look like; without, that of its first betas.
            target_space: which shapes a fit may use; without, likewise.
            known: which point of the source's surface each of the target's vertices is, where
                somebody has told; else the nearest.

        Raises:
            AvatarError: the models share too few joints, or one does not lie on the other.
        """
        self.source, self.target = source, target
        self._space = target_space or betas_space(target)
        shared = common_joints(source, target)
        if not {"pelvis", "head", "left_wrist", "right_ankle"} <= shared:
            raise AvatarError(
                f"{source.name} and {target.name} share the joints {sorted(shared)}; a conversion "
                "needs two bodies of people whose joints have their usual names"
            )
        self._joints = JointPairs.of(source, target)
        self._source_poser, self._target_poser = BodyPoser(source), BodyPoser(target)
        self._same = same_surface(source, target)
        self._parts = body_parts(target, shared)
        self._options = FitOptions(self._joints.target)
        if self._same:
            self._options = replace(self._options, point_m=SAME_M, joint_m=SAME_M)
        mean = (source_space or betas_space(source)).mean
        self._rest = np.tile(np.eye(3), (len(target.parents), 1, 1))
        self._mean_z = np.zeros(len(self._space.components))
        if known is None and self._same:
            known = vertex_pairs(np.arange(len(target.template_m), dtype=np.int32))
        self._pair(mean.astype(np.float32), body_parts(source, shared), known)

    def convert(
        self, motion: BodyMotion, on_frame: Callable[[int], None] = lambda _: None
    ) -> Conversion:
        """A whole motion, with one shape.

        Args:
            motion: of the source.
            on_frame: told how many frames are done.

        Raises:
            AvatarError: the motion has not the source's numbers, or none that are finite.
        """
        count = len(motion.rotations)
        self._source_poser.shape(motion.betas)
        chosen = np.unique(np.linspace(0, count - 1, SHAPE_FRAMES).astype(int))
        z = self._shape_of([self._aim(self._seen(motion, int(n))) for n in chosen])
        rotations = np.empty((count, len(self.target.parents), 3), np.float32)
        translation = np.empty((count, 3), np.float32)
        started = time.perf_counter()
        for n in range(count):
            pose = self._pose_of(self._aim(self._seen(motion, n)), z)
            rotations[n], translation[n] = pose.rotations, pose.translation_m
            on_frame(n + 1)
        ms = 1e3 * (time.perf_counter() - started) / count
        converted = BodyMotion(self._space.betas(z), rotations, translation)
        return Conversion(converted, self._measured(motion, converted), ms)

    def convert_mesh(self, mesh: PosedMesh) -> F32:
        """One posed mesh, whosoever it is of, as the target's (V', 3) vertices."""
        aim = self._aim(mesh)
        z = self._shape_of([aim])
        return self._posed(z, self._pose_of(aim, z)).copy()

    def _pair(self, betas: F32, source_parts: NDArray[np.str_], known: SurfacePairs | None) -> None:
        """Fit at rest, and keep what pairs."""
        poser = self._source_poser
        poser.shape(betas)
        still, nowhere = (
            np.zeros((len(self.source.parents), 3), np.float32),
            np.zeros(3, np.float32),
        )
        vertices = poser.pose(still, nowhere).astype(np.float64)
        mesh = PosedMesh(vertices, poser.joints_m, still)
        rows = spread_rows(self.target, self._parts)
        self._use(vertex_pairs(np.zeros(1, np.int32)))  # a body has some vertex; it counts nothing
        by_joints = replace(self._options, point_m=np.inf, joint_m=0.02, iterations=25)
        start = self._led(self._aim(mesh), self._mean_z)
        (pose,), z = self._fit([self._aim(mesh)], [start], self._mean_z, by_joints)
        surface = PartedSurface(vertices, self.source.faces, source_parts)
        for _ in range(ROUNDS if known is None else 1):
            if known is None:
                posed = self._posed(z, pose).astype(np.float64)
                self._use(surface.pairs(rows, posed, self.target.faces, self._parts))
            else:
                self._use(known.among(rows))
            if len(self.pairs.rows) < len(rows) // 2:
                raise AvatarError(
                    f"{self.target.name} does not lie on {self.source.name} at rest: only "
                    f"{len(self.pairs.rows)} of {len(rows)} points found their like; are both "
                    "bodies of people, in metres, with Y up?"
                )
            (pose,), z = self._fit([self._aim(mesh)], [pose], z, self._options)
        self._mean_z = z
        self._rest = global_turns(self.target.parents, rotation_matrices(pose.rotations))

    def _use(self, pairs: SurfacePairs) -> None:
        self.pairs = pairs
        self._confined = confined(self.target, self._space, pairs.rows)

    def _seen(self, motion: BodyMotion, n: int) -> PosedMesh:
        """Of the shape that the source's poser has; overwritten by the next call."""
        place = motion.translation_m[n]
        vertices = self._source_poser.pose(motion.rotations[n], place)
        return PosedMesh(vertices, self._source_poser.joints_m + place, motion.rotations[n])

    def _aim(self, mesh: PosedMesh) -> _Aim:
        joints = np.asarray(mesh.joints_m[self._joints.source], np.float64)
        return _Aim(PoseTarget(self.pairs.on(mesh.vertices_m), joints), mesh.rotations)

    def _led(self, aim: _Aim, z: F64) -> BodyPose:
        """The source's own turns, and the place that brings the joints nearest."""
        target, rows = self.target, self._joints.target
        turns = led_rotations(self.source, aim.rotations, target, self._rest, self._joints)
        whole = global_turns(target.parents, rotation_matrices(turns))
        body = self._confined
        rest = body.joint_template_m + (z @ body.joint_dirs_m).reshape(-1, 3)
        away = aim.target.joints_m - joint_places(target.parents, whole, rest)[rows]
        return BodyPose(turns, away.mean(axis=0))

    def _fit(
        self, aims: Sequence[_Aim], starts: Sequence[BodyPose], z: F64, options: FitOptions
    ) -> tuple[list[BodyPose], F64]:
        return fit_poses(self._confined, [aim.target for aim in aims], starts, z, options)

    def _shape_of(self, aims: Sequence[_Aim]) -> F64:
        options = replace(self._options, turn=LED_TURN, iterations=SHAPE_STEPS)
        starts = [self._led(aim, self._mean_z) for aim in aims]
        return self._fit(aims, starts, self._mean_z, options)[1]

    def _pose_of(self, aim: _Aim, z: F64) -> BodyPose:
        options = replace(self._options, turn=LED_TURN, iterations=POSE_STEPS, shape_is_free=False)
        return self._fit([aim], [self._led(aim, z)], z, options)[0][0]

    def _posed(self, z: F64, pose: BodyPose) -> F32:
        """(V', 3), overwritten by the next call."""
        self._target_poser.shape(self._space.betas(z))
        return self._target_poser.pose(
            pose.rotations.astype(np.float32), pose.translation_m.astype(np.float32)
        )

    def _measured(self, motion: BodyMotion, converted: BodyMotion) -> ConversionError:
        """Over some frames, evenly spread."""
        meter = ErrorMeter(self.source.faces, self._parts, self._joints.names, same=self._same)
        poser = self._target_poser
        poser.shape(converted.betas)
        count = len(motion.rotations)
        for n in np.unique(np.linspace(0, count - 1, MEASURED_FRAMES).astype(int)):
            mesh, place = self._seen(motion, int(n)), converted.translation_m[n]
            vertices = poser.pose(converted.rotations[n], place)
            joints = (poser.joints_m + place)[self._joints.target]
            meter.add(mesh.vertices_m, vertices, mesh.joints_m[self._joints.source], joints)
        return meter.result()


@dataclass(frozen=True, slots=True)
class _Aim:
    """What a frame of the target should agree with, and the source's (J, 3) pose."""

    target: PoseTarget
    rotations: F32
