"""`sars convert body` and `--export F.npz --body MODEL`: files in, files out, or one sentence."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from body_twins import write_twin
from rigs import random_state
from typer.testing import CliRunner

from engine.avatar.anny import BodyModel
from engine.body.blend_skinning import Poser
from engine.body.parametric_forward import BodyPoser
from engine.errors import AvatarError, ModelFileError
from engine.fusion.closest_point import SurfaceTree
from engine.inference.store import BODY_FILE, ModelStore
from engine.sources.bvh import read_bvh
from engine.sources.motion.retarget import MocapMotion
from engine.sources.motion.skeleton import Skeleton
from engine.sources.performer import person
from exporters.motion.amass import Z_UP, write_amass
from exporters.motion.body_files import gender_of, motion_bytes, read_motion
from exporters.motion.clip import MotionClip, MotionRecorder
from exporters.motion.converting import (
    NamedModel,
    convert_clip,
    convert_file,
    open_model,
    z_up_motion,
)
from sars import MotionFiles, app

FRAMES = 3


@pytest.fixture(scope="module")
def twin_file(model_cache: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = BodyModel.load(model_cache.path(BODY_FILE))
    return write_twin("SMPL-X", model, tmp_path_factory.mktemp("twins") / "SMPLX_FEMALE.npz")


@pytest.fixture(scope="module")
def smplx(twin_file: Path) -> NamedModel:
    return open_model(str(twin_file))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """As AMASS's files are."""
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 0.15, (FRAMES, 165))
    poses[:, 66:75] = 0.0  # jaw and eyes
    return {
        "poses": poses,
        "trans": rng.normal(0, 1, (FRAMES, 3)),
        "betas": np.array([0.5, -1.0, 0.3]),
        "mocap_frame_rate": np.array(120.0),
        "gender": np.array("female"),
    }


def written(arrays: dict[str, np.ndarray], path: Path) -> Path:
    np.savez(path, **arrays)
    return path


def test_a_file_goes_to_anny_and_back(
    twin_file: Path, smplx: NamedModel, whole: dict[str, np.ndarray], tmp_path: Path
) -> None:
    """By the command line: what a user gets is the motion that they had."""
    names = [written(whole, tmp_path / "in.npz"), tmp_path / "anny.npz", tmp_path / "back.npz"]
    for given, out, models in (
        (names[0], names[1], (str(twin_file), "anny")),
        (names[1], names[2], ("anny", str(twin_file))),
    ):
        told = tmp_path / "told.json"
        options = ["--from", models[0], "--to", models[1], "--json", str(told)]
        result = CliRunner().invoke(app, ["convert", "body", str(given), str(out), *options])
        assert result.exit_code == 0, result.output
        numbers = json.loads(told.read_text())
        assert numbers["frames"] == FRAMES and numbers["fps"] == 120.0
        assert numbers["ms_per_frame"] > 0.0
        for part in ("all", "body", "hands", "head"):
            spread = numbers["vertices_mm"][part]
            assert 0.0 < spread["mean"] < 2.0 and spread["p95"] < 8.0 and part in result.output
    first, last = (read_motion(path, smplx.body).motion for path in (names[0], names[2]))
    poser, apart = BodyPoser(smplx.body), []
    for n in range(FRAMES):
        both = []
        for motion in (first, last):
            poser.shape(motion.betas)
            both.append(poser.pose(motion.rotations[n], motion.translation_m[n]).copy())
        apart.append(np.linalg.norm(both[0] - both[1], axis=1))
    assert np.mean(apart) < 0.003
    with np.load(names[2], allow_pickle=False) as file:
        assert str(file["gender"]) == "female" and str(file["surface_model_type"]) == "smplx"
        assert file["poses"].shape == (FRAMES, 165) and float(file["mocap_frame_rate"]) == 120.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"poses": np.zeros((3, 156))}, r"expected poses \(N, 165\).*which is SMPL\+H's"),
        ({"poses": np.zeros((0, 165))}, "expected poses"),
        ({"poses": np.full((3, 165), np.nan)}, "poses in row 0 is not finite"),
        ({"trans": np.zeros((2, 3))}, r"expected numbers trans \(3, 3\)"),
        ({"trans": np.full((3, 3), 1e30)}, "beyond 10000"),
        ({"trans": None}, "holds no array 'trans'"),
        ({"poses": np.array([["x"] * 165] * 3)}, "expected numbers poses"),
        ({"poses": np.array([[{}] * 165] * 3)}, "Python objects"),
        ({"betas": np.ones(40)}, "has 40 betas"),
        ({"betas": np.ones((3, 10))}, "of one person"),
        ({"mocap_frame_rate": None}, "expected one frame rate"),
        ({"mocap_frame_rate": np.array(0.0)}, "expected one frame rate"),
        ({"surface_model_type": np.array("smplh")}, "is a motion of smplh"),
    ],
)
def test_what_is_wrong_with_a_motion_is_said(
    change: dict, words: str, smplx: NamedModel, whole: dict[str, np.ndarray], tmp_path: Path
) -> None:
    arrays = {name: value for name, value in (whole | change).items() if value is not None}
    with pytest.raises(ModelFileError, match=words):
        read_motion(written(arrays, tmp_path / "bad.npz"), smplx.body)


def test_a_motion_cut_short_leaves_nothing_behind(
    twin_file: Path, whole: dict[str, np.ndarray], tmp_path: Path
) -> None:
    content = written(whole, tmp_path / "in.npz").read_bytes()
    for spoilt in (content[: len(content) // 2], b"", b"PK\x03\x04" + bytes(99)):
        (tmp_path / "cut.npz").write_bytes(spoilt)
        with pytest.raises(AvatarError, match="not a file of arrays"):
            CliRunner().invoke(
                app,
                ["convert", "body", str(tmp_path / "cut.npz"), str(tmp_path / "out.npz"),
                 "--from", str(twin_file), "--to", str(twin_file)],
                catch_exceptions=False,
            )  # fmt: skip
    bent = bytearray(content)
    bent[200:260] = bytes(60)
    (tmp_path / "bent.npz").write_bytes(bent)
    with pytest.raises(AvatarError, match="damaged"):
        read_motion(tmp_path / "bent.npz", open_model(str(twin_file)).body)
    assert not (tmp_path / "out.npz").exists()
    with pytest.raises(AvatarError, match="found the folder"):
        same = open_model(str(twin_file))
        convert_file(tmp_path / "in.npz", tmp_path, same, same, lambda _n, _of: None)


def test_one_frame_and_the_betas_that_a_model_lacks(
    smplx: NamedModel, whole: dict[str, np.ndarray], tmp_path: Path
) -> None:
    short = whole | {"poses": whole["poses"][:1], "trans": whole["trans"][:1]}
    short["betas"] = np.pad(whole["betas"], (0, 13))  # AMASS's 16, of which the model knows 10
    read = read_motion(written(short, tmp_path / "a.npz"), smplx.body)
    assert read.motion.betas.shape == (10,) and read.motion.rotations.shape == (1, 55, 3)
    content = motion_bytes(smplx.body, read.motion, read.fps, {})
    (tmp_path / "b.npz").write_bytes(content)
    again = read_motion(tmp_path / "b.npz", smplx.body)
    np.testing.assert_array_equal(again.motion.rotations, read.motion.rotations)
    assert zipfile.ZipFile(io.BytesIO(content)).testzip() is None
    assert [str(gender_of(n)) for n in ("SMPLX_MALE.npz", "a/smpl_f.pkl")] == ["male", "neutral"]


@pytest.fixture(scope="module")
def clip(model_cache: ModelStore) -> MotionClip:
    """Somebody's avatar, moving."""
    avatar, recorder = person(3, model_cache), MotionRecorder()
    for n in range(FRAMES):
        state = random_state(len(avatar.parents), n, spread=0.15)
        still = replace(state, captured_at_ns=n * 40_000_000, expression=0.0 * state.expression)
        recorder.add(still)
    return recorder.clip(avatar)


def test_an_exported_motion_has_the_shape_of_the_avatar(
    clip: MotionClip, smplx: NamedModel, tmp_path: Path
) -> None:
    """The body of the file, posed by its own model, lies on the avatar that was drawn."""
    content, numbers = convert_clip(clip, smplx, lambda _n, _of: None)
    (tmp_path / "motion.npz").write_bytes(content)
    read = read_motion(tmp_path / "motion.npz", smplx.body)
    poser = BodyPoser(smplx.body)
    poser.shape(read.motion.betas)
    assert np.abs(read.motion.betas).max() > 0.1
    state = random_state(len(clip.avatar.parents), 1, spread=0.15)
    drawn = Poser(clip.avatar).pose(replace(state, expression=0.0 * state.expression))
    surface = SurfaceTree(drawn.vertices_m @ Z_UP.T, clip.avatar.topology.faces)
    vertices = poser.pose(read.motion.rotations[1], read.motion.translation_m[1])
    far = np.linalg.norm(surface.closest(vertices).points - vertices, axis=1)
    assert far.mean() < 0.004
    assert numbers["vertices_mm"]["all"]["mean"] == pytest.approx(1e3 * far.mean(), rel=0.5)


def test_joint_angles_alone_are_read_about_the_pelvis(
    clip: MotionClip, smplx: NamedModel, tmp_path: Path
) -> None:
    """Our own export without a model says where the pelvis is; only a model knows its origin."""
    (tmp_path / "motion.npz").write_bytes(write_amass(clip))
    read = read_motion(tmp_path / "motion.npz", smplx.body)
    poser = BodyPoser(smplx.body)
    poser.shape(read.motion.betas)
    poser.pose(read.motion.rotations[2], read.motion.translation_m[2])
    pelvis = poser.joints_m[0] + read.motion.translation_m[2]
    root = clip.avatar.joints_m[0]
    np.testing.assert_allclose(pelvis, Z_UP @ (root + clip.translation_m[2]), atol=1e-5)
    np.testing.assert_allclose(z_up_motion(clip).translation_m[2] + root, pelvis, atol=1e-5)


def test_a_model_is_opened_before_the_run_that_needs_it(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not exist"):
        MotionFiles([tmp_path / "a.npz"], str(tmp_path / "none.npz")).check()
    with pytest.raises(AvatarError, match=r"add --export FILE\.npz"):
        MotionFiles([tmp_path / "a.bvh"], "anny").check()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cmu/02_01.bvh", "cmu/131_03.bvh"])
def test_recorded_motions(
    name: str, smplx: NamedModel, model_cache: ModelStore, shared_data: Path
) -> None:
    """Walking, and more: motions of people, a frame in ten."""
    avatar, recorder = person(2, model_cache), MotionRecorder()
    motion = MocapMotion(read_bvh(shared_data / "mocap" / name), Skeleton.of(avatar))
    for n in range(0, int(motion.duration_s * 30), 10):
        moment = motion.at(n / 30)
        state = replace(
            random_state(len(avatar.parents), 0),
            captured_at_ns=n * 33_333_333,
            rotations_xyzw=moment.rotations_xyzw,
            translation_m=moment.root_m,
        )
        recorder.add(state)
    _, numbers = convert_clip(recorder.clip(avatar), smplx, lambda _n, _of: None)
    assert numbers["vertices_mm"]["all"]["mean"] < 4.0
    assert numbers["vertices_mm"]["all"]["p95"] < 12.0
