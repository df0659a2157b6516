"""The performer: the same every time, and its truth is what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.body.blend_skinning import Poser
from engine.body.kinematics import forward_kinematics, posed_joints
from engine.errors import GraphicsError, SourceError
from engine.fusion import copy_paste
from engine.inference.store import ModelStore
from engine.rendering.offscreen import OffscreenRenderer
from engine.rendering.projection import project
from engine.sources.bvh import read_bvh
from engine.sources.motion.acting import EXPRESSION_S, EXPRESSIONS, expression_at
from engine.sources.motion.retarget import MocapMotion, match_joints, towards_camera, upright_axes
from engine.sources.motion.script import ROUND_S, ScriptedMotion
from engine.sources.motion.skeleton import Skeleton
from engine.sources.opening import open_source
from engine.sources.performer import Performer, PerformerOptions, open_performer, person
from engine.types import ARKIT_NAMES

FRAMES = 6


@pytest.fixture(scope="module")
def avatar(model_cache: ModelStore):
    return person(0, model_cache)


@pytest.fixture(scope="module")
def opengl() -> None:
    try:
        OffscreenRenderer(8, 8).close()
    except GraphicsError as error:
        pytest.skip(str(error))


@pytest.fixture
def performer(avatar) -> Iterator[Performer]:
    motion = ScriptedMotion(Skeleton.of(avatar))
    with Performer(avatar, motion, PerformerOptions(frames=FRAMES)) as opened:
        yield opened


def joints(avatar, rotations: np.ndarray) -> dict[str, np.ndarray]:
    transforms = np.zeros((len(avatar.parents), 3, 4), np.float32)
    forward_kinematics(rotations, avatar.joints_m, avatar.parents, transforms)
    places = posed_joints(transforms, avatar.joints_m)
    return dict(zip(avatar.joint_names, places, strict=True))


def test_frames_are_the_same_every_time(performer: Performer, opengl: None) -> None:
    first, second = list(performer), list(performer)
    assert len(first) == FRAMES
    assert [frame.index for frame in first] == list(range(FRAMES))
    assert first[0].image.shape == (480, 640, 3)
    assert not np.array_equal(first[0].image, first[-1].image)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.image, b.image)


@pytest.mark.parametrize("full", [False, True])
def test_the_silhouette_is_the_projected_mesh(avatar, opengl: None, full: bool) -> None:
    options = PerformerOptions(framing="full" if full else "webcam", frames=1)
    performer = Performer(avatar, ScriptedMotion(Skeleton.of(avatar), full=full), options)
    take = performer.truth(100)
    with OffscreenRenderer(*performer.size, samples=1) as renderer:
        renderer.set_background(np.array([[[0, 255, 0]]], np.uint8))
        picture = renderer.render(take.mesh, take.camera).astype(int)
    person_there = np.abs(picture - (0, 255, 0)).sum(axis=2) > 30
    u, v = np.rint(project(take.mesh.vertices_m, take.camera)).astype(int).T
    inside = (u >= 1) & (u < 639) & (v >= 1) & (v < 479)
    # A vertex may round to just outside of the outline, but never further.
    near = person_there | np.roll(person_there, 1, 0) | np.roll(person_there, -1, 0)
    near = near | np.roll(near, 1, 1) | np.roll(near, -1, 1)
    assert near[v[inside], u[inside]].all()
    if full:
        assert inside.all()
        rows, columns = np.nonzero(person_there)
        assert abs(rows.min() - v.min()) <= 1
        assert abs(rows.max() - v.max()) <= 1
        assert abs(columns.max() - u.max()) <= 1


def test_truth_is_a_valid_state_at_any_time(performer: Performer) -> None:
    for index in range(0, int(ROUND_S * 30), 41):
        state = performer.truth(index).state
        assert np.linalg.norm(state.rotations_xyzw, axis=1) == pytest.approx(1.0, abs=1e-5)
        assert state.index == index
        assert 0.0 <= state.expression.min() <= state.expression.max() <= 1.0


def test_posing_the_avatar_with_the_state_gives_the_mesh(performer: Performer) -> None:
    take = performer.truth(77)
    again = Poser(performer.avatar).pose(take.state)
    assert np.array_equal(again.vertices_m, take.mesh.vertices_m)


def test_drawing_leaves_the_truth_alone(performer: Performer, opengl: None) -> None:
    """Benchmarks read the truth while another thread draws."""
    take = performer.truth(77)
    before = take.mesh.vertices_m.copy()
    list(performer)
    assert np.array_equal(take.mesh.vertices_m, before)


def test_a_performer_needs_no_topology_rebuilt(
    model_cache: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes half a second that every start would pay."""
    monkeypatch.delattr(copy_paste, "curved_midpoints")
    assert person(0, model_cache).topology.regions.any()


@pytest.mark.slow
def test_movement_has_no_jumps(avatar) -> None:
    for full in (False, True):
        motion = ScriptedMotion(Skeleton.of(avatar), full=full)
        places = [
            np.stack(list(joints(avatar, moment.rotations_xyzw).values())) + moment.root_m
            for moment in (motion.at(index / 30.0) for index in range(int(ROUND_S * 30) + 30))
        ]
        steps = np.linalg.norm(np.diff(np.stack(places), axis=0), axis=2)
        assert steps.max() < 0.14  # metres in a thirtieth of a second: 4.2 m/s, a brisk wave


def test_feet_stay_on_the_floor(avatar) -> None:
    motion = ScriptedMotion(Skeleton.of(avatar), full=True)
    floor = avatar.joints_m[avatar.joint_names.index("foot.L")][1]
    for seconds in np.arange(0.0, ROUND_S, 0.5):
        moment = motion.at(seconds)
        posed = joints(avatar, moment.rotations_xyzw)
        lowest = min(posed["foot.L"][1], posed["foot.R"][1]) + moment.root_m[1]
        assert lowest == pytest.approx(floor, abs=0.03)


def test_fingers_close_towards_the_palm_on_both_hands(avatar) -> None:
    motion = ScriptedMotion(Skeleton.of(avatar))
    for seconds, most, least in ((2.0, np.inf, 0.12), (5.0, 0.11, 0.0)):
        posed = joints(avatar, motion.at(seconds).rotations_xyzw)
        for side in (".L", ".R"):
            reach = np.linalg.norm(posed[f"finger3-3{side}"] - posed[f"wrist{side}"])
            assert least < reach < most


def test_hands_come_up_and_stay_in_the_picture(performer: Performer) -> None:
    take = performer.truth(int(3.0 * 30))
    pixels = project(take.mesh.vertices_m, take.camera)
    for side in (".L", ".R"):
        wrist = performer.avatar.joint_names.index("wrist" + side)
        weights = performer.avatar.skin_weights * (performer.avatar.skin_joints == wrist)
        own = pixels[weights.sum(axis=1) > 0.5]
        assert ((own > 0) & (own < (640, 480))).all()
    left = performer.avatar.joint_names.index("wrist.L")
    weights = performer.avatar.skin_weights * (performer.avatar.skin_joints == left)
    assert pixels[weights.sum(axis=1) > 0.5, 0].min() > 320  # own left is the picture's right


def test_all_expressions_but_three_are_acted() -> None:
    times = np.arange(0.0, EXPRESSION_S * len(EXPRESSIONS), 0.1)
    most = np.max([expression_at(seconds, 0) for seconds in times], axis=0)
    unseen = {name for name, value in zip(ARKIT_NAMES, most, strict=True) if value < 0.3}
    assert unseen == {"jawForward", "mouthClose", "tongueOut"}


def test_seeds_act_differently() -> None:
    times = np.arange(0.0, 30.0, 0.2)
    one, two, again = (np.stack([expression_at(t, s) for t in times]) for s in (1, 2, 1))
    assert np.array_equal(one, again)
    assert np.abs(one - two).max() > 0.5


def test_seeds_are_other_people(avatar, model_cache: ModelStore) -> None:
    other = person(5, model_cache)
    assert other.topology.faces.shape == avatar.topology.faces.shape
    assert np.abs(other.rest_vertices_m - avatar.rest_vertices_m).max() > 0.02
    assert not np.array_equal(other.texture, avatar.texture)


def test_retargeted_bones_point_where_the_actors_do(avatar, shared_data: Path) -> None:
    for name in ("cmu/131_01.bvh", "AnimatedDrawings/fair1/wave_hello.bvh"):
        clip = read_bvh(shared_data / "mocap" / name)
        rows = match_joints(clip.names)
        axes = towards_camera(clip, rows, upright_axes(clip, rows))
        motion = MocapMotion(clip, Skeleton.of(avatar))
        for frame in range(0, len(clip.positions), 97):
            posed = joints(avatar, motion.at(frame / clip.fps).rotations_xyzw)
            for start, end, ours in (
                ("upperarm", "forearm", ("upperarm01", "lowerarm01")),
                ("forearm", "hand", ("lowerarm01", "wrist")),
                ("thigh", "shin", ("upperleg01", "lowerleg01")),
                ("shin", "foot", ("lowerleg01", "foot")),
            ):
                for side in (".L", ".R"):
                    actor = clip.positions[frame, rows[end + side]]
                    actor = axes @ (actor - clip.positions[frame, rows[start + side]])
                    bone = posed[ours[1] + side] - posed[ours[0] + side]
                    cosine = actor @ bone / np.linalg.norm(actor) / np.linalg.norm(bone)
                    assert np.degrees(np.arccos(min(cosine, 1.0))) < 3.0


@pytest.mark.parametrize(
    "name",
    ["AnimatedDrawings/fair1/wave_hello.bvh", "cmu/131_01.bvh", "AnimatedDrawings/fair1/dab.bvh"],
)
def test_who_performs_begins_facing_us_and_nothing_is_back_to_front(
    avatar, shared_data: Path, name: str
) -> None:
    """Chest, knees and toes forward, the head too: nearly straight legs once were turned around."""
    motion = MocapMotion(read_bvh(shared_data / "mocap" / name), Skeleton.of(avatar))
    posed = joints(avatar, motion.at(0.2).rotations_xyzw)
    across = posed["upperleg01.L"] - posed["upperleg01.R"]
    assert across[0] > 0.9 * np.linalg.norm(across)
    for side in (".L", ".R"):
        assert posed["toe2-1" + side][2] > posed["foot" + side][2]
    eyes = 0.5 * (posed["eye.L"] + posed["eye.R"]) - posed["head"]
    assert eyes[2] > 0.5 * np.linalg.norm(eyes)


def test_a_walk_stays_in_the_picture(avatar, shared_data: Path) -> None:
    clip = read_bvh(shared_data / "mocap" / "cmu" / "02_01.bvh")
    motion = MocapMotion(clip, Skeleton.of(avatar))
    performer = Performer(avatar, motion, PerformerOptions(framing="full"))
    for index in range(0, int(motion.duration_s * 30), 9):
        take = performer.truth(index)
        pixels = project(take.mesh.vertices_m, take.camera)
        assert ((pixels > 0) & (pixels < (640, 480))).mean() > 0.97


@pytest.mark.parametrize("spec", ["webcam,speed=3", "full,seed=x", "full,frames=99999999999"])
def test_unknown_settings(spec: str, model_cache: ModelStore) -> None:
    with pytest.raises(SourceError, match="seed=N"):
        open_performer(spec)


def test_an_unknown_word_is_told_the_choices(model_cache: ModelStore) -> None:
    with pytest.raises(SourceError, match="`webcam`, `full`"):
        open_source("performer:ballet")


def test_the_command_lines_settings_arrive(model_cache: ModelStore, opengl: None) -> None:
    with open_source("performer:full,frames=2", paced=True) as source:
        assert source.live
        frames = list(source)
    assert len(frames) == 2
    assert frames[1].captured_at_ns - frames[0].captured_at_ns >= 20e6


def test_more_samples_only_change_edges(performer: Performer, opengl: None) -> None:
    fine = Performer(
        performer.avatar,
        ScriptedMotion(Skeleton.of(performer.avatar)),
        replace(PerformerOptions(frames=1), samples=4),
    )
    (a,), (b, *_) = list(fine), list(performer)
    assert np.abs(a.image.astype(int) - b.image).mean() < 2.0
