"""``sars eval performer``: how close the engine comes to a person whose truth is known exactly.

The performer is drawn, the real networks look at the pictures, and everything they lead to is
compared with what was drawn. Here the engine is given the performer's shape, so that pose and
expression are measured alone; people of whom nothing is known follow in
:mod:`benchmarks.performer_fusion`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from benchmarks.joint_errors import LONGEST_LAG_FRAMES, lag_frames
from benchmarks.similarity import aligned
from engine.avatar.topology import FusedAvatar, Region
from engine.body.kinematics import forward_kinematics, posed_joints
from engine.engine import Engine, EngineOptions
from engine.errors import SourceError
from engine.pipeline import Result
from engine.rendering.projection import project
from engine.slot import Policy
from engine.sources.performer import Performer, Take, open_performer
from engine.types import ARKIT_NAMES, F32, F64, AvatarState

WARM_UP_FRAMES = 10
FEWEST_ALIGNED = 4
"""With fewer points an alignment explains everything."""
STILL_MM = 1.0
"""A joint that truly moves less than this per frame is at rest."""
MOVED = 0.02
"""Standard deviation from which an action counts as performed."""
NEUTRAL = 0.05
"""A true face whose strongest action is below this is neutral."""
BODY_JOINTS = (
    "root", "upperleg01.L", "lowerleg01.L", "foot.L", "upperleg01.R", "lowerleg01.R", "foot.R",
    "spine03", "neck01", "head", "upperarm01.L", "lowerarm01.L", "wrist.L", "upperarm01.R",
    "lowerarm01.R", "wrist.R",
)  # fmt: skip


@dataclass
class _Series:
    """What is kept of every frame."""

    expression: list[F32] = field(default_factory=list)
    true_expression: list[F32] = field(default_factory=list)
    joints: list[F64] = field(default_factory=list)
    true_joints: list[F64] = field(default_factory=list)
    joints_seen: list[Any] = field(default_factory=list)
    v2v: list[float] = field(default_factory=list)
    pa_v2v: list[float] = field(default_factory=list)
    face_v2v: list[float] = field(default_factory=list)


class PerformerComparison:
    """Adds frames up; millimetres and fractions at the end."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer
        avatar = performer.avatar
        self._joint_rows = [avatar.joint_names.index(name) for name in BODY_JOINTS]
        self._face = avatar.topology.regions == Region.FACE
        self._series = _Series()

    def add(self, result: Result) -> None:
        """Compare one frame with its truth."""
        take = self._performer.truth(result.frame.index)
        series = self._series
        series.expression.append(result.state.expression.copy())
        series.true_expression.append(take.state.expression.copy())
        avatar = self._performer.avatar
        joints = posed(avatar, result.state)[self._joint_rows]
        truth = posed(avatar, take.state)[self._joint_rows]
        series.joints.append(joints)
        series.true_joints.append(truth)
        series.joints_seen.append(inside(truth.astype(np.float32), take))
        self._add_vertices(result, take)

    def _add_vertices(self, result: Result, take: Take) -> None:
        """Of what the picture shows; a webcam shows no hips, so nothing hangs on the root."""
        mesh = result.mesh.vertices_m.astype(np.float64)
        truth = take.mesh.vertices_m.astype(np.float64)
        seen = inside(take.mesh.vertices_m, take)
        series = self._series
        if seen.sum() >= FEWEST_ALIGNED:
            here, there = mesh[seen], truth[seen]
            series.v2v.append(_mean_distance_mm(here - here.mean(0), there - there.mean(0)))
            series.pa_v2v.append(_mean_distance_mm(aligned(here, there, scaled=True), there))
        else:
            series.v2v.append(math.nan)
            series.pa_v2v.append(math.nan)
        face, true_face = mesh[self._face], truth[self._face]
        rigid = aligned(face, true_face, scaled=False)
        series.face_v2v.append(_mean_distance_mm(rigid, true_face))

    def numbers(self) -> dict[str, Any]:
        """The report.

        Raises:
            SourceError: fewer frames than a comparison needs.
        """
        series = self._series
        if len(series.expression) <= WARM_UP_FRAMES + 2 * LONGEST_LAG_FRAMES:
            raise SourceError("the performance is too short to be compared")
        found = np.array(series.expression[WARM_UP_FRAMES:], np.float64)
        true = np.array(series.true_expression[WARM_UP_FRAMES:], np.float64)
        joints = np.array(series.joints[WARM_UP_FRAMES:])
        true_joints = np.array(series.true_joints[WARM_UP_FRAMES:])
        seen = np.array(series.joints_seen[WARM_UP_FRAMES:])
        neutral = true.max(axis=1) < NEUTRAL
        lag = lag_frames(joints, true_joints, seen)
        return {
            "frames": len(series.expression),
            "expression_r2": _explained(found, true),
            "neutral_leak": _mean(found[neutral], 4),
            "neutral_frames": int(neutral.sum()),
            "correlation": _correlations(found, true),
            "mpjpe_mm": _mean(errors_mm(joints, true_joints, seen), 2),
            "v2v_mm": _mean(series.v2v[WARM_UP_FRAMES:], 2),
            "pa_v2v_mm": _mean(series.pa_v2v[WARM_UP_FRAMES:], 2),
            "face_v2v_mm": _mean(series.face_v2v[WARM_UP_FRAMES:], 3),
            "lag_ms": None if lag is None else round(lag * 1e3 / self._performer.fps, 1),
            "jitter_mm": _jitter_mm(joints, true_joints, seen),
        }


def posed(avatar: FusedAvatar, state: AvatarState) -> F64:
    """(J, 3) posed joints in camera space."""
    transforms = np.empty((len(avatar.parents), 3, 4), np.float32)
    forward_kinematics(state.rotations_xyzw, avatar.joints_m, avatar.parents, transforms)
    joints: F64 = (posed_joints(transforms, avatar.joints_m) + state.translation_m).astype(
        np.float64
    )
    return joints


def inside(points_m: F32, take: Take) -> Any:
    """Which points the camera's picture contains (in front of it or hidden by others)."""
    pixels = project(points_m, take.camera)
    limit = np.array([take.camera.width, take.camera.height])
    return ((pixels >= 0) & (pixels < limit)).all(axis=1)


def _mean_distance_mm(a: F64, b: F64) -> float:
    return 1e3 * float(np.linalg.norm(a - b, axis=1).mean())


def _mean(values: Any, digits: int) -> float | None:
    """Mean of the numbers that are some; ``None`` where there are none."""
    array = np.asarray(values, np.float64)
    array = array[np.isfinite(array)]
    return round(float(array.mean()), digits) if array.size else None


def _explained(found: F64, true: F64) -> float | None:
    """Explained variance against the all-zero answer; ``None`` where zero is the truth."""
    power = float((true**2).sum())
    return round(1.0 - float(((found - true) ** 2).sum()) / power, 4) if power > 0.0 else None


def errors_mm(found: F64, true: F64, seen: Any) -> F64:
    """(N,) errors of all seen joints, each frame's about the middle of those it shows."""
    shown = seen[..., None]
    count = np.maximum(shown.sum(axis=1, keepdims=True), 1)
    middle, true_middle = ((shown * j).sum(axis=1, keepdims=True) / count for j in (found, true))
    errors: F64 = 1e3 * np.linalg.norm((found - middle) - (true - true_middle), axis=2)
    # One joint alone is its own middle, and never wrong.
    return np.asarray(errors[seen & (seen.sum(axis=1, keepdims=True) > 1)])


def _correlations(found: F64, true: F64) -> dict[str, float]:
    """Pearson's, of the actions that were performed."""
    result = {}
    for index, name in enumerate(ARKIT_NAMES):
        a, b = found[:, index], true[:, index]
        if b.std() > MOVED:
            value = float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 else 0.0
            result[name] = round(value, 3)
    return result


def _jitter_mm(found: F64, true: F64, seen: Any) -> float | None:
    """Root mean square frame-to-frame change of the error of seen joints that truly rest."""
    still = 1e3 * np.linalg.norm(np.diff(true, axis=0), axis=2) < STILL_MM
    rest = still & seen[1:] & seen[:-1]
    steps = 1e3 * np.linalg.norm(np.diff(found - true, axis=0), axis=2)[rest]
    return round(float(np.sqrt((steps**2).mean())), 3) if len(steps) else None


async def eval_performer(spec: str, frames: int, options: EngineOptions) -> dict[str, Any]:
    """Run one performance through the engine and compare.

    Args:
        spec: what follows ``performer:`` on the command line.
        frames: how many to compare.
        options: of the engine; its identity stays as it starts, the performer's own.

    Raises:
        SourceError: the performance is unknown or too short.
        GraphicsError: no OpenGL to draw it with.
    """
    performer = open_performer(spec, frames=frames)
    comparison = PerformerComparison(performer)
    with Engine.open(replace(options, identity=False)) as engine, performer:
        async with engine.pipeline.run(performer, Policy.BLOCK) as results:
            async for result in results:
                comparison.add(result)
    return comparison.numbers()
