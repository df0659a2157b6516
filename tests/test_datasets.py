"""3DPW and EHF as distributed: stand-ins in their layout, drawn people whose truth is known."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from body_files import write_npz
from hypothesis import given, settings
from hypothesis import strategies as st
from people_files import person_arrays
from PIL import Image

from benchmarks.datasets import ehf, threedpw
from benchmarks.datasets.ehf_fusion import aspd_mm
from benchmarks.datasets.paper import TABLE_3_3DPW_MM, beside
from benchmarks.datasets.pictures import GREY, centred_at, only_in
from benchmarks.datasets.smpl_meshes import H36M_TO_14, SmplFiles, SmplPerson
from benchmarks.datasets.tables import print_tables
from engine import quaternions
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.joint_names import ANNY_CHAINS, SMPL_FAMILY
from engine.avatar.parametric_body import avatar_as_body
from engine.body.model_conversion import BodyMotion, ModelConverter
from engine.body.parametric_forward import BodyPoser
from engine.engine import EngineOptions
from engine.errors import ModelFileError, SourceError
from engine.fusion.closest_point import SurfaceTree
from engine.inference.store import ModelStore
from engine.rendering.projection import project
from engine.sources.performer import Performer, open_performer
from exporters.body_models.smpl import read_joint_regressor, read_smpl
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import as_array

FRAMES = 40


def smpl_joints(performer: Performer, index: int) -> np.ndarray:
    """(24, 3) of a drawn person, glTF's camera axes; hands are the wrists."""
    from benchmarks.performer import posed

    places = posed(performer.avatar, performer.truth(index).state)
    names = performer.avatar.joint_names
    chains = {**ANNY_CHAINS, "left_hand": ("wrist.L",), "right_hand": ("wrist.R",)}
    return places[[names.index(chains[name][0]) for name in SMPL_FAMILY["SMPL"]]]


@pytest.fixture(scope="module")
def dpw(model_cache: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sequence of one person before a camera that stands askew in the world."""
    folder = tmp_path_factory.mktemp("3DPW")
    performer = open_performer("full", frames=FRAMES)
    pictures = folder / "imageFiles" / "walk_00"
    pictures.mkdir(parents=True)
    turn = quaternions.to_matrix(quaternions.from_rotation_vector(np.array([0.3, -0.5, 0.2])))
    camera = np.eye(4)
    camera[:3, :3], camera[:3, 3] = turn, (0.4, -1.0, 2.0)
    world, drawn = np.zeros((FRAMES, 72)), np.zeros((FRAMES, 3, 18))
    for n, frame in enumerate(performer):
        Image.fromarray(frame.image).save(pictures / f"image_{n:05}.jpg", quality=95)
        joints = smpl_joints(performer, n)
        seen = joints * [1.0, -1.0, -1.0]
        world[n] = ((seen - camera[:3, 3]) @ turn).ravel()
        pixels = project(joints.astype(np.float32), performer.camera)
        drawn[n, :2], drawn[n, 2] = pixels[:18].T, 0.9
    focal = performer.camera.focal_px
    write_sequence(
        folder / "sequenceFiles" / "test" / "walk_00.pkl",
        cam_poses=np.tile(camera, (FRAMES, 1, 1)),
        cam_intrinsics=np.array([[focal, 0, 320.0], [0, focal, 240.0], [0, 0, 1.0]]),
        jointPositions=[world],
        poses2d=[drawn],
        campose_valid=[np.array([1] * (FRAMES - 5) + [0] * 5)],
        genders=["m"],
        poses=[np.zeros((FRAMES, 72))],
        betas=[np.zeros(10)],
        trans=[np.zeros((FRAMES, 3))],
    )
    return folder


def dpw_content(folder: Path) -> dict[str, Any]:
    """What the stand-in's only sequence holds, as its reader's own reader has it."""
    content = read_pickle(folder / "sequenceFiles" / "test" / "walk_00.pkl")
    return {
        name: as_array(value) if name.startswith("cam_") else [as_array(v).copy() for v in value]
        for name, value in content.items()
        if name not in ("sequence", "genders")
    } | {"genders": ["m"]}


def write_sequence(path: Path, **content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps({"sequence": path.stem, **content}, protocol=2))


def test_a_sequence_is_read_into_the_cameras_axes(dpw: Path) -> None:
    (path,) = threedpw.sequences_of(dpw, "test")
    sequence = threedpw.read_sequence(dpw, path)
    (person,) = sequence.people.values()
    performer = open_performer("full", frames=FRAMES)
    names = SMPL_FAMILY["SMPL"]
    for n in (0, FRAMES - 1):
        true = smpl_joints(performer, n)[[names.index(name) for name in threedpw.JOINTS]]
        np.testing.assert_allclose(person.joints_m[n], true, atol=1e-9)
    assert person.valid.sum() == FRAMES - 5
    left, top, right, bottom = person.boxes[0]
    assert 0 < left < right < 640 and 0 < top < bottom < 480


def with_true_meshes(dpw: Path, files: SmplFiles, folder: Path, frames: int) -> Path:
    """The stand-in with the drawn person's parameters in the world, as SMPL has them."""
    performer, content = open_performer("full", frames=FRAMES), dpw_content(dpw)
    states = [performer.truth(n).state for n in range(frames)]
    turns = [quaternions.to_rotation_vector(s.rotations_xyzw.astype(float)) for s in states]
    places = np.array([state.translation_m for state in states], np.float32)
    own = BodyMotion(np.zeros(0, np.float32), np.array(turns, np.float32), places)
    body = files.neutral
    motion = ModelConverter(avatar_as_body(performer.avatar), body).convert(own).motion
    camera = content["cam_poses"][0]
    to_world = camera[:3, :3].T * [1.0, -1.0, -1.0]
    root = body.joint_template_m[0] + (motion.betas @ body.joint_dirs_m[: len(motion.betas)])[:3]
    poses, trans = np.zeros((FRAMES, 72)), np.zeros((FRAMES, 3))
    for n in range(frames):
        poses[n] = motion.rotations[n].ravel()
        seen = quaternions.to_matrix(quaternions.from_rotation_vector(poses[n, :3]))
        poses[n, :3] = quaternions.to_rotation_vector(quaternions.from_matrix(to_world @ seen))
        moved = to_world @ (root + motion.translation_m[n]) - camera[:3, :3].T @ camera[:3, 3]
        trans[n] = moved - root
    content |= {"poses": [poses], "trans": [trans], "betas": [motion.betas[:10].astype(float)]}
    write_sequence(folder / "sequenceFiles" / "test" / "walk_00.pkl", **content)
    (folder / "imageFiles").symlink_to(dpw / "imageFiles")
    return folder


@pytest.mark.slow
async def test_3dpw_through_the_networks(
    dpw: Path, smpl_folder: Path, model_cache: ModelStore, tmp_path: Path
) -> None:
    options = EngineOptions(store=model_cache, identity=False)
    files = SmplFiles(smpl_folder, smpl_folder / "J_regressor_h36m.npy")
    folder = with_true_meshes(dpw, files, tmp_path, 30)
    with_files = await threedpw.eval_3dpw(folder, options, most_frames=30, smpl=files)
    assert with_files["frames"] == 30
    assert with_files["pa_v2v_mm"] < with_files["v2v_mm"] < 100.0
    assert with_files["regressed_pa_mpjpe_mm"] < with_files["regressed_mpjpe_mm"] < 100.0
    # Other joints of the same people: not the same figure, but no other size.
    assert 0.5 < with_files["regressed_mpjpe_mm"] / with_files["mpjpe_mm"] < 2.0
    assert with_files["table_3"]["mpjpe_mm"]["ours"] == with_files["regressed_mpjpe_mm"]
    found = await threedpw.eval_3dpw(dpw, options)
    assert found["frames"] == FRAMES - 5
    assert found["pa_mpjpe_mm"] < 60.0
    assert found["pa_mpjpe_mm"] <= found["mpjpe_mm"] < 100.0
    assert found["table_3"]["mpjpe_mm"] == {"paper": 93.3, "ours": found["mpjpe_mm"]}
    assert found["people"]["walk_00.0"]["frames"] == FRAMES - 5
    assert found["failed"] == {}


@pytest.fixture(scope="module")
def smpl_folder(model_cache: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stand-in for all genders, and a regressor that takes its own joints."""
    model = BodyModel.load(model_cache.path(FILE_NAME))
    folder = tmp_path_factory.mktemp("smpl")
    arrays = person_arrays(model, "SMPL")
    for name in ("SMPL_NEUTRAL", "SMPL_MALE", "SMPL_FEMALE"):
        write_npz(arrays, folder / f"{name}.npz")
    order = np.zeros(17, int)
    names = SMPL_FAMILY["SMPL"]
    rows = [names.index(name) for name in threedpw.JOINTS]
    order[H36M_TO_14] = rows
    np.save(folder / "J_regressor_h36m.npy", arrays["J_regressor"][order])
    return folder


def test_the_true_mesh_is_posed_and_brought_before_the_camera(smpl_folder: Path) -> None:
    files = SmplFiles(smpl_folder, smpl_folder / "J_regressor_h36m.npy")
    rng = np.random.default_rng(0)
    camera = np.eye(4)
    camera[:3, :3] = quaternions.to_matrix(quaternions.from_rotation_vector(rng.normal(size=3)))
    camera[:3, 3] = rng.normal(size=3)
    poses, trans = rng.normal(0, 0.3, (2, 72)), rng.normal(size=(2, 3))
    person = SmplPerson("f", poses, rng.normal(size=10), trans, np.tile(camera, (2, 1, 1)))
    poser = BodyPoser(files.neutral)
    poser.shape(person.betas.astype(np.float32))
    world = poser.pose(poses[1].reshape(24, 3).astype(np.float32), trans[1].astype(np.float32))
    seen = np.array([camera[:3, :3] @ v + camera[:3, 3] for v in world.astype(float)])
    np.testing.assert_allclose(files.truth(person)(1), seen * [1, -1, -1], atol=1e-6)
    own = files.compared(lambda n: files.truth(person)(n), files.truth(person), [0, 1])
    assert set(own) == {"v2v_mm", "pa_v2v_mm", "regressed_mpjpe_mm", "regressed_pa_mpjpe_mm"}
    assert max(float(v.max()) for v in own.values()) < 1e-6


def test_our_states_as_smpl_meshes(smpl_folder: Path) -> None:
    """They are no error against themselves, and their regressed joints lie where ours lie."""
    files = SmplFiles(smpl_folder, smpl_folder / "J_regressor_h36m.npy")
    performer = open_performer("full", frames=FRAMES)
    states = [performer.truth(n).state for n in range(0, FRAMES, 20)]
    ours = files.ours(performer.avatar, states)
    true = [ours(n).astype(np.float64).copy() for n in range(len(states))]
    errors = files.compared(lambda n: true[n].astype(np.float32), lambda n: true[n], [0, 1])
    assert errors["v2v_mm"].max() < 1e-3
    joints = np.array([smpl_joints(performer, n) for n in range(0, FRAMES, 20)])
    names = SMPL_FAMILY["SMPL"]
    rows = [names.index(name) for name in threedpw.JOINTS]
    assert files.regressor is not None
    regressed = np.array([(files.regressor @ mesh)[H36M_TO_14] for mesh in true])
    assert np.linalg.norm(regressed - joints[:, rows], axis=2).mean() < 0.03


def test_smpls_files_are_named_where_they_are_missing(smpl_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="expected SMPL_NEUTRAL"):
        SmplFiles(tmp_path)
    np.save(tmp_path / "r.npy", np.zeros((17, 100)))
    with pytest.raises(ModelFileError, match=r"expected a regressor \(17, 6890\)"):
        SmplFiles(smpl_folder, tmp_path / "r.npy")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("no folder", "expected .*sequenceFiles"),
        ("cut", "is not a whole pickle"),
        ("hostile", "asks for 'os.system'"),
        ("camera", "is not laid out as 3DPW"),
        ("people", "is not laid out as 3DPW"),
        ("joints", "person 0 of .*jointPositions that are not finite"),
        ("cameras", "cam_poses that are not finite"),
        ("betas", "3 betas"),
        ("picture", "expected the picture .*image_00003"),
    ],
)
async def test_what_is_wrong_with_3dpw_is_said(
    dpw: Path, tmp_path: Path, damage: str, says: str
) -> None:
    path = tmp_path / "sequenceFiles" / "test" / "walk_00.pkl"
    content = dpw_content(dpw)
    if damage != "no folder":
        (tmp_path / "imageFiles").mkdir()
    if damage == "camera":
        content["cam_poses"] = content["cam_poses"][:, :3]
    elif damage == "people":
        content["poses2d"] = []
    elif damage == "joints":
        content["jointPositions"][0][3, 3] = np.nan
    elif damage == "cameras":
        content["cam_poses"] = content["cam_poses"] * np.nan
    elif damage == "betas":
        content["betas"] = [np.zeros(3)]
    elif damage == "picture":
        (tmp_path / "imageFiles" / "walk_00").mkdir()
        for n in range(3):
            (tmp_path / "imageFiles" / "walk_00" / f"image_{n:05}.jpg").write_bytes(b"")
    write_sequence(path, **content)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:500])
    elif damage == "hostile":
        path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises((SourceError, ModelFileError), match=says):
        await threedpw.eval_3dpw(tmp_path, EngineOptions())


def test_a_damaged_person_is_named_and_the_others_stay(dpw: Path, tmp_path: Path) -> None:
    content = dpw_content(dpw)
    for name in threedpw._OF_A_PERSON:
        content[name] = [content[name][0], content[name][0]]
    content["trans"] = [content["trans"][0], content["trans"][0][:7]]
    path = tmp_path / "sequenceFiles" / "test" / "walk_00.pkl"
    write_sequence(path, **content)
    (tmp_path / "imageFiles").symlink_to(dpw / "imageFiles")
    sequence = threedpw.read_sequence(tmp_path, path)
    assert list(sequence.people) == [0]
    assert "person 1 of" in sequence.damaged[1]


def test_genders_that_are_none_hurt_only_who_needs_them(
    dpw: Path, tmp_path: Path, smpl_folder: Path
) -> None:
    """Joints need none. A list nested without end is no name, and is never written out."""
    content = dpw_content(dpw) | {"genders": ["?"]}
    path = tmp_path / "sequenceFiles" / "test" / "walk_00.pkl"
    write_sequence(path, **content)
    nested = b"]" * 20_000 + b"a" * 19_999
    deep = path.read_bytes().replace(b"X\x01\x00\x00\x00?", nested)
    (tmp_path / "imageFiles").symlink_to(dpw / "imageFiles")
    (person,) = threedpw.read_sequence(tmp_path, path).people.values()
    with pytest.raises(SourceError, match="expected genders m or f for V2V, found '\\?'"):
        SmplFiles(smpl_folder).truth(person.smpl)
    assert deep != path.read_bytes()
    path.write_bytes(deep)
    (person,) = threedpw.read_sequence(tmp_path, path).people.values()
    assert person.smpl.gender == ""


def test_accelerations_are_not_taken_across_frames_that_do_not_count() -> None:
    """What moves with a constant error of acceleration has just that error, gaps or none."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(12, 14, 3))
    found = true.copy()
    free = [n for n in range(14) if n not in threedpw.HIPS]
    found[:, free, 0] += 0.001 * np.arange(12.0)[:, None] ** 2
    counted = np.array([0, 1, 2, 3, 8, 9, 10])
    errors = threedpw.joint_errors_mm(found, true, counted)
    assert len(errors["mpjpe_mm"]) == len(counted)
    np.testing.assert_allclose(errors["jitter_mm"], np.full(3, 2.0 * 12 / 14))
    assert not len(threedpw.joint_errors_mm(found, true, np.array([0, 5]))["jitter_mm"])
    alone = threedpw._means([threedpw.joint_errors_mm(found, true, np.array([0]))])
    assert alone["jitter_mm"] is None and alone["frames"] == 1


def test_who_is_not_seen_is_sought_where_they_were() -> None:
    """Else the picture would show everybody, and the engine follow somebody else."""
    boxes = np.full((6, 4), np.nan)
    boxes[1], boxes[5] = (10, 10, 20, 20), (50, 50, 60, 60)
    filled = threedpw._from_nearest(boxes)
    assert filled[:, 0].tolist() == [10, 10, 10, 10, 50, 50]
    assert np.isnan(threedpw._from_nearest(np.full((3, 4), np.nan))).all()


def test_others_are_painted_over() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    shown = only_in(picture, np.array([50.0, 20.0, 90.0, 60.0]))
    assert (shown[8:72, 38:102] == 0).all()
    assert (shown[:8] == GREY).all() and (shown[:, 102:] == GREY).all()
    assert only_in(picture, np.full(4, np.nan)) is picture


def test_what_was_not_measured_is_none() -> None:
    table = beside(TABLE_3_3DPW_MM, {"mpjpe_mm": 80.0})
    assert table["mpjpe_mm"] == {"paper": 93.3, "ours": 80.0}
    assert table["pa_mpjpe_mm"] == {"paper": 53.0, "ours": None}


def test_the_papers_tables_are_printed_with_ours_beside(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With on how much they were measured, who was left out, and why what is missing is."""
    found = {
        "mpjpe_mm": 80.0,
        "ran": "2 people, 90 frames",
        "table_2": beside({"lpips": 0.1022}, {}),
        "table_3": beside(TABLE_3_3DPW_MM, {"mpjpe_mm": 80.0}),
        "table_5": {"copy-paste": beside({"v2v_mm": 73.2}, {}, ours_aspd={"v2v_mm": 12.5})},
        "people": {"walk_00.0": {"mpjpe_mm": 80.0}},
        "failed": {"walk_01.1": "it is cut"},
        "not_measured": {"table_2": "no weights"},
    }
    monkeypatch.setenv("COLUMNS", "140")
    print_tables("3DPW", found)
    printed = " ".join(capsys.readouterr().out.replace("│", " ").replace("┃", " ").split())
    assert "SARS Table III: joints, mm (2 people, 90 frames)" in printed
    assert "paper ours" in printed and "mpjpe_mm 93.3 80" in printed
    assert "pa_mpjpe_mm 53 not measured" in printed
    assert "lpips 0.1022 not measured: no weights" in printed
    assert "copy-paste v2v_mm 73.2 not measured 12.5" in printed
    assert "left out of the means: walk_01.1" in printed and "walk_00.0" not in printed


@pytest.fixture(scope="module")
def smplx_file(model_cache: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = BodyModel.load(model_cache.path(FILE_NAME))
    return write_npz(person_arrays(model, "SMPL-X"), tmp_path_factory.mktemp("x") / "SMPLX.npz")


@pytest.fixture(scope="module")
def ehf_folder(smplx_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture and its mesh, as SMPL-X and in the axes that EHF's files have."""
    folder = tmp_path_factory.mktemp("EHF")
    performer = open_performer("full", frames=30)
    picture = list(performer)[20].image
    take = performer.truth(20)
    state, body = take.state, read_smpl(smplx_file)
    turns = quaternions.to_rotation_vector(state.rotations_xyzw.astype(np.float64))
    own = BodyMotion(
        np.zeros(0, np.float32),
        np.asarray(turns[None], np.float32),
        state.translation_m[None].astype(np.float32),
    )
    motion = ModelConverter(avatar_as_body(performer.avatar), body).convert(own).motion
    poser = BodyPoser(body)
    poser.shape(motion.betas)
    mesh = poser.pose(motion.rotations[0], motion.translation_m[0]).astype(np.float64)
    write_ehf(folder, "01", picture, mesh)
    return folder


def write_ehf(folder: Path, name: str, picture: np.ndarray, mesh: np.ndarray) -> None:
    # As if EHF's camera had seen it, whose axis does not meet the middle: 1600 pixels wide there.
    scale = max(picture.shape[:2]) / ehf.PICTURE_SIDE
    off = [round(scale * a - n / 2) for a, n in zip(ehf.AXIS_PX, picture.shape[1::-1], strict=True)]
    shifted = np.roll(picture, (off[1], off[0]), axis=(0, 1))
    Image.fromarray(shifted).save(folder / f"{name}_img.png")
    turn = quaternions.to_matrix(quaternions.from_rotation_vector(ehf.TURN))
    seen = (mesh * [1.0, -1.0, -1.0] - ehf.PLACE_M) @ turn
    faces = np.array([[0, 1, 2]])
    trimesh.Trimesh(seen, faces, process=False).export(folder / f"{name}_align.ply")


@pytest.mark.slow
async def test_ehf_through_the_networks(
    ehf_folder: Path, smplx_file: Path, model_cache: ModelStore, tmp_path: Path
) -> None:
    body = read_smpl(smplx_file)
    near = np.linalg.norm(body.template_m - body.joint_template_m[15], axis=1) < 0.12
    np.save(tmp_path / ehf.FACE_FILE, np.flatnonzero(near))
    hands = {
        f"{side}_hand": np.flatnonzero(body.weights[:, wrist] > 0.5)
        for side, wrist in (("left", 20), ("right", 21))
    }
    (tmp_path / ehf.HANDS_FILE).write_bytes(pickle.dumps(hands, protocol=2))
    options = EngineOptions(store=model_cache, identity=False)
    found = await ehf.eval_ehf(ehf_folder, smplx_file, tmp_path, options)
    assert found["pictures"] == 1
    assert found["pa_v2v_mm"] < 60.0
    assert found["pa_v2v_mm"] < found["v2v_mm"] < 120.0
    assert found["conversion_mm"] < 15.0
    assert found["table_4"]["pa_v2v_mm"] == {"paper": 53.8, "ours": found["pa_v2v_mm"]}
    assert found["table_4"]["face_v2v_mm"]["ours"] == found["face_v2v_mm"] > 0.0
    assert found["hands_pa_v2v_mm"] < found["hands_v2v_mm"]
    assert found["aspd_mm"] < found["v2v_mm"]
    for mode in ("copy-paste", "optimisation", "attention"):
        row = found["table_5"][mode]["v2v_mm"]
        assert row["ours"] is None and 0.0 < row["ours_aspd"] < found["v2v_mm"]
        assert found["table_5"][mode]["face_v2v_mm"]["ours_aspd"] > 0.0
    assert found["aspd_mm"] == found["table_5"]["copy-paste"]["v2v_mm"]["ours_aspd"]
    faces = [found["table_5"][mode]["face_v2v_mm"]["ours_aspd"] for mode in found["table_5"]]
    assert len(set(faces)) > 1  # without a face of one's own all modes give the same


def test_the_mesh_is_brought_before_ehfs_camera(tmp_path: Path) -> None:
    mesh = np.random.default_rng(0).normal(size=(ehf.VERTICES, 3)) - [0.0, 0.0, 3.0]
    write_ehf(tmp_path, "01", np.zeros((4, 4, 3), np.uint8), mesh)
    np.testing.assert_allclose(ehf.read_alignment(tmp_path / "01_img.png"), mesh, atol=1e-5)


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_what_is_wrong_with_an_alignment_is_said(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "01_align.ply"
    if damage == "cut":
        write_ehf(tmp_path, "01", np.zeros((4, 4, 3), np.uint8), np.zeros((ehf.VERTICES, 3)))
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "other":
        trimesh.creation.box().export(path)
    with pytest.raises(SourceError, match=r"expected|is not a whole PLY"):
        ehf.read_alignment(tmp_path / "01_img.png")


async def test_other_models_and_folders_are_refused(
    tmp_path: Path, model_cache: ModelStore
) -> None:
    model = BodyModel.load(model_cache.path(FILE_NAME))
    path = write_npz(person_arrays(model, "SMPL"), tmp_path / "SMPL.npz")
    with pytest.raises(ModelFileError, match="expected SMPL-X's 10475 vertices"):
        await ehf.eval_ehf(tmp_path, path, None, EngineOptions())
    with pytest.raises(SourceError, match=r"expected pictures such as 01_img\.png"):
        ehf.pictures_of(tmp_path)
    with pytest.raises(ModelFileError, match="SMPL-X__FLAME_vertex_ids"):
        ehf.parts_of(tmp_path)


def test_parts_are_faces_hands_and_the_rest(tmp_path: Path) -> None:
    np.save(tmp_path / ehf.FACE_FILE, np.arange(100, 200))
    hands = {"left_hand": np.arange(50), "right_hand": np.arange(50, 90)}
    (tmp_path / ehf.HANDS_FILE).write_bytes(pickle.dumps(hands, protocol=2))
    parts = ehf.parts_of(tmp_path)
    assert {name: len(rows) for name, rows in parts.items()} == {
        "body": ehf.VERTICES - 190,
        "face": 100,
        "left_hand": 50,
        "right_hand": 40,
    }
    hands["left_hand"] = np.array([20_000])
    (tmp_path / ehf.HANDS_FILE).write_bytes(pickle.dumps(hands, protocol=2))
    with pytest.raises(ModelFileError, match="are not SMPL-X's"):
        ehf.parts_of(tmp_path)


def test_a_picture_counts_once_though_it_is_there_twice(tmp_path: Path) -> None:
    """EHF has each as PNG and as JPEG."""
    for name in ("02_img.png", "01_img.jpg", "01_img.png", "03_img.jpg"):
        (tmp_path / name).write_bytes(b"")
    names = [path.name for path in ehf.pictures_of(tmp_path)]
    assert names == ["01_img.png", "02_img.png", "03_img.jpg"]


@settings(max_examples=25, deadline=None)
@given(x=st.floats(0, 60), y=st.floats(0, 40))
def test_grey_brings_the_lens_axis_to_the_middle(x: float, y: float) -> None:
    picture = np.full((40, 60, 3), 7, np.uint8)
    shown = centred_at(picture, (x, y))
    assert (shown == 7).sum() == picture.size
    rows, columns = np.nonzero((shown == 7).all(axis=2))
    middle = shown.shape[1] / 2, shown.shape[0] / 2
    assert columns.min() + x == pytest.approx(middle[0], abs=0.51)
    assert rows.min() + y == pytest.approx(middle[1], abs=0.51)


PARTS: dict[str, np.ndarray] = {
    "body": np.arange(20, 40),
    "face": np.arange(20),
    "left_hand": np.arange(40, 50),
    "right_hand": np.arange(50, 60),
}


def regressor_of(rng: np.random.Generator) -> np.ndarray:
    """(55, 60), each joint some mean of vertices."""
    weights = rng.uniform(size=(55, 60))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(0.5, 2.0))
def test_errors_do_not_see_what_they_should_not(seed: int, scale: float) -> None:
    """V2V forgives a place, PA-V2V any similarity; both see everything else."""
    rng = np.random.default_rng(seed)
    true, regressor = rng.normal(size=(60, 3)), regressor_of(rng)
    measure: Callable[[np.ndarray], dict[str, float]] = lambda found: ehf.mesh_errors(
        found, true, regressor, PARTS
    )
    placed = measure(true + rng.normal(size=3))
    assert max(placed.values()) < 1e-6
    turn = quaternions.to_matrix(quaternions.from_rotation_vector(rng.normal(size=3)))
    moved = measure(scale * true @ turn.T + rng.normal(size=3))
    assert max(v for name, v in moved.items() if "pa_" in name) < 1e-6
    noisy = measure(true + rng.normal(0, 0.01, true.shape))
    assert 8.0 < noisy["pa_v2v_mm"] < 1.02 * noisy["v2v_mm"]


def test_parts_are_moved_by_their_joints_and_hands_each_by_its_own() -> None:
    """A part moved by its own middle would hide that it sits in the wrong place on the body."""
    rng = np.random.default_rng(0)
    true, names = rng.normal(size=(60, 3)), SMPL_FAMILY["SMPL-X"]
    regressor = np.zeros((55, 60))
    for joint, row in (("pelvis", 20), ("neck", 21), ("left_wrist", 40), ("right_wrist", 50)):
        regressor[names.index(joint), row] = 1.0
    found = true.copy()
    found[PARTS["face"]] += [0.03, 0.0, 0.04]
    found[PARTS["left_hand"]] += [0.5, 0.0, 0.0]
    errors = ehf.mesh_errors(found, true, regressor, PARTS)
    assert errors["face_v2v_mm"] == pytest.approx(50.0)
    assert errors["body_v2v_mm"] == pytest.approx(0.0, abs=1e-9)
    assert errors["face_pa_v2v_mm"] == pytest.approx(0.0, abs=1e-6)
    assert errors["hands_v2v_mm"] == pytest.approx(0.0, abs=1e-6)
    assert errors["hands_pa_v2v_mm"] == pytest.approx(0.0, abs=1e-6)
    found[41:50] += [0.02, 0.0, 0.0]
    again = ehf.mesh_errors(found, true, regressor, PARTS)
    assert again["hands_v2v_mm"] == pytest.approx((20.0 * 9 / 10 + 0.0) / 2)


def test_aspd_is_the_mean_of_both_ways() -> None:
    """Against trimesh's own closest points; of a part only what lies nearest to it comes back."""
    a = trimesh.creation.icosphere(subdivisions=2, radius=1.0)
    b = trimesh.creation.icosphere(subdivisions=3, radius=1.1)
    b.apply_translation([0.05, 0.0, 0.0])
    there = trimesh.proximity.closest_point_naive(a, b.vertices)[1].mean()
    back = trimesh.proximity.closest_point_naive(b, a.vertices)[1].mean()
    ours, truth = (SurfaceTree(m.vertices, m.faces.astype(np.int32)) for m in (a, b))
    assert aspd_mm(ours, truth) == pytest.approx(1e3 * (there + back) / 2, rel=1e-6)
    assert aspd_mm(truth, truth) == pytest.approx(0.0, abs=1e-6)
    right = np.flatnonzero(b.vertices[:, 0] > 0.3)
    left = np.flatnonzero(b.vertices[:, 0] < -0.3)
    assert aspd_mm(ours, truth, right) > 120.0 > 80.0 > aspd_mm(ours, truth, left)


def test_the_joint_regressor_is_the_files_own(smplx_file: Path, tmp_path: Path) -> None:
    body, regressor = read_smpl(smplx_file), read_joint_regressor(smplx_file)
    np.testing.assert_allclose(regressor @ body.template_m, body.joint_template_m, atol=1e-5)
    np.savez(tmp_path / "m.npz", J_regressor=np.zeros((5, 5)))
    with pytest.raises(ModelFileError, match=r"expected J_regressor \(J, V\), found \(5, 5\)"):
        read_joint_regressor(tmp_path / "m.npz")
