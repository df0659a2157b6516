"""Exported motion is the motion: every format read back gives the poses that were kept."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pygltflib
import pytest
from rigs import random_state

from engine import quaternions
from engine.avatar.glb_reader import read_glb
from engine.avatar.joint_names import SMPLX_PARENTS
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.body.kinematics import forward_kinematics, posed_joints
from engine.errors import AvatarError
from engine.inference.store import ModelStore
from engine.sources.bvh import read_bvh
from engine.sources.performer import open_performer, person
from engine.types import ARKIT_NAMES
from exporters.glb import write_glb
from exporters.motion.amass import JOINTS, write_amass
from exporters.motion.bvh import euler_zxy, write_bvh
from exporters.motion.clip import FIRST_ROOM, MotionClip, MotionRecorder
from exporters.motion.files import export_motion
from exporters.motion.table import write_csv

STEP_NS = 40_000_000


@pytest.fixture(scope="module")
def avatar(model_cache: ModelStore) -> FusedAvatar:
    return person(0, model_cache)


@pytest.fixture(scope="module")
def clip(avatar: FusedAvatar) -> MotionClip:
    recorder = MotionRecorder()
    for n in range(7):
        state = random_state(len(avatar.parents), n, spread=0.5)
        recorder.add(replace(state, captured_at_ns=10**9 + n * STEP_NS))
    return recorder.clip(avatar)


def joints_of(clip: MotionClip, n: int) -> np.ndarray:
    avatar = clip.avatar
    transforms = np.empty((len(avatar.parents), 3, 4), np.float32)
    forward_kinematics(clip.rotations_xyzw[n], avatar.joints_m, avatar.parents, transforms)
    return posed_joints(transforms, avatar.joints_m) + clip.translation_m[n]


def test_the_animated_glb_is_the_avatar_and_moves_as_it_did(clip: MotionClip) -> None:
    """Decoded by another library, played by glTF's own rules: node by node."""
    content = write_glb(clip.avatar, clip)
    assert np.array_equal(read_glb(content).rest_vertices_m, clip.avatar.rest_vertices_m)
    document = pygltflib.GLTF2.load_from_bytes(content)
    (animation,) = document.animations
    blob = document.binary_blob()

    def values(index: int, width: int) -> np.ndarray:
        accessor = document.accessors[index]
        view = document.bufferViews[accessor.bufferView]
        raw = blob[view.byteOffset : view.byteOffset + view.byteLength]
        return np.frombuffer(raw, np.float32).reshape(-1, width)

    tracks = {}
    for channel in animation.channels:
        sampler = animation.samplers[channel.sampler]
        times = values(sampler.input, 1)[:, 0]
        np.testing.assert_allclose(times, clip.times_s, atol=1e-6)
        width = {"rotation": 4, "translation": 3, "weights": len(ARKIT_NAMES)}[channel.target.path]
        tracks[channel.target.node, channel.target.path] = values(sampler.output, width)
    key = 4
    placed = np.zeros((len(clip.avatar.parents), 4, 4))
    for j, parent in enumerate(clip.avatar.parents):
        own, node = np.eye(4), document.nodes[j]
        if (j, "rotation") in tracks:
            own[:3, :3] = quaternions.to_matrix(tracks[j, "rotation"][key].astype(np.float64))
        own[:3, 3] = tracks.get((j, "translation"), [node.translation] * 9)[key]
        placed[j] = placed[parent] @ own if parent >= 0 else own
    np.testing.assert_allclose(placed[:, :3, 3], joints_of(clip, key), atol=1e-5)
    mesh_node = len(clip.avatar.parents)
    np.testing.assert_array_equal(tracks[mesh_node, "weights"][key], clip.expression[key])


def test_bvh_reads_back(clip: MotionClip, tmp_path: Path) -> None:
    path = tmp_path / "motion.bvh"
    path.write_bytes(write_bvh(clip))
    read = read_bvh(path)
    assert read.fps == pytest.approx(25.0) and len(read.positions) == len(clip.times_s)
    rows = [read.names.index(name) for name in clip.avatar.joint_names]
    for n in (0, 3, 6):
        np.testing.assert_allclose(read.positions[n, rows] / 100, joints_of(clip, n), atol=1e-4)


def test_our_bvh_can_be_performed(clip: MotionClip, tmp_path: Path) -> None:
    """A user records with one command and plays it back with the next."""
    path = tmp_path / "motion.bvh"
    path.write_bytes(write_bvh(clip))
    performer = open_performer(str(path))
    assert performer.truth(3).mesh.vertices_m.shape == clip.avatar.rest_vertices_m.shape


def test_euler_angles_at_the_poles() -> None:
    rng = np.random.default_rng(0)
    turns = quaternions.to_matrix(quaternions.normalize(rng.normal(size=(50, 4))))
    poles = quaternions.to_matrix(
        quaternions.from_rotation_vector(np.array([[np.pi / 2, 0, 0], [-np.pi / 2, 0, 0.0]]))
    )
    for matrix in (*turns, *poles):
        z, x, y = euler_zxy(matrix)
        parts = [
            quaternions.to_matrix(quaternions.from_rotation_vector(angle * axis))
            for angle, axis in ((z, np.eye(3)[2]), (x, np.eye(3)[0]), (y, np.eye(3)[1]))
        ]
        np.testing.assert_allclose(parts[0] @ parts[1] @ parts[2], matrix, atol=1e-6)


def test_amass_points_limbs_where_ours_point(clip: MotionClip) -> None:
    """Bones of SMPL-X's rest pose, turned as the file says, lie along the avatar's."""
    with np.load(io.BytesIO(write_amass(clip)), allow_pickle=False) as file:
        poses, trans = file["poses"].reshape(-1, 55, 3), file["trans"]
        assert float(file["mocap_frame_rate"]) == pytest.approx(25.0)
        assert file["betas"].shape == (16,) and str(file["surface_model_type"]) == "smplx"
        names = file["joint_names"].tolist()
    assert len(names) == len(JOINTS) == len(SMPLX_PARENTS) == 55
    assert (
        names[:4] == ["pelvis", "left_hip", "right_hip", "spine1"] and names[-1] == "right_thumb3"
    )
    local = quaternions.to_matrix(quaternions.from_rotation_vector(poses.astype(np.float64)))
    n, turned = 3, np.zeros((55, 3, 3))
    for j, parent in enumerate(SMPLX_PARENTS):
        turned[j] = turned[parent] @ local[n, j] if parent >= 0 else local[n, j]
    ours, index = joints_of(clip, n), clip.avatar.joint_names.index
    to_z_up = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0.0]])
    for name, axis, start, end in (
        ("left_elbow", [1, 0, 0], "lowerarm02.L", "wrist.L"),
        ("right_elbow", [-1, 0, 0], "lowerarm02.R", "wrist.R"),
        ("left_index1", [1, 0, 0], "finger2-1.L", "finger2-2.L"),
        ("right_middle2", [-1, 0, 0], "finger3-2.R", "finger3-3.R"),
    ):
        bone = to_z_up @ (ours[index(end)] - ours[index(start)])
        found = turned[names.index(name)] @ axis
        assert found @ bone / np.linalg.norm(bone) > 0.99, name
    np.testing.assert_allclose(trans[n], to_z_up @ ours[0], atol=1e-5)


def test_csv_has_a_row_a_frame_and_the_times_as_they_were(clip: MotionClip) -> None:
    rows = list(csv.reader(io.StringIO(write_csv(clip).decode())))
    assert len(rows) == 1 + len(clip.times_s) and len(rows[0]) == 4 + 4 * 104 + 52
    assert rows[0][0] == "time_s" and rows[0][-52:] == list(ARKIT_NAMES)
    assert float(rows[3][0]) == pytest.approx(0.08)
    column = rows[0].index("head.qw")
    joint = clip.avatar.joint_names.index("head")
    assert float(rows[5][column]) == pytest.approx(clip.rotations_xyzw[4, joint, 3], abs=1e-5)


def test_uneven_times_are_evened_only_where_a_format_has_none(avatar: FusedAvatar) -> None:
    recorder = MotionRecorder()
    for n, at in enumerate((0, 1, 2, 4, 5, 6)):  # one frame was dropped
        state = random_state(len(avatar.parents), 0, spread=0.2)
        place = np.array([at, 0, 0], np.float32)
        recorder.add(replace(state, index=n, captured_at_ns=at * STEP_NS, translation_m=place))
    clip = recorder.clip(avatar)
    even = clip.evenly_timed()
    np.testing.assert_allclose(even.translation_m[:, 0], np.arange(7), atol=1e-4)
    np.testing.assert_allclose(np.diff(even.times_s), STEP_NS * 1e-9)
    np.testing.assert_allclose(np.linalg.norm(even.rotations_xyzw, axis=2), 1.0, atol=1e-5)
    assert len(write_csv(clip).splitlines()) == 7 and even.evenly_timed() is even


def test_a_long_run_one_frame_and_none(avatar: FusedAvatar) -> None:
    recorder, state = MotionRecorder(), random_state(len(avatar.parents), 0)
    with pytest.raises(AvatarError, match="no motion"):
        recorder.clip(avatar)
    recorder.add(replace(state, captured_at_ns=5))
    recorder.add(replace(state, captured_at_ns=5))  # a clock that stands still
    one = recorder.clip(avatar)
    assert len(one.times_s) == 1
    for write in (write_bvh, write_amass, write_csv):
        assert write(one)
    assert write_glb(avatar, one)
    for n in range(2 * FIRST_ROOM + 5):
        recorder.add(replace(state, captured_at_ns=10 + n))
    assert len(recorder.clip(avatar).times_s) == 2 * FIRST_ROOM + 6


def test_every_name_is_checked_before_anything_is_written(clip: MotionClip, tmp_path: Path) -> None:
    wanted = [tmp_path / "a.bvh", tmp_path / "b.fbx"]
    with pytest.raises(AvatarError, match=r"ends in \.glb, \.npz, \.bvh, \.csv, found .*b\.fbx"):
        export_motion(clip, wanted)
    assert not list(tmp_path.iterdir())
    export_motion(clip, [tmp_path / "new" / "A.CSV"])
    assert (tmp_path / "new" / "A.CSV").stat().st_size > 1000


def test_the_exported_pose_is_the_one_that_was_drawn(clip: MotionClip) -> None:
    """What a viewer skins from the file's joints is the engine's own mesh."""
    state = random_state(len(clip.avatar.parents), 2, spread=0.5)
    mesh = Poser(clip.avatar).pose(state)
    again = Poser(read_glb(write_glb(clip.avatar, clip))).pose(
        replace(state, rotations_xyzw=clip.rotations_xyzw[2], expression=clip.expression[2])
    )
    np.testing.assert_allclose(again.vertices_m, mesh.vertices_m, atol=1e-4)
