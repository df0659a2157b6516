"""How the joints of one body model follow those of another: by name, and by a pose that fits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine import quaternions
from engine.avatar.joint_names import canonical_name
from engine.avatar.parametric_body import ParametricBody
from engine.types import F32, F64, I32

LOOSE = frozenset({
    "pelvis", "left_hip", "right_hip", "spine1", "spine2", "spine3", "left_collar", "right_collar",
    "left_foot", "right_foot", "left_eye", "right_eye",
})  # fmt: skip
"""Joints whose places are a model's own convention more than anatomy."""
NOBODY = -1


@dataclass(frozen=True, slots=True)
class JointPairs:
    """Rows of both models' joints."""

    source: I32
    """(K,) joints that lie in the same place of the body ..."""
    target: I32
    """(K,) ... as these."""
    names: tuple[str, ...]
    """(K,) what SMPL-X calls them."""
    leaders: I32
    """(J',) the source's joint that each of the target's turns with, -1 where there is none."""

    @staticmethod
    def of(source: ParametricBody, target: ParametricBody) -> JointPairs:
        """Pair them by name; of a chain of joints the first has the place, the last the turn."""
        firsts, lasts = _ends(source)
        places, _ = _ends(target)
        shared = [name for name in places if name in firsts and name not in LOOSE]
        if places.keys() == firsts.keys() and len(source.parents) == len(target.parents):
            shared = list(places)
        own = {name: row for row, name in enumerate(source.joint_names)}
        leaders = [
            own.get(name, lasts.get(canonical_name(name) or "", NOBODY))
            for name in target.joint_names
        ]
        return JointPairs(
            np.array([firsts[name] for name in shared], np.int32),
            np.array([places[name] for name in shared], np.int32),
            tuple(shared),
            np.array(leaders, np.int32),
        )


def _ends(body: ParametricBody) -> tuple[dict[str, int], dict[str, int]]:
    """For each of SMPL-X's names the first and the last joint in its place."""
    firsts: dict[str, int] = {}
    lasts: dict[str, int] = {}
    names = [canonical_name(name) for name in body.joint_names]
    for row, name in enumerate(names):
        if name is not None:
            firsts.setdefault(name, row)
            lasts[name] = row
    return firsts, lasts


def led_rotations(
    source: ParametricBody, rotations: F32, target: ParametricBody, rest: F64, pairs: JointPairs
) -> F64:
    """(J', 3) the target's pose that turns with the source's.

    Args:
        source: the model that leads.
        rotations: (J, 3) its pose.
        target: the model that follows.
        rest: (J', 3, 3) how the target's joints are turned, in its own axes, where the source's
            are at rest.
        pairs: who leads whom. A joint without a leader keeps its rest turn to its parent.
    """
    leading = global_turns(source.parents, rotation_matrices(rotations))
    whole = np.empty_like(rest)
    for j, (leader, parent) in enumerate(zip(pairs.leaders, target.parents, strict=True)):
        if leader >= 0:
            whole[j] = leading[leader] @ rest[j]
        else:
            whole[j] = whole[parent] @ rest[parent].T @ rest[j] if parent >= 0 else rest[j]
    local = whole.copy()
    local[1:] = whole[target.parents[1:]].transpose(0, 2, 1) @ whole[1:]
    return np.asarray(quaternions.to_rotation_vector(quaternions.from_matrix(local)), np.float64)


def rotation_matrices(rotations: F32 | F64) -> F64:
    """(J, 3, 3) of (J, 3) axis-angle."""
    turns = quaternions.from_rotation_vector(np.asarray(rotations, np.float64))
    return np.asarray(quaternions.to_matrix(turns), np.float64)


def global_turns(parents: I32, local: F64) -> F64:
    """(J, 3, 3) each joint's turn in the model's own axes."""
    whole = local.copy()
    for j in range(1, len(parents)):
        whole[j] = whole[parents[j]] @ local[j]
    return whole


def joint_places(parents: I32, whole: F64, joints_m: F64) -> F64:
    """(J, 3) of joints whose rest places are ``joints_m`` and whose turns are ``whole``."""
    places = joints_m.astype(np.float64).copy()
    for j in range(1, len(parents)):
        p = parents[j]
        places[j] = places[p] + whole[p] @ (joints_m[j] - joints_m[p])
    return places
