"""Joints by name: SMPL's family in its official order, and what of Anny's stands in each place.

Anny has two bones where SMPL has one (upper and lower limbs), five in the spine for SMPL's three
and three in the neck: a joint of SMPL pairs with a short chain of Anny's.
"""

from __future__ import annotations

from collections.abc import Mapping

_FINGERS = ("index", "middle", "pinky", "ring", "thumb")
_TRUNK = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
    "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar",
    "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist",
)  # fmt: skip
_HANDS = tuple(
    f"{side}_{finger}{k}" for side in ("left", "right") for finger in _FINGERS for k in (1, 2, 3)
)
SMPL_FAMILY: Mapping[str, tuple[str, ...]] = {
    "SMPL": (*_TRUNK, "left_hand", "right_hand"),
    "SMPL+H": (*_TRUNK, *_HANDS),
    "SMPL-X": (*_TRUNK, "jaw", "left_eye", "right_eye", *_HANDS),
}
"""The joints of each model, 24, 52 and 55, in the order of its files."""

SMPLX_PARENTS = (
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 15, 15, 15,
    20, 25, 26, 20, 28, 29, 20, 31, 32, 20, 34, 35, 20, 37, 38,
    21, 40, 41, 21, 43, 44, 21, 46, 47, 21, 49, 50, 21, 52, 53,
)  # fmt: skip

_SIDED = {
    "hip": ("upperleg01", "upperleg02"),
    "knee": ("lowerleg01", "lowerleg02"),
    "ankle": ("foot",),
    "foot": ("toe3-1", "toe1-1", "toe4-1", "toe5-1", "toe2-1"),
    "collar": ("clavicle", "shoulder01"),
    "shoulder": ("upperarm01", "upperarm02"),
    "elbow": ("lowerarm01", "lowerarm02"),
    "wrist": ("wrist",),
    "eye": ("eye",),
    **{
        f"{finger}{k}": (f"finger{number}-{k}",)
        for finger, number in (("thumb", 1), ("index", 2), ("middle", 3), ("ring", 4), ("pinky", 5))
        for k in (1, 2, 3)
    },
}
ANNY_CHAINS: Mapping[str, tuple[str, ...]] = {
    "pelvis": ("root",),
    "spine1": ("spine05", "spine04"),
    "spine2": ("spine03", "spine02"),
    "spine3": ("spine01",),
    "neck": ("neck01", "neck02", "neck03"),
    "head": ("head",),
    **{
        f"{side}_{joint}": tuple(name + ending for name in chain)
        for side, ending in (("left", ".L"), ("right", ".R"))
        for joint, chain in _SIDED.items()
    },
}
"""Anny's joints in place of one of SMPL-X's: the first lies where it lies, the last has turned as
far as it turns. Anny has no jaw."""

_CANONICAL = {name: joint for joint, chain in ANNY_CHAINS.items() for name in chain}


def canonical_name(name: str) -> str | None:
    """SMPL-X's name of a joint of any of these models; None of one that has no counterpart."""
    if name in _CANONICAL:
        return _CANONICAL[name]
    return name if name in SMPL_FAMILY["SMPL-X"] or name in SMPL_FAMILY["SMPL"] else None
