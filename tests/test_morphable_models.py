"""Heads of different makers behave alike, and a damaged file is named instead of believed."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from fake_heads import small_model, write_ict_folder
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.avatar.morphable_file import load_morphable_model, save_morphable_model
from engine.avatar.morphable_model import JAW_OPEN, MOUTH_CLOSE, Basis, MorphableModel, Part
from engine.avatar.surface_points import SurfacePoints
from engine.errors import ModelFileError
from engine.types import ARKIT_NAMES
from exporters.face_models.ict import read_ict

COMPACT = Path(__file__).parents[2] / "shared/data/ict_facekit/ict_light_compact.npz"
needs_ict = pytest.mark.skipif(
    not COMPACT.is_file(), reason=f"ICT-FaceKit's compact copy is not at {COMPACT}"
)


def one_hot(*names: str) -> np.ndarray:
    beta = np.zeros(len(ARKIT_NAMES), np.float32)
    beta[[ARKIT_NAMES.index(name) for name in names]] = 1.0
    return beta


def assert_same(a: object, b: object) -> None:
    """Two dataclasses hold the same, arrays in them to the last bit."""
    assert type(a) is type(b)
    if not dataclasses.is_dataclass(a):
        np.testing.assert_array_equal(a, b)
        return
    for field in dataclasses.fields(a):
        assert_same(getattr(a, field.name), getattr(b, field.name))


def test_a_face_is_mean_plus_identity_plus_expression() -> None:
    model = small_model(0)
    rng = np.random.default_rng(1)
    alpha = rng.normal(size=len(model.identity)).astype(np.float32)
    beta = model.valid(rng.random(52).astype(np.float32))
    expected = model.mean_m.astype(np.float64)
    for k, weight in enumerate(alpha):
        expected = expected + weight * model.identity.mode(k)
    for k, weight in enumerate(beta):
        expected = expected + weight * model.expression.mode(k)
    np.testing.assert_allclose(model.face(alpha, beta), expected, atol=1e-6)


def test_quantised_modes_stay_within_half_a_step() -> None:
    modes = np.random.default_rng(2).normal(0, 0.01, (3, 50, 3)).astype(np.float32)
    basis = Basis.of(modes)
    for k in range(3):
        assert np.abs(basis.mode(k) - modes[k]).max() <= 0.5001 * basis.step[k]
    assert Basis.of(np.zeros((1, 5, 3), np.float32)).mode(0).any() == np.False_


def test_more_coefficients_than_modes_is_an_error_and_fewer_are_not() -> None:
    basis = small_model(0).identity
    np.testing.assert_array_equal(basis.combine(np.ones(1, np.float32)), basis.mode(0))
    with pytest.raises(ValueError, match=f"at most {len(basis)}"):
        basis.combine(np.ones(len(basis) + 1, np.float32))


@given(st.floats(0, 1), st.floats(0, 1))
def test_lips_never_close_further_than_the_jaw_has_parted_them(close: float, jaw: float) -> None:
    beta = np.zeros(52, np.float32)
    beta[MOUTH_CLOSE], beta[JAW_OPEN] = close, jaw
    valid = small_model(0).valid(beta)
    assert valid[MOUTH_CLOSE] == min(np.float32(close), np.float32(jaw))
    assert valid[JAW_OPEN] == np.float32(jaw)


def test_a_landmark_without_a_place_is_not_a_number() -> None:
    points = SurfacePoints(
        np.array([[0, 1, 2], [-1, -1, -1]], np.int32),
        np.array([[0.5, 0.25, 0.25], [np.nan] * 3], np.float32),
    )
    vertices = np.array([[0, 0, 0], [4, 0, 0], [0, 4, 8]], np.float32)
    found = points.on(vertices)
    np.testing.assert_allclose(found[0], [1, 1, 2])
    assert np.isnan(found[1]).all() and list(points.placed) == [True, False]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), with_all=st.booleans())
def test_a_model_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory, seed: int, with_all: bool
) -> None:
    path = tmp_path_factory.mktemp("model") / "head.npz"
    model = small_model(seed, with_all=with_all)
    save_morphable_model(model, path)
    assert_same(load_morphable_model(path), model)


DAMAGE = {
    "format_version": (np.array(9), "version 9, expected 1"),
    "mean_m": (np.zeros((42, 2), np.float32), r"mean_m has shape \(42, 2\).*expected any x 3"),
    "identity_steps": (np.zeros((2, 41, 3), np.int16), "identity_steps has .* any x 42 x 3"),
    "identity_step_m": (np.zeros(99, np.float32), "identity_step_m has shape"),
    "expression_steps": (np.zeros((51, 42, 3), np.int16), "expected 52 x 42 x 3"),
    "actions": (np.zeros(51, np.bool_), "actions has shape"),
    "correctives": (np.array([[0, 52]]), "correctives points outside of 0..51"),
    "faces": (np.full((60, 3), 42), "faces points outside of 0..41"),
    "face_parts": (np.full(60, 200, np.uint8), "face_parts points outside"),
    "uvs": (np.full((45, 2), np.nan, np.float32), "uvs holds numbers that are not finite"),
    "face_uvs": (np.full((60, 3), -1), "face_uvs points outside"),
    "landmark_triangles": (np.full((478, 3), -1), "half placed"),
    "landmark_barycentric": (np.ones((478, 3), np.float32), "half placed|sum to 1"),
    "albedo_size": (np.array([3, -1]), "albedo_size"),
    "albedo_mean": (np.zeros((41, 3), np.float32), "albedo_mean has shape"),
    "name": (np.array(["two", "names"]), "name is not a line of text"),
    "licence": (np.array([object()], object), "Python objects"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_wrong_array_is_named_with_what_was_expected(tmp_path: Path, name: str) -> None:
    path = tmp_path / "head.npz"
    save_morphable_model(small_model(4), path)
    with np.load(path) as stored:
        arrays = {key: stored[key] for key in stored.files}
    wrong, message = DAMAGE[name]
    np.savez(path, **{**arrays, name: wrong})
    with pytest.raises(ModelFileError, match=message):
        load_morphable_model(path)
    del arrays[name]
    if not name.startswith(("landmark_triangles", "albedo_mean")):  # without these two, none
        np.savez(path, **arrays)
        with pytest.raises(ModelFileError, match=f"holds no array '{name}'"):
            load_morphable_model(path)


@pytest.mark.parametrize("keep", [0, 10, 300, -1, -100])
def test_a_cut_file_is_an_error_of_ours(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "head.npz"
    save_morphable_model(small_model(4), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelFileError):
        load_morphable_model(path)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_flipped_byte_is_noticed_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("model") / "head.npz"
    save_morphable_model(small_model(4), path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        model = load_morphable_model(path)
    except ModelFileError:
        return
    assert model.faces.max() < len(model.mean_m)


def test_a_header_that_never_ends_is_damage(tmp_path: Path) -> None:
    """Numpy gives such a header to Python's tokenizer, which has an exception of its own."""
    path = tmp_path / "head.npz"
    save_morphable_model(small_model(4), path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    first = next(iter(members))
    members[first] = members[first].replace(b"}", b"(", 1)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ModelFileError, match=r"head\.npz"):
        load_morphable_model(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"nothing\.npz does not exist"):
        load_morphable_model(tmp_path / "nothing.npz")


def test_an_array_that_claims_more_than_it_holds_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    save_morphable_model(small_model(4), path)
    import zipfile

    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 3), }"
    lie = (
        b"\x93NUMPY\x01\x00" + (len(header) + 1).to_bytes(2, "little") + header + b"\n" + b"\0" * 8
    )
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["mean_m.npy"] = lie
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(ModelFileError, match="claims more"):
        load_morphable_model(path)


@pytest.fixture(scope="module")
def ict_folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    folder = tmp_path_factory.mktemp("ict") / "FaceXModel"
    return folder, write_ict_folder(folder)


def test_icts_download_is_read_in_metres_by_arkit_names(
    ict_folder: tuple[Path, dict[str, np.ndarray]],
) -> None:
    folder, truth = ict_folder
    model = read_ict(folder)
    np.testing.assert_allclose(model.mean_m, truth["neutral"] / 100, atol=1e-6)
    np.testing.assert_allclose(model.identity.mode(1), truth["identity001"] / 100, atol=1e-6)
    np.testing.assert_allclose(model.express(one_hot("jawOpen")), truth["jawOpen"] / 100, atol=1e-6)
    inner = (truth["browInnerUp_L"] + truth["browInnerUp_R"]) / 100
    np.testing.assert_allclose(model.express(one_hot("browInnerUp")), inner, atol=1e-6)
    has = {name for name, there in zip(ARKIT_NAMES, model.actions, strict=True) if there}
    assert has == {"browDownLeft", "browInnerUp", "jawOpen"}
    polygons = truth["polygons"]
    assert len(model.faces) == len(polygons) + len(polygons) // 2  # every other one is a quad
    np.testing.assert_array_equal(model.faces[-1], polygons[-1][[0, 2, 3]])
    np.testing.assert_allclose(model.uvs, [[0.25, 0.25], [1.5, 0.5]])
    assert model.face_parts[9229] == Part.FACE and model.face_parts[9230] == Part.HEAD


def damaged(folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).symlink_to(file)
    return copy


def put(folder: Path, name: str, content: str) -> None:
    (folder / name).unlink()
    (folder / name).write_text(content)


ICT_DAMAGE = {
    "jawOpen.obj": ("v 1 2 3\n", "jawOpen.obj has 1 vertices, expected the 26719"),
    "identity000.obj": ("v 1 2\n", "expected 3 numbers after each v"),
    "generic_neutral_mesh.obj": ("v 1 2 3\nf 1 1\n", "three or four corners"),
    "vertex_indices.json": ("{", "vertex_indices.json cannot be read"),
}


@pytest.mark.parametrize("name", ICT_DAMAGE)
def test_what_is_wrong_in_icts_folder_is_named(
    ict_folder: tuple[Path, dict[str, np.ndarray]], tmp_path: Path, name: str
) -> None:
    folder = damaged(ict_folder[0], tmp_path)
    content, message = ICT_DAMAGE[name]
    put(folder, name, content)
    with pytest.raises(ModelFileError, match=message):
        read_ict(folder)


def test_an_expression_cannot_name_a_file_elsewhere(
    ict_folder: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    folder = damaged(ict_folder[0], tmp_path)
    put(folder, "vertex_indices.json", json.dumps({"expressions": ["../../etc/passwd"]}))
    with pytest.raises(ModelFileError, match="are not names"):
        read_ict(folder)


@pytest.mark.slow
def test_icts_polygons_may_not_point_outside(
    ict_folder: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    folder = damaged(ict_folder[0], tmp_path)
    lines = (folder / "generic_neutral_mesh.obj").read_text().splitlines()
    put(folder, "generic_neutral_mesh.obj", "\n".join([*lines[:-1], "f 1/1 2/1 26720/1"]))
    with pytest.raises(ModelFileError, match="points outside of the 26719 vertices"):
        read_ict(folder)
    put(folder, "generic_neutral_mesh.obj", "\n".join([*lines[:-1], "f 1/1 2/1 3/9"]))
    with pytest.raises(ModelFileError, match="points outside of 2 texture coordinates"):
        read_ict(folder)


@needs_ict
def test_the_compact_copy_agrees_with_its_own_numbers() -> None:
    model = read_ict(COMPACT)
    with np.load(COMPACT) as raw:
        neutral, names = raw["neutral"], list(raw["expression_names"])
        identity = raw["identity_q"][3] * raw["identity_scale"][3]
        smile = names.index("mouthSmile_L")
        expression = raw["expression_q"][smile] * raw["expression_scale"][smile]
    np.testing.assert_allclose(model.mean_m, neutral * 0.01, atol=1e-7)
    alpha = np.eye(100, dtype=np.float32)[3] * 2
    np.testing.assert_allclose(model.shape(alpha), (neutral + 2 * identity) * 0.01, atol=1e-7)
    found = model.express(one_hot("mouthSmileLeft"))
    np.testing.assert_allclose(found, expression * 0.01, atol=1e-6)
    assert [n for n, has in zip(ARKIT_NAMES, model.actions, strict=True) if not has] == [
        "tongueOut"
    ]


@needs_ict
def test_icts_left_is_the_persons_left_and_its_skin_faces_forward() -> None:
    model = read_ict(COMPACT)
    for name, sign in (("eyeBlinkLeft", 1), ("mouthSmileRight", -1), ("browDownLeft", 1)):
        moved = np.linalg.norm(model.express(one_hot(name)), axis=1) > 0.003
        assert np.sign(model.mean_m[moved, 0].mean()) == sign, name
    a, b, c = model.mean_m[model.faces_of(Part.FACE)].transpose(1, 0, 2)
    assert np.cross(b - a, c - a)[:, 2].sum() > 0
    eyes = [model.mean_m[model.faces_of(part)][..., 0] for part in (Part.EYE_LEFT, Part.EYE_RIGHT)]
    assert eyes[0].min() > 0 > eyes[1].max()


@needs_ict
def test_mouth_close_brings_icts_lips_together_over_an_open_jaw_only() -> None:
    model: MorphableModel = read_ict(COMPACT)
    rest, opened, closed, alone = (
        model.face(np.zeros(1, np.float32), beta)
        for beta in (
            np.zeros(52, np.float32),
            one_hot("jawOpen"),
            one_hot("jawOpen", "mouthClose"),
            one_hot("mouthClose"),
        )
    )
    upper, lower = 5533, 5517  # ICT's own inner lip landmarks, 62 and 66 of its 68
    gap = {
        name: float(np.linalg.norm(face[upper] - face[lower]))
        for name, face in (("rest", rest), ("open", opened), ("closed", closed))
    }
    assert gap["open"] > 0.025 and gap["rest"] < 0.002
    assert gap["closed"] < 0.3 * gap["open"]
    np.testing.assert_array_equal(alone, rest)
    unchecked = rest + model.expression.combine(one_hot("mouthClose"))
    assert unchecked[lower, 1] > unchecked[upper, 1] + 0.01  # the lower lip above the upper one
