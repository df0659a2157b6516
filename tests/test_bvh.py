"""Motion capture files: kinematics against a slow twin, hostile files, retargeting."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.avatar.anny import BodyModel
from engine.errors import SourceError
from engine.inference.store import BODY_FILE, ModelStore
from engine.sources import bvh
from engine.sources.bvh import Clip, parse_bvh, read_bvh
from engine.sources.motion.retarget import MocapMotion, check_bones, match_joints
from engine.sources.motion.skeleton import Skeleton
from engine.types import Phenotypes

SMALL = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT Spine
  {
    OFFSET 0 10 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    JOINT Head
    {
      OFFSET 1 5 2
      CHANNELS 3 Xrotation Zrotation Yrotation
      End Site
      {
        OFFSET 0 3 0
      }
    }
  }
}
MOTION
Frames: 2
Frame Time: 0.04
1 2 3 0 0 0 0 0 0 0 0 0
4 5 6 30 20 10 -40 15 70 5 6 7
"""


def rotation(axis: str, degrees: float) -> np.ndarray:
    """One coordinate rotation, written out."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return {
        "X": np.array([[1, 0, 0], [0, c, -s], [0, s, c]]),
        "Y": np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]),
        "Z": np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]),
    }[axis]


def test_the_skeleton_and_its_rate_are_read() -> None:
    clip = parse_bvh(SMALL)
    assert clip.names == ("Hips", "Spine", "Head")
    assert clip.parents.tolist() == [-1, 0, 1]
    assert clip.fps == pytest.approx(25.0)
    assert clip.positions[0].tolist() == [[1, 2, 3], [1, 12, 3], [2, 17, 5]]


def test_joints_turn_in_the_order_of_their_channels() -> None:
    clip = parse_bvh(SMALL)
    hips = rotation("Z", 30) @ rotation("Y", 20) @ rotation("X", 10)
    spine = hips @ rotation("Z", -40) @ rotation("Y", 15) @ rotation("X", 70)
    head = spine @ rotation("X", 5) @ rotation("Z", 6) @ rotation("Y", 7)
    assert clip.turns[1] == pytest.approx(np.stack([hips, spine, head]), abs=1e-12)
    place = np.array([4, 5, 6]) + hips @ [0, 10, 0]
    assert clip.positions[1, 1] == pytest.approx(place)
    assert clip.positions[1, 2] == pytest.approx(place + spine @ [1, 5, 2])


@pytest.mark.parametrize(
    ("change", "to"),
    [
        ("HIERARCHY", "ANARCHY"),
        ("MOTION", "NOTHING"),
        ("ROOT Hips", "JOINT Hips"),
        ("JOINT Spine", "ROOT Spine"),
        ("OFFSET 0 10 0", "OFFSET 0 ten 0"),
        ("CHANNELS 3 Zrotation Yrotation Xrotation", "CHANNELS 99999999999 Zrotation"),
        ("CHANNELS 3 X", "CHANNELS 3 W"),
        ("End Site", "End Sight"),
        ("OFFSET 0 10 0", "OFFSET 0 nan 0"),
        ("OFFSET 0 10 0", "OFFSET 0 inf 0"),
        ("OFFSET 0 10 0", "OFFSET 0 1e300 0"),
        ("OFFSET 0 3 0", "OFFSET 0 nan 0"),
        ("4 5 6 30", "4 5 1e300 30"),
        ("Frames: 2", "Frames: 3"),
        ("Frames: 2", "Frames: 999999999999"),
        ("Frames: 2", "Frames: -1"),
        ("Frames: 2", "Frames: 0"),
        ("Frame Time: 0.04", "Frame Time: 0"),
        ("Frame Time: 0.04", "Frame Time: nan"),
        ("4 5 6 30", "4 5 nan 30"),
        ("4 5 6 30", "4 5 six 30"),
        ("1 2 3 0 0 0 0 0 0 0 0 0\n4 5 6 30 20 10 -40 15 70 5 6 7\n", ""),
        ("      }\n    }\n  }\n}\n", "      }\n"),
    ],
)
def test_a_damaged_file_is_one_sentence(change: str, to: str) -> None:
    assert change in SMALL
    with pytest.raises(SourceError) as caught:
        parse_bvh(SMALL.replace(change, to, 1), "dance.bvh")
    assert str(caught.value).startswith("dance.bvh")
    assert "\n" not in str(caught.value)


def test_a_tower_of_joints_is_refused() -> None:
    level = "JOINT j {{ OFFSET 0 1 0 CHANNELS 0 {} }}"
    text = "End Site { OFFSET 0 1 0 }"
    for _ in range(bvh.MAX_JOINTS + 1):
        text = level.format(text)
    with pytest.raises(SourceError, match="too many joints"):
        parse_bvh(
            f"HIERARCHY {text.replace('JOINT', 'ROOT', 1)} MOTION\nFrames: 1\nFrame Time: 1\n1"
        )


def test_a_file_cut_short_is_one_sentence() -> None:
    """In the middle of the channels too, where a generator would turn the end into a defect."""
    words = SMALL[: SMALL.index("MOTION")].split()
    for count in range(len(words)):
        with pytest.raises(SourceError):
            parse_bvh(" ".join(words[:count]) + "\nMOTION\nFrames: 1\nFrame Time: 1\n1")


@given(st.integers(0, len(SMALL) - 1), st.integers(0, 40), st.text(max_size=12))
def test_no_garbage_raises_anything_else(start: int, length: int, text: str) -> None:
    try:
        clip = parse_bvh(SMALL[:start] + text + SMALL[start + length :])
    except SourceError:
        return
    assert isinstance(clip, Clip)
    assert np.isfinite(clip.positions).all()


def test_a_missing_and_a_huge_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="no motion file"):
        read_bvh(tmp_path / "none.bvh")
    with pytest.raises(SourceError, match="cannot be read"):
        read_bvh(tmp_path / ("x" * 300))
    path = tmp_path / "huge.bvh"
    path.write_text(SMALL)
    monkeypatch.setattr(bvh, "MAX_BYTES", 10)
    with pytest.raises(SourceError, match="larger than"):
        read_bvh(path)


def test_a_skeleton_without_legs_is_named() -> None:
    with pytest.raises(SourceError, match="Left thigh"):
        match_joints(("Hips", "Spine", "Neck", "Head"))


def limb(side: str, x: int, *bones: str) -> str:
    """Nested joints from a side of the body down to an end site."""
    if not bones:
        return "End Site { OFFSET 0 -1 0 }"
    rest = limb(side, 0, *bones[1:])
    return (
        f"JOINT {side}{bones[0]} {{ OFFSET {x} -40 1 "
        f"CHANNELS 3 Zrotation Xrotation Yrotation {rest} }} "
    )


LIMBS = [
    limb(side, sign * 10, *bones)
    for side, sign in (("Left", 1), ("Right", -1))
    for bones in (("UpLeg", "Leg", "Foot", "ToeBase"), ("Arm", "ForeArm", "Hand"))
]
PERSON = (
    "HIERARCHY ROOT Hips { OFFSET 0 0 0 CHANNELS 3 Xposition Yposition Zposition "
    + "".join(LIMBS)
    + "JOINT Neck { OFFSET 0 50 0 CHANNELS 0 JOINT Head { OFFSET 0 10 0 CHANNELS 0 } } } "
    + "MOTION\nFrames: 2\nFrame Time: 0.04\n"
    + "0 90 0 " * 15
    + "\n"
    + "1 90 5 " * 15
)
ODD = st.sampled_from(
    ["0", "-0", "nan", "inf", "1e7", "-1e300", "1e-300", "90", "6", "{", "}", "", "JOINT", "Head"]
)


@pytest.fixture(scope="session")
def skeleton(model_cache: ModelStore) -> Skeleton:
    model = BodyModel.load(model_cache.path(BODY_FILE))
    joints = model.shape(Phenotypes()).joints_m
    return Skeleton(model.joint_names, model.parents, joints.astype(np.float64))


def act(text: str, skeleton: Skeleton) -> None:
    motion = MocapMotion(parse_bvh(text), skeleton)
    for seconds in (0.0, 0.04):
        moment = motion.at(seconds)
        assert np.linalg.norm(moment.rotations_xyzw, axis=1) == pytest.approx(1.0, abs=1e-4)
        assert np.isfinite(moment.root_m).all()


def test_a_person_can_act(skeleton: Skeleton) -> None:
    act(PERSON, skeleton)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(PERSON.split(" ")) - 1), ODD), max_size=4),
    st.integers(0, len(PERSON)) | st.none(),
)
def test_a_mangled_person_acts_or_is_refused(
    skeleton: Skeleton, changes: list[tuple[int, str]], end: int | None
) -> None:
    words = PERSON.split(" ")
    for place, word in changes:
        words[place] = word
    with contextlib.suppress(SourceError):
        act(" ".join(words)[:end], skeleton)


@pytest.mark.parametrize("joint", ["LeftLeg", "RightToeBase", "LeftForeArm", "RightHand", "Neck"])
def test_a_bone_without_length_is_named(skeleton: Skeleton, joint: str) -> None:
    start = PERSON.index("OFFSET", PERSON.index(f"JOINT {joint} ")) + len("OFFSET ")
    end = PERSON.index("CHANNELS", start)
    with pytest.raises(SourceError, match=f"{joint} in one place"):
        act(f"{PERSON[:start]}0 0 0 {PERSON[end:]}", skeleton)


def test_legs_without_length_are_refused(skeleton: Skeleton) -> None:
    """Their length is what the person's size is told from."""
    with pytest.raises(SourceError, match="every bone needs a length"):
        act(PERSON.replace("-40 1", "0 0"), skeleton)


def test_every_recording_is_understood(shared_data: Path) -> None:
    paths = sorted((shared_data / "mocap").rglob("*.bvh"))
    assert len(paths) >= 10
    for path in paths:
        clip = read_bvh(path)
        rows = match_joints(clip.names)
        assert len(set(rows.values())) == len(rows), path.name
        check_bones(clip, rows)
        assert np.isfinite(clip.positions).all()
