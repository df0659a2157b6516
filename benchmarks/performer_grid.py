"""``sars eval performer --grid DIR``: recorded motions on different people before two cameras.

The engine is given each person's phenotypes, as it is in ``sars eval performer``; what is measured
is the pose. The second camera stands to the side: the person is turned by as much.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.performer import BODY_JOINTS, PerformerComparison, posed
from engine import quaternions
from engine.engine import Engine, EngineOptions
from engine.errors import SourceError
from engine.slot import Policy
from engine.sources.bvh import read_bvh
from engine.sources.motion.motion import Moment, Motion
from engine.sources.motion.retarget import MocapMotion
from engine.sources.motion.skeleton import Skeleton
from engine.sources.performer import Performer, PerformerOptions, person, phenotypes_of
from engine.types import F64

MOTIONS = (
    "AnimatedDrawings/fair1/wave_hello.bvh",
    "AnimatedDrawings/fair1/dab.bvh",
    "AnimatedDrawings/cmu1/jumping_jacks.bvh",
    "AnimatedDrawings/rokoko/jesse_dance.bvh",
    "cmu/02_01.bvh",
)
SEEDS = (0, 3, 7)
CAMERAS = {"front": 0.0, "side": 40.0}
"""Degrees by which the person is turned from the camera."""
FRAMES = 90
SWAP_M = 0.1
"""So much nearer to the other side's truth, a limb's joints on average, is the wrong limb."""
LIMBS = (("lowerarm01", "wrist"), ("lowerleg01", "foot"))


@dataclass(frozen=True, slots=True)
class Turned:
    """A motion by somebody who stands turned from the camera."""

    motion: Motion
    degrees: float

    @property
    def duration_s(self) -> float:
        """As of the motion."""
        return self.motion.duration_s

    def at(self, seconds: float) -> Moment:
        """The same pose, turned about the vertical through the root's place at rest."""
        moment = self.motion.at(seconds)
        turn = quaternions.from_rotation_vector(np.array([0.0, np.radians(self.degrees), 0.0]))
        rotations = moment.rotations_xyzw.copy()
        rotations[0] = quaternions.multiply(turn, rotations[0].astype(np.float64))
        root = quaternions.rotate(turn, moment.root_m.astype(np.float64))
        return replace(moment, rotations_xyzw=rotations, root_m=np.asarray(root, np.float32))


class LimbWatch:
    """Counts frames in which a limb lies where the other side's should be."""

    def __init__(self, performer: Performer) -> None:
        self._performer = performer
        self.wrong = 0

    def add(self, index: int, joints: F64) -> None:
        """Compare (16, 3) BODY_JOINTS of one frame with the truth, about the root."""
        true = posed(self._performer.avatar, self._performer.truth(index).state)
        rows = [self._performer.avatar.joint_names.index(name) for name in BODY_JOINTS]
        self.wrong += is_swapped(joints, true[rows])


def is_swapped(found: F64, true: F64) -> bool:
    """Whether an arm's or leg's two outer joints fit the other side's truth clearly better.

    Args:
        found: (16, 3) BODY_JOINTS.
        true: (16, 3).
    """
    found, true = found - found[0], true - true[0]
    for limb in LIMBS:
        left, right = ([BODY_JOINTS.index(name + side) for name in limb] for side in (".L", ".R"))
        own = _apart(found, true, left, left) + _apart(found, true, right, right)
        other = _apart(found, true, left, right) + _apart(found, true, right, left)
        if own > other + 2.0 * SWAP_M:
            return True
    return False


def _apart(found: F64, true: F64, rows: list[int], other: list[int]) -> float:
    return float(np.linalg.norm(found[rows] - true[other], axis=1).mean())


async def eval_grid(
    folder: Path,
    options: EngineOptions,
    frames: int = FRAMES,
    on_run: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Every motion by every person before both cameras.

    Args:
        folder: with the files of MOTIONS.
        options: of the engine; identities stay as they start.
        frames: of each run at most.
        on_run: told how many runs are done.

    Raises:
        SourceError: a motion is missing or cannot be read.
        GraphicsError: no OpenGL to draw with.
    """
    missing = [name for name in MOTIONS if not (folder / name).is_file()]
    if missing:
        raise SourceError(f"expected the motion {missing[0]} in {folder}, found none")
    runs: dict[str, dict[str, Any]] = {}
    for seed in SEEDS:
        own = replace(options, identity=False, phenotypes=phenotypes_of(seed))
        with Engine.open(own) as engine:
            for name in MOTIONS:
                for camera, degrees in CAMERAS.items():
                    performer = _performer(folder / name, seed, degrees, frames)
                    runs[f"{Path(name).stem}.{seed}.{camera}"] = await _run(engine, performer)
                    on_run(len(runs))
    keys = ("mpjpe_mm", "v2v_mm", "lag_ms", "jitter_mm")
    total = {key: _over([run[key] for run in runs.values()]) for key in keys}
    wrong = {"wrong_limb_frames": sum(run["wrong_limb_frames"] for run in runs.values())}
    return total | wrong | {"frames": sum(run["frames"] for run in runs.values()), "runs": runs}


async def _run(engine: Engine, performer: Performer) -> dict[str, Any]:
    comparison, limbs = PerformerComparison(performer), LimbWatch(performer)
    rows = [performer.avatar.joint_names.index(name) for name in BODY_JOINTS]
    with performer:
        async with engine.pipeline.run(performer, Policy.BLOCK) as results:
            async for result in results:
                comparison.add(result)
                joints = posed(performer.avatar, result.state)[rows]
                limbs.add(result.frame.index, joints)
    numbers = comparison.numbers()
    kept = ("frames", "mpjpe_mm", "v2v_mm", "pa_v2v_mm", "lag_ms", "jitter_mm")
    return {name: numbers[name] for name in kept} | {"wrong_limb_frames": limbs.wrong}


def _performer(path: Path, seed: int, degrees: float, frames: int) -> Performer:
    avatar = person(seed)
    motion = Turned(MocapMotion(read_bvh(path), Skeleton.of(avatar)), degrees)
    options = PerformerOptions(framing="full", seed=seed, frames=frames)
    own = max(1, int(motion.duration_s * options.fps))
    return Performer(avatar, motion, replace(options, frames=min(frames, own)))


def _over(values: list[float | None]) -> dict[str, float]:
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return {}
    return {"mean": round(float(known.mean()), 2), "worst": round(float(known.max()), 2)}
