"""The grid's own judgement: what a wrong limb is, and a person who is turned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.performer import BODY_JOINTS, posed
from benchmarks.performer_grid import Turned, eval_grid, is_swapped
from engine.engine import EngineOptions
from engine.errors import SourceError
from engine.inference.store import ModelStore
from engine.sources.motion.script import ScriptedMotion
from engine.sources.motion.skeleton import Skeleton
from engine.sources.performer import Performer, PerformerOptions, person


@pytest.fixture(scope="module")
def joints(model_cache: ModelStore) -> np.ndarray:
    avatar = person(0, model_cache)
    performer = Performer(
        avatar, ScriptedMotion(Skeleton.of(avatar), full=True), PerformerOptions()
    )
    rows = [avatar.joint_names.index(name) for name in BODY_JOINTS]
    return posed(avatar, performer.truth(200).state)[rows]


def test_a_limb_on_the_other_side_is_wrong_and_a_trembling_one_is_not(joints: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    assert not is_swapped(joints + rng.normal(0, 0.05, joints.shape), joints)
    assert not is_swapped(joints + np.array([1.0, 2.0, 3.0]), joints)
    for names in (("lowerleg01", "foot"), ("lowerarm01", "wrist")):
        swapped = joints.copy()
        for name in names:
            left, right = BODY_JOINTS.index(name + ".L"), BODY_JOINTS.index(name + ".R")
            swapped[[left, right]] = swapped[[right, left]]
        assert is_swapped(swapped, joints), names


def test_who_is_turned_does_the_same_seen_from_the_side(model_cache: ModelStore) -> None:
    avatar = person(0, model_cache)
    motion = ScriptedMotion(Skeleton.of(avatar), full=True)
    turned = Turned(motion, 90.0)
    one, other = motion.at(10.0), turned.at(10.0)
    np.testing.assert_array_equal(one.rotations_xyzw[1:], other.rotations_xyzw[1:])
    options = PerformerOptions(framing="full")
    front = posed(avatar, Performer(avatar, motion, options).truth(300).state)
    side = posed(avatar, Performer(avatar, turned, options).truth(300).state)
    front, side = front - front[0], side - side[0]
    quarter = np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0.0]])
    np.testing.assert_allclose(side, front @ quarter.T, atol=1e-4)


async def test_a_missing_motion_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected the motion .*wave_hello"):
        await eval_grid(tmp_path, EngineOptions())
