"""The unknowns of the fit: anatomical angles of Anny's joints, with their limits and habits.

Axes come from the rest skeleton of the person at hand, so they follow every body shape. The left
side is written down; the right side is its mirror image in x = 0 (a rotation axis (x, y, z)
mirrors to (x, -y, -z)), so equal angles are equal movements on both sides.
Angles are zero in Anny's rest pose: arms 45 degrees down with elbows bent by about 50 degrees.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from engine.body.gauss_newton import Chain
from engine.types import F64, I32

SIDES = (".L", ".R")
FINGERS = range(2, 6)


@dataclass(frozen=True, slots=True)
class Angle:
    """One unknown and what is known about it beforehand."""

    name: str
    lower: float
    """Joint limit, radians."""
    upper: float
    habit: float
    """The angle a relaxed person has."""
    spread: float
    """Standard deviation around the habit."""
    pace: float
    """Standard deviation of the change from one frame to the next, radians (or metres)."""


@dataclass(frozen=True, slots=True)
class Term:
    """``share`` times angle ``name`` turns ``joint`` about ``axis`` as part of factor ``order``."""

    joint: str
    order: int
    name: str
    axis: F64
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class AngleModel:
    """A chain with its named unknowns."""

    chain: Chain
    angles: tuple[Angle, ...]
    index: dict[str, int]
    columns: dict[str, F64]

    def column(self, field: str) -> F64:
        """(N,) one number of every angle, such as ``lower``; read-only."""
        return self.columns[field]


@dataclass(frozen=True, slots=True)
class RestJoints:
    """Rest positions by joint name."""

    names: tuple[str, ...]
    positions_m: F64

    def __getitem__(self, name: str) -> F64:
        return np.asarray(self.positions_m[self.names.index(name)])


def unit(vector: F64) -> F64:
    """The vector's direction; a zero vector stays zero."""
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-9))


def _perpendicular(vector: F64, axis: F64) -> F64:
    return unit(vector - axis * float(vector @ axis))


X, Y, Z = np.eye(3)


def _angle(name: str, low: float, high: float, habit: float, spread: float, pace: float) -> Angle:
    low, high, habit, spread, pace = np.radians([low, high, habit, spread, pace]).tolist()
    return Angle(name, low, high, habit, spread, pace)


# Degrees: name, lower and upper limit, habit, spread, pace per frame. Limits after the ranges of
# motion of Kapandji, *The Physiology of the Joints*, relative to Anny's rest pose.
TRUNK = (
    ("lumbar_bend", -20, 60, 0, 9, 3), ("lumbar_turn", -20, 20, 0, 6, 3),
    ("lumbar_lean", -25, 25, 0, 6, 3),
    ("thorax_bend", -15, 30, 0, 7, 3), ("thorax_turn", -30, 30, 0, 8, 3),
    ("thorax_lean", -20, 20, 0, 6, 3),
    ("neck_bend", -35, 35, 0, 12, 6), ("neck_turn", -45, 45, 0, 15, 6),
    ("neck_lean", -30, 30, 0, 10, 6),
    ("head_bend", -25, 25, 0, 8, 6), ("head_turn", -40, 40, 0, 12, 6),
    ("head_lean", -20, 20, 0, 8, 6),
)  # fmt: skip
LIMBS = (
    ("clavicle_raise", -8, 35, 0, 9, 4), ("clavicle_forward", -15, 20, 0, 8, 4),
    ("arm_raise", -70, 145, -33, 42, 10), ("arm_forward", -55, 135, 8, 38, 10),
    ("arm_twist", -95, 95, 0, 35, 5),
    ("elbow", -50, 105, -30, 50, 12), ("forearm_twist", -95, 95, 0, 40, 6),
    ("wrist_bend", -75, 85, 0, 25, 6), ("wrist_deviate", -40, 30, 0, 14, 4),
    ("leg_forward", -35, 125, 0, 30, 10), ("leg_out", -40, 55, -5, 15, 8),
    ("leg_twist", -50, 50, 0, 15, 6),
    ("knee", -8, 145, 0, 48, 12), ("ankle_bend", -30, 50, 0, 12, 8),
    ("ankle_roll", -25, 25, 0, 8, 6),
)  # fmt: skip
SHARES = {
    "lumbar": (("spine05", 1 / 3), ("spine04", 1 / 3), ("spine03", 1 / 3)),
    "thorax": (("spine02", 0.5), ("spine01", 0.5)),
    "neck": (("neck01", 1 / 3), ("neck02", 1 / 3), ("neck03", 1 / 3)),
    "head": (("head", 1.0),),
}
"""How a bend is spread over a chain of bones, so that no single one folds."""
COUPLINGS = (
    ("thorax_bend", 0.6, "lumbar_bend", 8.0), ("thorax_turn", 1.3, "lumbar_turn", 8.0),
    ("thorax_lean", 0.8, "lumbar_lean", 8.0),
    ("head_bend", 0.6, "neck_bend", 8.0), ("head_turn", 0.8, "neck_turn", 10.0),
    ("head_lean", 0.6, "neck_lean", 8.0),
)  # fmt: skip
"""(angle, ratio, other, degrees): neighbours in the spine share a movement."""


def body_model(names: Sequence[str], joints_m: F64, parents: I32) -> AngleModel:
    """The body without fingers: 6 root unknowns, 12 of trunk and head, 30 of the limbs.

    Args:
        names: J joint names of Anny.
        joints_m: (J, 3) rest positions, glTF axes.
        parents: (J,).
    """
    rest = RestJoints(tuple(names), np.asarray(joints_m, np.float64))
    angles = [Angle(f"move_{a}", -np.inf, np.inf, 0.0, np.inf, p) for a, p in
              zip("xyz", (0.03, 0.03, 0.06), strict=True)]  # fmt: skip
    angles += [
        Angle(f"root_{a}", -np.inf, np.inf, 0.0, np.inf, float(np.radians(6))) for a in "xyz"
    ]
    angles += [_angle(*row) for row in TRUNK]
    angles += [_angle(f"{row[0]}{side}", *row[1:]) for side in SIDES for row in LIMBS]
    return build(rest.names, rest.positions_m, parents, angles, list(_body_terms(rest)), True)


def _body_terms(rest: RestJoints) -> Iterator[Term]:
    for name, axis in zip(("root_x", "root_y", "root_z"), np.eye(3), strict=True):
        yield Term("root", 0, name, axis)
    for part, shares in SHARES.items():
        for joint, share in shares:
            for movement, axis in (("bend", X), ("turn", Y), ("lean", Z)):
                yield Term(joint, 0, f"{part}_{movement}", axis, share)
    left = list(_left_limb_terms(rest))
    yield from left
    yield from (mirrored(term) for term in left)


def mirrored(term: Term) -> Term:
    """The same movement on the right side."""
    axis = term.axis * np.array([1.0, -1.0, -1.0])
    joint, name = (text.replace(".L", ".R") for text in (term.joint, term.name))
    return Term(joint, term.order, name, axis, term.share)


def _left_limb_terms(rest: RestJoints) -> Iterator[Term]:
    yield Term("clavicle.L", 0, "clavicle_raise.L", Z)
    yield Term("clavicle.L", 0, "clavicle_forward.L", -Y)
    upper = unit(rest["lowerarm01.L"] - rest["upperarm01.L"])
    fore = unit(rest["wrist.L"] - rest["lowerarm01.L"])
    yield Term("upperarm01.L", 0, "arm_raise.L", _perpendicular(Z, upper))
    yield Term("upperarm01.L", 0, "arm_forward.L", unit(np.cross(upper, Z)))
    yield Term("upperarm01.L", 1, "arm_twist.L", upper, 0.4)
    yield Term("upperarm02.L", 0, "arm_twist.L", upper, 0.6)
    yield Term("lowerarm01.L", 0, "elbow.L", unit(np.cross(upper, fore)))
    yield Term("lowerarm01.L", 1, "forearm_twist.L", fore, 0.35)
    yield Term("lowerarm02.L", 0, "forearm_twist.L", fore, 0.65)
    fingers, thumb_side, palm = palm_axes(rest)
    yield Term("wrist.L", 0, "wrist_bend.L", unit(np.cross(fingers, palm)))
    yield Term("wrist.L", 0, "wrist_deviate.L", unit(np.cross(fingers, thumb_side)))
    thigh = unit(rest["lowerleg01.L"] - rest["upperleg01.L"])
    side = _perpendicular(X, thigh)
    yield Term("upperleg01.L", 0, "leg_forward.L", -side)
    yield Term("upperleg01.L", 0, "leg_out.L", _perpendicular(Z, thigh))
    yield Term("upperleg01.L", 1, "leg_twist.L", thigh, 0.5)
    yield Term("upperleg02.L", 0, "leg_twist.L", thigh, 0.5)
    yield Term("lowerleg01.L", 0, "knee.L", side)
    yield Term("foot.L", 0, "ankle_bend.L", X)
    yield Term("foot.L", 0, "ankle_roll.L", Z)


def palm_axes(rest: RestJoints) -> tuple[F64, F64, F64]:
    """Unit directions of the left hand: along the fingers, to the thumb, out of the palm."""
    fingers = unit(rest["finger3-1.L"] - rest["wrist.L"])
    thumb_side = _perpendicular(rest["finger2-1.L"] - rest["finger5-1.L"], fingers)
    return fingers, thumb_side, unit(np.cross(fingers, thumb_side))


def hand_joints(names: Sequence[str], side: str) -> list[int]:
    """Indices of the wrist (first) and all 19 finger and palm joints of one hand."""
    own = ("wrist", "finger", "metacarpal")
    return [j for j, name in enumerate(names) if name.endswith(side) and name.startswith(own)]


def hand_model(rest: RestJoints, parents: I32, rows: Sequence[int], side: str) -> AngleModel:
    """The 21 finger angles of one hand below a wrist that does not move.

    Joint 0 of the chain is the wrist, whose rotation is the workspace's ``base``; its offset is
    the wrist's place in the world.

    Args:
        rest: rest positions of all joints.
        parents: (J,).
        rows: from :func:`hand_joints`.
        side: ".L" or ".R".
    """
    own = list(rows)
    local = np.array([-1] + [own.index(int(parents[row])) for row in own[1:]], np.int32)
    terms, angles = _finger_terms(rest)
    terms = terms if side == SIDES[0] else [mirrored(term) for term in terms]
    names = tuple(rest.names[row] for row in own)
    return build(names, rest.positions_m[own], local, angles, terms, False)


def _finger_terms(rest: RestJoints) -> tuple[list[Term], list[Angle]]:
    _, thumb_side, palm = palm_axes(rest)
    terms: list[Term] = []
    angles: list[Angle] = []
    for finger in (1, *FINGERS):
        make = _thumb if finger == 1 else _finger
        for term, angle in make(rest, finger, thumb_side, palm):
            terms.append(term)
            angles.append(angle)
    return terms, angles


def _finger(
    rest: RestJoints, finger: int, thumb_side: F64, palm: F64
) -> Iterator[tuple[Term, Angle]]:
    """Two angles of the knuckle, one hinge for each joint beyond it."""
    head, *bones = [rest[f"metacarpal{finger - 1}.L"]] + [
        rest[f"finger{finger}-{k}.L"] for k in (1, 2, 3)
    ]
    first, second = unit(bones[1] - bones[0]), unit(bones[2] - bones[1])
    hinge = unit(np.cross(first, palm))
    bent = _flexion(unit(bones[0] - head), first, hinge), _flexion(first, second, hinge)
    habits = (18.0, 25.0, 18.0)
    spread_axis = unit(np.cross(first, _perpendicular(thumb_side, first)))
    rows = (
        (1, "bend", hinge, -30, 90, bent[0], habits[0], 30),
        (1, "spread", spread_axis, -18, 18, 0.0, 0.0, 7),
        (2, "bend", hinge, -5, 108, bent[1], habits[1], 35),
        # Anny's last two bones bend alike at rest; there is no bone beyond to measure from.
        (3, "bend", hinge, -8, 80, bent[1], habits[2], 22),
    )
    for knuckle, movement, axis, low, high, zero, habit, spread in rows:
        name = f"finger{finger}_{knuckle}_{movement}"
        term = Term(f"finger{finger}-{knuckle}.L", 0, name, axis)
        yield term, _angle(name, low - zero, high - zero, habit - zero, spread, 15)


def _flexion(upper: F64, lower: F64, hinge: F64) -> float:
    """Degrees by which the rest pose already bends a joint about its hinge."""
    sine, cosine = float(np.cross(upper, lower) @ hinge), float(upper @ lower)
    return float(np.degrees(np.arctan2(sine, cosine)))


def _thumb(
    rest: RestJoints, finger: int, thumb_side: F64, palm: F64
) -> Iterator[tuple[Term, Angle]]:
    """A saddle joint of three angles and two hinges that bend towards the little finger."""
    joints = [rest[f"finger{finger}-{k}.L"] for k in (1, 2, 3)]
    first, second = unit(joints[1] - joints[0]), unit(joints[2] - joints[1])
    across = unit(np.cross(first, -thumb_side))
    rows = (
        (1, "bend", across, -40, 40, 0, 16),
        (1, "oppose", unit(np.cross(first, palm)), -40, 40, 0, 16),
        (1, "twist", first, -30, 30, 0, 10),
        (2, "bend", unit(np.cross(second, -thumb_side)), -35, 50, 0, 18),
        (3, "bend", unit(np.cross(second, -thumb_side)), -35, 75, 5, 22),
    )  # fmt: skip
    for knuckle, movement, axis, low, high, habit, spread in rows:
        name = f"finger{finger}_{knuckle}_{movement}"
        term = Term(f"finger{finger}-{knuckle}.L", 0, name, axis)
        yield term, _angle(name, low, high, habit, spread, 12)


def build(
    names: tuple[str, ...],
    joints_m: F64,
    parents: I32,
    angles: Sequence[Angle],
    terms: Sequence[Term],
    free: bool,
) -> AngleModel:
    """Lay terms out as the flat tables of :class:`Chain`."""
    index = {angle.name: n for n, angle in enumerate(angles)}
    place = {name: j for j, name in enumerate(names)}
    ordered = sorted(terms, key=lambda term: (place[term.joint], term.order))
    slots = [(place[term.joint], term.order) for term in ordered]
    factors = sorted(set(slots))
    factor_joints = np.array([joint for joint, _ in factors])
    starts = np.searchsorted(factor_joints, np.arange(len(names) + 1)).astype(np.int32)
    term_starts = np.array([slots.index(factor) for factor in factors] + [len(slots)], np.int32)
    safe_parents = np.asarray(parents, np.int32)
    offsets = np.array(joints_m, np.float64)
    offsets[1:] -= np.asarray(joints_m, np.float64)[safe_parents[1:]]
    chain = Chain(
        safe_parents,
        offsets,
        starts,
        term_starts,
        np.array([index[term.name] for term in ordered], np.int32),
        np.array([term.axis * term.share for term in ordered], np.float64).reshape(-1, 3),
        3 if free else 0,
    )
    return AngleModel(chain, tuple(angles), index, _columns(angles))


def _columns(angles: Sequence[Angle]) -> dict[str, F64]:
    names = ("lower", "upper", "habit", "spread", "pace")
    columns = {name: np.array([getattr(angle, name) for angle in angles]) for name in names}
    for column in columns.values():
        column.flags.writeable = False
    return columns
