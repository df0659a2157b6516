"""``sars eval performer``: how close the engine comes to a person whose truth is known exactly.

The performer is drawn, the real networks look at the pictures, and everything they lead to is
compared with what was drawn. The engine is given the performer's shape: this measures pose and
expression, not identity.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

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
LONGEST_LAG_FRAMES = 6
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
        joints = _joints(avatar, result.state)[self._joint_rows]
        truth = _joints(avatar, take.state)[self._joint_rows]
        series.joints.append(joints)
        series.true_joints.append(truth)
        series.joints_seen.append(_inside(truth.astype(np.float32), take))
        self._add_vertices(result, take, joints[0], truth[0])

    def _add_vertices(self, result: Result, take: Take, root: F64, true_root: F64) -> None:
        mesh = result.mesh.vertices_m.astype(np.float64)
        truth = take.mesh.vertices_m.astype(np.float64)
        seen = _inside(take.mesh.vertices_m, take)
        here, there = mesh[seen] - root, truth[seen] - true_root
        series = self._series
        series.v2v.append(_mean_distance_mm(here, there))
        series.pa_v2v.append(_mean_distance_mm(aligned(here, there, scaled=True), there))
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
        relative = joints - joints[:, :1]
        true_relative = true_joints - true_joints[:, :1]
        errors_mm = 1e3 * np.linalg.norm(relative - true_relative, axis=2)
        neutral = true.max(axis=1) < NEUTRAL
        return {
            "frames": len(series.expression),
            "expression_r2": round(1.0 - ((found - true) ** 2).sum() / (true**2).sum(), 4),
            "neutral_leak": round(float(found[neutral].mean()), 4) if neutral.any() else None,
            "neutral_frames": int(neutral.sum()),
            "correlation": _correlations(found, true),
            "mpjpe_mm": round(float(errors_mm[seen].mean()), 2),
            "v2v_mm": round(float(np.mean(series.v2v[WARM_UP_FRAMES:])), 2),
            "pa_v2v_mm": round(float(np.mean(series.pa_v2v[WARM_UP_FRAMES:])), 2),
            "face_v2v_mm": round(float(np.mean(series.face_v2v[WARM_UP_FRAMES:])), 3),
            "lag_ms": round(_lag_frames(joints, true_joints, seen) * 1e3 / 30.0, 1),
            "jitter_mm": round(_jitter_mm(joints, true_joints, seen), 3),
        }


def _joints(avatar: FusedAvatar, state: AvatarState) -> F64:
    """(J, 3) posed joints in camera space."""
    transforms = np.empty((len(avatar.parents), 3, 4), np.float32)
    forward_kinematics(state.rotations_xyzw, avatar.joints_m, avatar.parents, transforms)
    joints: F64 = (posed_joints(transforms, avatar.joints_m) + state.translation_m).astype(
        np.float64
    )
    return joints


def _inside(points_m: F32, take: Take) -> Any:
    """Which points the camera's picture contains (in front of it or hidden by others)."""
    pixels = project(points_m, take.camera)
    limit = np.array([take.camera.width, take.camera.height])
    return ((pixels >= 0) & (pixels < limit)).all(axis=1)


def _mean_distance_mm(a: F64, b: F64) -> float:
    return 1e3 * float(np.linalg.norm(a - b, axis=1).mean())


def _correlations(found: F64, true: F64) -> dict[str, float]:
    """Pearson's, of the actions that were performed."""
    result = {}
    for index, name in enumerate(ARKIT_NAMES):
        a, b = found[:, index], true[:, index]
        if b.std() > MOVED:
            value = float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 else 0.0
            result[name] = round(value, 3)
    return result


def _lag_frames(found: F64, true: F64, seen: Any) -> float:
    """Shift of the found against the true velocities that correlates best, sub-frame.

    Velocities, because a constant bias or a slow drift of depth says nothing about time.
    """
    moves, true_moves = np.diff(found, axis=0), np.diff(true, axis=0)
    lags = np.arange(-LONGEST_LAG_FRAMES, LONGEST_LAG_FRAMES + 1)
    middle = slice(LONGEST_LAG_FRAMES, len(true_moves) - LONGEST_LAG_FRAMES)
    visible = seen[1:][middle]
    likeness = [
        float((moves[middle] * np.roll(true_moves, lag, axis=0)[middle])[visible].sum())
        for lag in lags
    ]
    best = int(np.argmax(likeness))
    if best in (0, len(lags) - 1):
        return float(lags[best])
    before, at, after = likeness[best - 1 : best + 2]
    return float(lags[best]) + 0.5 * (before - after) / (before - 2 * at + after)


def _jitter_mm(found: F64, true: F64, seen: Any) -> float:
    """Root mean square frame-to-frame change of seen joints that truly rest."""
    still = 1e3 * np.linalg.norm(np.diff(true, axis=0), axis=2) < STILL_MM
    rest = still & seen[1:] & seen[:-1]
    steps = 1e3 * np.linalg.norm(np.diff(found, axis=0), axis=2)[rest]
    return float(np.sqrt((steps**2).mean())) if len(steps) else float("nan")


async def eval_performer(spec: str, frames: int, options: EngineOptions) -> dict[str, Any]:
    """Run one performance through the engine and compare.

    Args:
        spec: what follows ``performer:`` on the command line.
        frames: how many to compare.
        options: of the engine; semantics should be off, the performer's shape is given.

    Raises:
        SourceError: the performance is unknown or too short.
        GraphicsError: no OpenGL to draw it with.
    """
    performer = open_performer(spec, frames=frames)
    comparison = PerformerComparison(performer)
    with Engine.open(options) as engine, performer:
        async with engine.pipeline.run(performer, Policy.BLOCK) as results:
            async for result in results:
                comparison.add(result)
    return comparison.numbers()
