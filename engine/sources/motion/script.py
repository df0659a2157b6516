"""Scripted acting of the body: sway, head, waving, counting on fingers, squatting, stepping."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine import quaternions as quat
from engine.sources.motion.acting import bump, expression_at
from engine.sources.motion.motion import Moment
from engine.sources.motion.skeleton import Skeleton, Turns, frame_of, local_rotations, turn_between
from engine.types import F64

ROUND_S = 24.0
BOW = 0.7

# Person-relative directions for the left side: +x out to the left, +y up, +z forward.
Arm = tuple[tuple[float, float, float], ...]
"""Upper arm, forearm, fingers, palm."""
HANGING: Arm = ((0.22, -1.0, 0.02), (0.10, -1.0, 0.30), (0.05, -1.0, 0.30), (-1.0, 0.0, 0.2))
HANDS_UP: Arm = ((0.38, -1.0, 0.25), (0.12, 1.0, 0.42), (0.05, 1.0, 0.15), (0.05, -0.1, 1.0))
WAVING: Arm = ((0.45, -0.80, 0.25), (-0.10, 1.0, 0.30), (0.05, 1.0, 0.10), (0.0, -0.1, 1.0))
WAVING_OUT: Arm = ((0.50, -0.75, 0.25), (0.40, 1.0, 0.30), (0.45, 1.0, 0.10), (0.0, -0.1, 1.0))
SIDEWAYS: Arm = ((1.0, -0.10, 0.10), (1.0, 0.05, 0.30), (1.0, 0.0, 0.2), (0.0, -1.0, 0.2))
OVERHEAD: Arm = ((0.50, 1.0, 0.10), (0.15, 1.0, 0.18), (0.1, 1.0, 0.1), (-0.3, 0.0, 1.0))
FORWARD: Arm = ((0.15, -0.35, 1.0), (-0.05, 0.10, 1.0), (0.0, 0.2, 1.0), (-1.0, -0.2, 0.0))

# (start, end) seconds in each round.
HEAD_TURN, HEAD_NOD, HEAD_TILT = (0.5, 4.5), (4.5, 7.0), (7.0, 9.5)
COUNT, WAVE_RIGHT, WAVE_LEFT = (1.0, 9.0), (10.0, 14.0), (14.5, 18.0)
SPREAD, RAISE, SQUAT, STEP = (18.0, 23.5), (19.2, 22.3), (9.0, 13.0), (14.0, 18.0)


def _share(seconds: float, part: tuple[float, float], edge: float = 0.2) -> float:
    start, end = part
    phase = (seconds - start) / (end - start)
    return bump(phase, edge) if 0.0 < phase < 1.0 else 0.0


def _unit(vector: NDArray[np.floating[Any]]) -> F64:
    return np.asarray(vector / np.linalg.norm(vector))


def _mix(a: Arm | F64, b: Arm | F64, share: float) -> F64:
    """(4, 3) directions on the way from one arm pose to another."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    first = first / np.linalg.norm(first, axis=1, keepdims=True)
    second = second / np.linalg.norm(second, axis=1, keepdims=True)
    between = first + share * (second - first)
    # Opposite directions meet in nothing half-way: hands come up in front of the person.
    between[1:3, 2] += 4.0 * share * (1.0 - share) * BOW
    return np.asarray(between)


class ScriptedMotion:
    """Acts for ever; every round of ``duration_s`` has all of its parts.

    ``full`` adds what only a standing person shows: squats, steps, wide and high arms.
    """

    def __init__(self, skeleton: Skeleton, seed: int = 0, *, full: bool = False) -> None:
        self.duration_s = ROUND_S
        self._skeleton = skeleton
        self._seed = seed
        self._full = full
        rng = np.random.default_rng([seed, 0x5C1])
        self._phase = rng.uniform(0, 2 * np.pi, 6)
        self._size = rng.uniform(0.8, 1.1, 3) if seed else np.ones(3)

    def at(self, seconds: float) -> Moment:
        """The pose at a time since the start."""
        moment = seconds % ROUND_S
        turns = self._trunk(seconds, moment)
        root = self._legs(turns, moment)
        for side in (".L", ".R"):
            self._arm(turns, side, seconds, moment)
        rotations = local_rotations(self._skeleton, turns, self._curls(moment))
        return Moment(rotations, root.astype(np.float32), expression_at(seconds, self._seed))

    def _trunk(self, seconds: float, moment: float) -> Turns:
        sway = np.sin(seconds * np.array([0.9, 0.7, 1.3, 0.5, 0.8, 1.1]) + self._phase)
        turn = np.sin((moment - HEAD_TURN[0]) * np.pi / 2.0) * _share(moment, HEAD_TURN)
        nod = np.sin((moment - HEAD_NOD[0]) * np.pi / 1.25) * _share(moment, HEAD_NOD)
        tilt = np.sin((moment - HEAD_TILT[0]) * np.pi / 1.25) * _share(moment, HEAD_TILT)
        squat = _share(moment, SQUAT) if self._full else 0.0
        pelvis = np.array([0.02 * sway[0] + 0.25 * squat, 0.05 * sway[1], 0.015 * sway[2]])
        chest = pelvis + np.array([0.02 * sway[3], 0.05 * sway[4], 0.02 * sway[5]])
        head = np.array(
            [
                0.04 * sway[1] + 0.30 * nod * self._size[0],
                0.06 * sway[0] + 0.60 * turn * self._size[1],
                0.03 * sway[3] + 0.28 * tilt * self._size[2],
            ]
        )
        rows = {"pelvis": pelvis, "chest": chest, "head": chest * 0.5 + head}
        return {name: quat.from_rotation_vector(row) for name, row in rows.items()}

    def _arm(self, turns: Turns, side: str, seconds: float, moment: float) -> None:
        directions = self._arm_directions(side, seconds, moment)
        if side == ".R":
            directions = directions * np.array([-1.0, 1.0, 1.0])
        chest = turns["chest"]
        upper, fore, fingers, palm = (_unit(quat.rotate(chest, row)) for row in directions)
        rest_upper, rest_fore, rest_hand = self._skeleton.arm_frames[side]
        hinge = np.cross(upper, fore)
        turns["upperarm" + side] = turn_between(rest_upper, frame_of(upper, hinge))
        turns["forearm" + side] = turn_between(rest_fore, frame_of(fore, hinge))
        turns["hand" + side] = turn_between(rest_hand, frame_of(fingers, palm))

    def _arm_directions(self, side: str, seconds: float, moment: float) -> F64:
        """(4, 3) as if for the left side."""
        pose = _mix(HANGING, HANDS_UP, _share(moment, COUNT, 0.12))
        wave = _share(moment, WAVE_RIGHT if side == ".R" else WAVE_LEFT, 0.3)
        beat = 0.5 + 0.5 * np.sin(seconds * 2.0 * np.pi * 0.9)
        pose = _mix(pose, _mix(WAVING, WAVING_OUT, beat), wave)
        if self._full:
            pose = _mix(pose, SIDEWAYS, _share(moment, SPREAD, 0.2))
            pose = _mix(pose, OVERHEAD, _share(moment, RAISE, 0.3))
            pose = _mix(pose, FORWARD, 0.9 * _share(moment, SQUAT) * (1.0 - wave))
        else:
            pose = _mix(pose, HANDS_UP, _share(moment, SPREAD))
        return pose

    def _curls(self, moment: float) -> F64:
        """(2, 5): relaxed, then closing one by one from the little finger, then opening."""
        count = _share(moment, COUNT, 0.12)
        relaxed = 0.18 * (1.0 - count)
        phase = (moment - COUNT[0] - 1.0) / (COUNT[1] - COUNT[0] - 2.0)
        closed = np.array(
            [bump(np.clip((phase - 0.09 * k) / (1.0 - 0.18 * k), 0.0, 1.0), 0.12) for k in range(5)]
        )
        own = relaxed + 0.9 * closed[::-1] * count
        fist = 0.8 * _share(moment, RAISE, 0.4) if self._full else 0.0
        return np.stack([np.maximum(own, fist)] * 2)

    def _legs(self, turns: Turns, moment: float) -> F64:
        """Pose both legs; returns the root's movement that keeps the standing foot down."""
        squat = _share(moment, SQUAT) * 0.9 if self._full else 0.0
        phase = (moment - STEP[0]) * np.pi
        step = _share(moment, STEP) if self._full else 0.0
        sinks = []
        for side, sign in ((".L", 1.0), (".R", -1.0)):
            lift = step * max(sign * np.sin(phase), 0.0)
            sinks.append(self._leg(turns, side, sign, squat, lift))
        return np.array([0.0, -min(sinks), -0.10 * squat])

    def _leg(self, turns: Turns, side: str, sign: float, squat: float, lift: float) -> float:
        """Returns by how much the hip comes down when this foot stays on the ground."""
        hip, knee, ankle = (
            self._skeleton[f"{name}{side}"] for name in ("upperleg01", "lowerleg01", "foot")
        )
        bend = 1.1 * squat + 0.7 * lift
        thigh = quat.from_rotation_vector(np.array([-bend, 0.25 * sign * squat, 0.0]))
        shin = quat.from_rotation_vector(np.array([0.75 * squat + 0.45 * lift, 0.0, 0.0]))
        turns["thigh" + side], turns["shin" + side] = thigh, shin
        turns["foot" + side] = quat.from_rotation_vector(np.array([0.35 * lift, 0.0, 0.0]))
        posed = quat.rotate(thigh, knee - hip) + quat.rotate(shin, ankle - knee)
        return float(posed[1] - (ankle - hip)[1])
