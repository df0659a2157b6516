"""Motion capture onto Anny's skeleton.

Limbs are retargeted by direction, which needs no common rest pose: a bone points where the
actor's points, and the hinge of elbow or knee tells its twist. Where a limb is nearly straight the
hinge is carried by the actor's own joint rotation, with the hinge's place on the bone estimated
from all frames in which the limb is bent.
"""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np

from engine import quaternions as quat
from engine.errors import SourceError
from engine.sources.bvh import Clip
from engine.sources.motion.acting import expression_at
from engine.sources.motion.motion import Moment
from engine.sources.motion.skeleton import (
    SIDES,
    Quaternion,
    Skeleton,
    Turns,
    frame_of,
    local_rotations,
    turn_between,
)
from engine.types import F64

SYNONYMS: dict[str, tuple[str, ...]] = {
    "hips": ("Hips", "pelvis", "hip", "root"),
    "head": ("Head",),
    "neck": ("lowerneck", "Neck", "Neck1", "neck01"),
    "thigh": ("{side}UpLeg", "{side}Hip", "upperleg01.{letter}"),
    "shin": ("{side}Leg", "{side}Knee", "lowerleg01.{letter}"),
    "foot": ("{side}Foot", "{side}Ankle", "foot.{letter}"),
    "toe": ("{side}ToeBase", "{side}Toe", "toe2-1.{letter}"),
    "upperarm": ("{side}Arm", "{side}Shoulder", "upperarm01.{letter}"),
    "forearm": ("{side}ForeArm", "{side}Elbow", "lowerarm01.{letter}"),
    "hand": ("{side}Hand", "{side}Wrist", "wrist.{letter}"),
}
"""Our joints by the names that CMU, AnimatedDrawings, Rokoko, Mixamo and our own files have."""
SIDE_WORDS = {".L": "Left", ".R": "Right"}
FOLLOW_S = 1.5
FACING_S = 1.0
"""What counts as the beginning, for where somebody faces."""
SHORTEST = 1e-6
"""Of a bone, in the file's unit: a shorter one points nowhere."""
LIMBS = (("thigh", "shin", "foot", "toe"), ("upperarm", "forearm", "hand"))
LIMB_PARTS = LIMBS[0] + LIMBS[1]


class MocapMotion:
    """One clip, resampled at any time; past its end it rests in the last pose."""

    def __init__(self, clip: Clip, skeleton: Skeleton, seed: int = 0) -> None:
        """Match the clip's joints with ours.

        Raises:
            SourceError: a joint that is needed has no known name in the clip, or no place of its
                own.
        """
        self._clip = clip
        self._skeleton = skeleton
        self._seed = seed
        self._rows = match_joints(clip.names)
        check_bones(clip, self._rows)
        self._rest = upright_axes(clip, self._rows)
        self._upright = towards_camera(clip, self._rows, self._rest)
        self.duration_s = len(clip.positions) / clip.fps
        self._hinges = {
            (limb, side): self._mean_hinge(limb, side)
            for limb in ("upperarm", "thigh")
            for side in SIDES
        }
        rest_leg = skeleton["upperleg01.L"][1] - skeleton["foot.L"][1]
        self._scale = float(rest_leg) / self._leg_length()
        self._root_m = self._path()

    def at(self, seconds: float) -> Moment:
        """The pose at a time since the start (nearest captured frame)."""
        frame = min(round(seconds * self._clip.fps), len(self._clip.positions) - 1)
        turns = self._turns(frame)
        return Moment(
            local_rotations(self._skeleton, turns, np.full((2, 5), 0.15)),
            self._root_m[frame].astype(np.float32),
            expression_at(seconds, self._seed),
        )

    def _place(self, part: str, frame: int, side: str = "") -> F64:
        position: F64 = self._upright @ self._clip.positions[frame, self._rows[part + side]]
        return position

    def _bone(self, start: str, end: str, frame: int, side: str) -> F64:
        return self._place(end, frame, side) - self._place(start, frame, side)

    def _turns(self, frame: int) -> Turns:
        hips = self._place("thigh", frame, ".L") - self._place("thigh", frame, ".R")
        shoulders = self._place("upperarm", frame, ".L") - self._place("upperarm", frame, ".R")
        spine = self._place("neck", frame) - self._place("hips", frame)
        level = frame_of(np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0, 0.0]))
        turns = {
            "pelvis": turn_between(level, frame_of(spine, hips)),
            "chest": turn_between(level, frame_of(spine, shoulders)),
        }
        turns["head"] = self._head(frame, turns["chest"])
        for side in SIDES:
            self._limb(turns, frame, side, "upperarm", "forearm", "hand")
            self._limb(turns, frame, side, "thigh", "shin", "foot")
            self._foot(turns, frame, side)
        return turns

    def _head(self, frame: int, chest: Quaternion) -> Quaternion:
        """The head keeps its own rotation, but never turns further than a neck can."""
        matrix = self._upright @ self._clip.turns[frame, self._rows["head"]] @ self._rest.T
        own = quat.from_matrix(matrix)
        relative = quat.to_rotation_vector(quat.multiply(quat.conjugate(chest), own))
        angle = float(np.linalg.norm(relative))
        relative = relative * min(1.0, 1.0 / max(angle, 1e-9))
        return np.asarray(quat.multiply(chest, quat.from_rotation_vector(relative)))

    def _limb(self, turns: Turns, frame: int, side: str, *parts: str) -> None:
        first, second, third = parts
        upper = self._bone(first, second, frame, side)
        lower = self._bone(second, third, frame, side)
        hinge = self._hinge(first, frame, side)
        is_arm = first == "upperarm"
        rests = self._skeleton.arm_frames[side][:2] if is_arm else self._skeleton.leg_frames[side]
        turns[first + side] = turn_between(rests[0], frame_of(upper, hinge))
        turns[second + side] = turn_between(rests[1], frame_of(lower, hinge))

    def _foot(self, turns: Turns, frame: int, side: str) -> None:
        """Toes point where the actor's do; the file's rest foot may slope otherwise than ours."""
        toes = self._bone("foot", "toe", frame, side)
        hinge = self._hinge("thigh", frame, side)
        rest = self._skeleton.bone("foot" + side, "toe1-1" + side)
        turns["foot" + side] = turn_between(
            frame_of(rest, np.array([1.0, 0.0, 0.0])), frame_of(toes, hinge)
        )

    def _hinge(self, limb: str, frame: int, side: str) -> F64:
        carrier = self._clip.turns[frame, self._rows[limb + side]]
        hinge: F64 = self._upright @ carrier @ self._hinges[limb, side]
        return hinge

    def _mean_hinge(self, limb: str, side: str) -> F64:
        """(3,) axis of elbow or knee in the upper bone's own axes, weighted by how bent it is."""
        middle, end = ("forearm", "hand") if limb == "upperarm" else ("shin", "foot")
        rows = [self._rows[part + side] for part in (limb, middle, end)]
        start, bend, tip = (self._clip.positions[:, row] for row in rows)
        axis = np.cross(bend - start, tip - bend)
        own = np.einsum("tba,tb->ta", self._clip.turns[:, rows[0]], axis)
        mean: F64 = own.sum(axis=0)
        if limb == "thigh" and self._bends_backwards(mean, rows[0]):
            mean = -mean
        length = float(np.linalg.norm(mean))
        scale = float(np.abs(bend - start).max() * np.abs(tip - bend).max()) * len(own)
        return mean / length if length > 1e-3 * scale else self._straight_hinge(limb, side)

    def _bends_backwards(self, hinge: F64, thigh: int) -> bool:
        """Whether a knee's axis points to the right: then its leg was only ever overstretched.

        Args:
            hinge: (3,) in the thigh's own axes.
            thigh: the row of its joint.
        """
        across = self._clip.positions[:, self._rows["thigh.L"]]
        across = across - self._clip.positions[:, self._rows["thigh.R"]]
        turned = np.einsum("tab,b->ta", self._clip.turns[:, thigh], hinge)
        return float((turned * across).sum()) < 0.0

    def _straight_hinge(self, limb: str, side: str) -> F64:
        """For a limb that never bends: knees turn about X, elbows as with the palms forward."""
        if limb == "thigh":
            return np.asarray(self._rest.T @ np.array([1.0, 0.0, 0.0]))
        sign = 1.0 if side == ".L" else -1.0
        return np.asarray(self._rest.T @ np.array([0.0, -sign, 0.0]))

    def _leg_length(self) -> float:
        frames = self._clip.positions[:, [self._rows[p + ".L"] for p in ("thigh", "shin", "foot")]]
        return float(np.linalg.norm(np.diff(frames, axis=1), axis=-1).sum(axis=1).mean())

    def _path(self) -> F64:
        """(T, 3) m: how far our hips are from their rest place.

        The camera goes along with the actor: what the last seconds have in common is taken off
        the horizontal movement, so that a walk does not leave the picture.
        """
        path = self._clip.positions[:, self._rows["hips"]] @ self._upright.T * self._scale
        width = max(1, min(len(path), round(FOLLOW_S * self._clip.fps)))
        padded = np.pad(path, ((width // 2, width - 1 - width // 2), (0, 0)), mode="edge")
        sums = np.cumsum(np.vstack([np.zeros((1, 3)), padded]), axis=0)
        followed = (sums[width:] - sums[:-width]) / width
        height = self._floor() * self._scale + float(self._skeleton["root"][1])
        return np.asarray(path - followed * (1.0, 0.0, 1.0) - (0.0, height, 0.0), np.float64)

    def _floor(self) -> float:
        """Height of the floor in the file's unit: where the feet are at their lowest."""
        rows = [self._rows["foot" + side] for side in SIDES]
        ankles = (self._clip.positions[:, rows] @ self._upright.T)[..., 1]
        lowest = float(np.percentile(ankles.min(axis=1), 5))
        ankle = float(self._skeleton["foot.L"][1]) / self._scale
        return lowest - ankle


def match_joints(names: tuple[str, ...]) -> dict[str, int]:
    """Rows of our joints in a clip.

    Raises:
        SourceError: names one that is missing.
    """
    lower = {name.lower(): row for row, name in reversed(list(enumerate(names)))}
    rows: dict[str, int] = {}
    for part, words in SYNONYMS.items():
        for side in SIDES if part in LIMB_PARTS else ("",):
            side_word = SIDE_WORDS.get(side, "")
            known = [word.format(side=side_word, letter=side[1:]).lower() for word in words]
            found = [lower[word] for word in known if word in lower]
            if not found:
                raise SourceError(
                    f"the motion has no joint for {side_word} {part} (looked for "
                    f"{', '.join(words)}); use CMU, Mixamo or Rokoko joint names"
                )
            rows[part + side] = found[0]
    return rows


def check_bones(clip: Clip, rows: dict[str, int]) -> None:
    """See that every direction which a pose is made from can be told in every frame.

    Raises:
        SourceError: names two joints that are in one place.
    """
    bones = [("hips", "neck"), ("thigh.L", "thigh.R"), ("upperarm.L", "upperarm.R")]
    for limb, side in product(LIMBS, SIDES):
        bones += [(start + side, end + side) for start, end in pairwise(limb)]
    for start, end in bones:
        away = clip.positions[:, rows[end]] - clip.positions[:, rows[start]]
        if np.linalg.norm(away, axis=1).min() < SHORTEST:
            raise SourceError(
                f"the motion has {clip.names[rows[start]]} and {clip.names[rows[end]]} in one "
                "place; every bone needs a length"
            )


def upright_axes(clip: Clip, rows: dict[str, int]) -> F64:
    """(3, 3) from the file's axes to glTF's: Z-up files are turned."""
    spine = clip.positions[:, rows["neck"]] - clip.positions[:, rows["hips"]]
    up = np.abs(spine.mean(axis=0)).argmax()
    if up == 2:
        return np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    return np.eye(3)


def towards_camera(clip: Clip, rows: dict[str, int], upright: F64) -> F64:
    """(3, 3) the same axes turned about the vertical: who acts faces us to begin with."""
    first = slice(0, max(1, round(FACING_S * clip.fps)))
    across = clip.positions[first, rows["thigh.L"]] - clip.positions[first, rows["thigh.R"]]
    x, _, z = upright @ across.mean(axis=0)
    length = float(np.hypot(x, z))
    if length < SHORTEST:
        return upright
    cosine, sine = x / length, z / length
    turn = np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])
    return np.asarray(turn @ upright, np.float64)
