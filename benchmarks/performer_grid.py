"""``sars eval performer --grid DIR``: recorded motions on different people before two cameras.

The engine is given each person's phenotypes, as it is in ``sars eval performer``; what is measured
is the pose. The second camera stands to the side: the person is turned by as much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.foresight import AHEAD_FRAMES, Foresight
from benchmarks.joint_errors import root_mean_square_step_mm
from benchmarks.performer import BODY_JOINTS, WARM_UP_FRAMES, PerformerComparison, posed
from engine import quaternions
from engine.engine import Engine, EngineOptions
from engine.errors import SourceError
from engine.slot import Policy
from engine.sources.bvh import read_bvh
from engine.sources.motion.motion import Moment, Motion
from engine.sources.motion.retarget import MocapMotion
from engine.sources.motion.skeleton import Skeleton
from engine.sources.performer import Performer, PerformerOptions, person, phenotypes_of
from engine.types import F64, Frame

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
REST_AT_S = {MOTIONS[0]: 1.0, MOTIONS[3]: 2.0, MOTIONS[4]: 1.0}
"""Moments of motions at which somebody stands still, for calm at rest."""
REST_FRAMES = 70
CAMERA_NOISE = 2.5
"""Grey levels, as of a webcam indoors: without noise whoever rests is the same picture again."""
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


@dataclass(frozen=True, slots=True)
class Resting:
    """One moment of a motion, held."""

    moment: Moment
    duration_s: float = REST_FRAMES / 30.0

    def at(self, _: float) -> Moment:
        """The same at all times."""
        return self.moment


class NoisyCamera(Performer):
    """A performer before a camera whose pixels tremble."""

    def __iter__(self) -> Iterator[Frame]:
        rng = np.random.default_rng(0)
        for frame in super().__iter__():
            noise = rng.normal(0.0, CAMERA_NOISE, frame.image.shape)
            yield replace(frame, image=np.clip(frame.image + noise, 0, 255).astype(np.uint8))


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
    rest: dict[str, float] = {}
    for seed in SEEDS:
        own = replace(options, identity=False, phenotypes=phenotypes_of(seed))
        with Engine.open(own) as engine:
            for name in MOTIONS:
                for camera, degrees in CAMERAS.items():
                    key = f"{Path(name).stem}.{seed}.{camera}"
                    performer = _performer(folder / name, seed, degrees, frames)
                    runs[key] = await _run(engine, performer)
                    on_run(len(runs) + len(rest))
                    if name in REST_AT_S:
                        seconds = REST_AT_S[name]
                        rest[key] = await _rest(engine, folder / name, seed, degrees, seconds)
                        on_run(len(runs) + len(rest))
    keys = ("mpjpe_mm", "v2v_mm", "lag_ms", "jitter_mm")
    total = {key: _over([run[key] for run in runs.values()]) for key in keys}
    total["rest_jitter_mm"] = _over(list(rest.values())) | {
        "median": round(float(np.median(list(rest.values()))), 2)
    }
    wrong = {"wrong_limb_frames": sum(run["wrong_limb_frames"] for run in runs.values())}
    ahead = {
        f"{kind}_mm": _over([run["ahead"][kind] for run in runs.values()])
        for kind in ("shown", "predicted")
    } | {"frames": AHEAD_FRAMES}
    frames = sum(run["frames"] for run in runs.values())
    return total | wrong | {"frames": frames, "ahead": ahead, "rest": rest, "runs": runs}


async def _rest(engine: Engine, path: Path, seed: int, degrees: float, seconds: float) -> float:
    """How much the joints of somebody who stands still move from frame to frame, mm."""
    avatar = person(seed)
    motion = Turned(MocapMotion(read_bvh(path), Skeleton.of(avatar)), degrees)
    still = Resting(motion.at(seconds))
    options = PerformerOptions(framing="full", seed=seed, frames=REST_FRAMES)
    rows = [avatar.joint_names.index(name) for name in BODY_JOINTS]
    with NoisyCamera(avatar, still, options) as performer:
        async with engine.pipeline.run(performer, Policy.BLOCK, pose=False) as results:
            joints = [posed(avatar, result.state)[rows] async for result in results]
    return round(root_mean_square_step_mm(np.array(joints[WARM_UP_FRAMES:])), 2)


async def _run(engine: Engine, performer: Performer) -> dict[str, Any]:
    comparison, limbs = PerformerComparison(performer), LimbWatch(performer)
    foresight = Foresight(performer)
    rows = [performer.avatar.joint_names.index(name) for name in BODY_JOINTS]
    with performer:
        async with engine.pipeline.run(performer, Policy.BLOCK) as results:
            async for result in results:
                comparison.add(result)
                joints = posed(performer.avatar, result.state)[rows]
                limbs.add(result.frame.index, joints)
                foresight.add(result.state)
    numbers = comparison.numbers()
    kept = ("frames", "mpjpe_mm", "v2v_mm", "pa_v2v_mm", "lag_ms", "jitter_mm")
    shown, predicted = (round(error, 2) for error in foresight.errors_mm())
    return {name: numbers[name] for name in kept} | {
        "wrong_limb_frames": limbs.wrong,
        "ahead": {"shown": shown, "predicted": predicted},
    }


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
