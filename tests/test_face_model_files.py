"""FLAME's and FaceScape's own files: read whole, named when wrong, and never run."""

from __future__ import annotations

import contextlib
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_heads import facescape_arrays, flame_arrays, write_flame_pickle
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.avatar.morphable_file import load_morphable_model, save_morphable_model
from engine.avatar.morphable_model import JAW_OPEN, MOUTH_CLOSE, Part
from engine.errors import ModelFileError
from engine.types import ARKIT_NAMES
from exporters.face_models import pickle_reader
from exporters.face_models.facescape import ACTION_ORDER, read_facescape
from exporters.face_models.flame import JAW, LEFT_EYE, read_flame
from exporters.face_models.flame_texture import give_texture
from exporters.face_models.metric_scale import metres_per_unit
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import as_array

# FLAME


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_pickle_of_chumpy_and_sparse_arrays_is_read_without_either(
    tmp_path: Path, protocol: int
) -> None:
    path, truth = tmp_path / "generic_model.pkl", flame_arrays()
    write_flame_pickle(path, truth, protocol)
    model, rig = read_flame(path)
    np.testing.assert_allclose(model.mean_m, truth["v_template"], atol=1e-7)
    assert len(model.identity) == 300
    np.testing.assert_allclose(model.identity.mode(7), truth["shapedirs"][:, :, 7], atol=2e-7)
    np.testing.assert_array_equal(model.faces, truth["f"])
    np.testing.assert_allclose(rig.joints_m, truth["J_regressor"] @ truth["v_template"])
    assert {Part.FACE, Part.EYE_LEFT, Part.EYE_RIGHT} == set(model.face_parts)


def test_the_pickle_and_the_npz_are_the_same_model(tmp_path: Path) -> None:
    truth = flame_arrays()
    write_flame_pickle(tmp_path / "a.pkl", truth)
    np.savez(tmp_path / "a.npz", **truth)
    ours, theirs = read_flame(tmp_path / "a.pkl"), read_flame(tmp_path / "a.npz")
    np.testing.assert_array_equal(ours[0].identity.steps, theirs[0].identity.steps)
    np.testing.assert_array_equal(ours[1].pose_modes_m, theirs[1].pose_modes_m)


def test_a_turned_jaw_is_linear_blend_skinning_with_pose_correctives(tmp_path: Path) -> None:
    truth = flame_arrays()
    np.savez(tmp_path / "a.npz", **truth)
    _, rig = read_flame(tmp_path / "a.npz")
    c, s = np.cos(0.3), np.sin(0.3)
    rotation = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    pose = np.concatenate([np.zeros(9), (rotation - np.eye(3)).ravel(), np.zeros(18)])
    joints = truth["J_regressor"] @ truth["v_template"]
    expected = np.empty_like(truth["v_template"])
    for v, corrected in enumerate(truth["v_template"] + truth["posedirs"] @ pose):
        posed = [corrected] * 5
        posed[JAW] = rotation @ (corrected - joints[JAW]) + joints[JAW]
        expected[v] = truth["weights"][v] @ np.array(posed)
    found = rig.template_m + rig.turned(JAW, rotation)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert np.abs(rig.turned(LEFT_EYE, np.eye(3))).max() < 1e-12


FLAME_DAMAGE: dict[str, tuple[Any, str]] = {
    "v_template": (np.zeros((4, 2)), r"v_template has shape \(4, 2\), expected any x 3"),
    "shapedirs": (np.zeros((7, 3, 310)), r"shapedirs .* expected 120 x 3 x any"),
    "posedirs": (np.zeros((120, 3, 9)), "posedirs .* expected 120 x 3 x 36"),
    "weights": (np.full((120, 5), np.nan), "weights holds numbers that are not finite"),
    "J_regressor": (np.zeros((24, 120)), "J_regressor .* expected 5 x 120"),
    "f": (np.full((9, 3), 120), r"f points outside of 0\.\.119"),
}


@pytest.mark.parametrize("name", FLAME_DAMAGE)
@pytest.mark.parametrize("suffix", [".npz", ".pkl"])
def test_what_is_wrong_in_flames_file_is_named(tmp_path: Path, name: str, suffix: str) -> None:
    wrong, message = FLAME_DAMAGE[name]
    path = tmp_path / f"flame{suffix}"

    def write(arrays: dict[str, Any]) -> None:
        if suffix == ".npz":
            np.savez(path, **arrays)
        else:
            path.write_bytes(pickle.dumps(arrays, 2))

    write({**flame_arrays(), name: wrong})
    with pytest.raises(ModelFileError, match=message):
        read_flame(path)
    write({key: value for key, value in flame_arrays().items() if key != name})
    with pytest.raises(ModelFileError, match=f"there is no {name}"):
        read_flame(path)


def texture_arrays(faces: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {
        "mean": rng.uniform(0, 255, (9, 9, 3)),
        "tex_dir": rng.normal(0, 9, (9, 9, 3, 60)).astype(np.float32),
        "vt": rng.random((20, 2)),
        "ft": rng.integers(0, 20, (faces, 3)),
    }


def test_flames_texture_space_is_red_first_and_the_right_way_up(tmp_path: Path) -> None:
    np.savez(tmp_path / "flame.npz", **flame_arrays())
    model, _ = read_flame(tmp_path / "flame.npz")
    truth = texture_arrays(len(model.faces))
    np.savez(tmp_path / "texture.npz", **truth)
    textured = give_texture(model, tmp_path / "texture.npz")
    assert textured.albedo is not None and len(textured.albedo.basis) == 50
    tau = np.zeros(3, np.float32)
    tau[2] = -1.5
    expected = (truth["mean"] - 1.5 * truth["tex_dir"][..., 2])[..., ::-1] / 255
    found = textured.albedo.colours(tau)
    np.testing.assert_allclose(found, np.clip(expected, 0, 1), atol=1e-4)
    np.testing.assert_allclose(textured.uvs, truth["vt"] * [1, -1] + [0, 1], atol=1e-6)
    save_morphable_model(textured, tmp_path / "head.npz")
    again = load_morphable_model(tmp_path / "head.npz")
    np.testing.assert_array_equal(again.albedo.colours(tau), found)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("mean", np.zeros((9, 9)), "mean has shape"),
        ("tex_dir", np.zeros((9, 8, 3, 2)), r"tex_dir has shape .* expected \(9, 9, 3\) by modes"),
        ("vt", np.full((20, 2), np.nan), "not finite"),
        ("ft", np.zeros((5, 3), int), "vt and ft have shapes"),
        ("ft", np.full((198, 3), 20), r"ft points outside of 0\.\.19"),
    ],
)
def test_what_is_wrong_in_flames_texture_is_named(
    tmp_path: Path, name: str, wrong: np.ndarray, message: str
) -> None:
    np.savez(tmp_path / "flame.npz", **flame_arrays())
    model, _ = read_flame(tmp_path / "flame.npz")
    np.savez(tmp_path / "texture.npz", **{**texture_arrays(len(model.faces)), name: wrong})
    with pytest.raises(ModelFileError, match=message):
        give_texture(model, tmp_path / "texture.npz")


# Pickles


class Calls:
    """Pickles as a call of anything at all."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self.reduced


def hostile(tmp_path: Path) -> dict[str, bytes]:
    """Pickles that would leave a file called ``mark`` behind when loaded, one way or another."""
    mark = tmp_path / "mark"
    touch = f"open({str(mark)!r}, 'w').close()"
    raw = {
        "getattr of builtins": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\nS'x'\ntR.",
        "a dotted name": b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93.",
        "a name within a known module": b"cnumpy.core.multiarray\nfromfile\n.",
        "an instance": f"(S'touch {mark}'\nios\nsystem\n.".encode(),
        "an object": b"(cos\nsystem\n" + f"S'touch {mark}'\no.".encode(),
        "an extension": b"\x80\x02\x82\x01.",
        "a persistent id": b"Pmodel\n.",
        "a call of a string": b"(S'os.system'\n(S'id'\ntR.",
        "a state for a name": b"cnumpy\nndarray\n}S'__init__'\nNsb.",
        "a name made on the stack": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02id\x85R.",
    }
    calls = {
        "os.system": Calls(os.system, f"touch {mark}"),
        "builtins.eval": Calls(eval, touch),
        "builtins.exec": Calls(exec, touch),
        "numpy.load": Calls(np.load, str(mark)),
        "within a known call": Calls(np.dtype, Calls(os.system, f"touch {mark}")),
        "in a dictionary": {"v_template": [Calls(exec, touch)]},
    }
    return raw | {name: pickle.dumps(value, 2) for name, value in calls.items()}


HOSTILE = sorted(hostile(Path()))


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_in_a_pickle_executes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(hostile(tmp_path)[name])
    with pytest.raises(ModelFileError):
        read_pickle(path)
    assert not (tmp_path / "mark").exists()


def test_the_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(hostile(tmp_path)["os.system"])
    with pytest.raises(ModelFileError, match=r"asks for '(posix|nt)\.system', which no head model"):
        read_flame(path)


def array_record(shape: tuple[int, ...], code: str, content: bytes) -> Any:
    class Fake:
        def __reduce__(self) -> Any:
            reconstruct = np.zeros(1).__reduce__()[0]
            return reconstruct, (np.ndarray, (0,), b"b"), (1, shape, np.dtype(code), False, content)

    return Fake()


@pytest.mark.parametrize(
    ("shape", "code", "content"),
    [
        ((10**12, 10**6), "f8", b"1234"),
        ((-1, -8), "u1", b"12345678"),
        ((2,), "f8", b"1234"),
        ((1,), "O", b"12345678"),
        ((1,), "V8", b"12345678"),
    ],
)
def test_an_array_that_is_not_what_it_claims_is_refused(
    tmp_path: Path, shape: tuple[int, ...], code: str, content: bytes
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"v_template": array_record(shape, code, content)}, 2))
    with pytest.raises(ModelFileError, match="v_template is not an array"):
        read_flame(path)


def test_a_huge_sparse_matrix_is_refused_before_it_is_written_out(tmp_path: Path) -> None:
    from scipy.sparse import csc_matrix

    matrix = csc_matrix((np.zeros(0), np.zeros(0, int), np.zeros(3, int)), shape=(5, 2))
    matrix._shape = (10**9, 2)  # type: ignore[attr-defined]
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({**flame_arrays(), "J_regressor": matrix}, 2))
    with pytest.raises(ModelFileError, match="too large"):
        read_flame(path)


@pytest.mark.parametrize("kind", ["csc_matrix", "csr_matrix", "csc_array"])
def test_sparse_matrices_are_written_out(tmp_path: Path, kind: str) -> None:
    import scipy.sparse

    dense = np.random.default_rng(0).random((5, 9)).round() * 3.5
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"a": getattr(scipy.sparse, kind)(dense)}, 2))
    np.testing.assert_array_equal(as_array(read_pickle(path)["a"]), dense)


def test_a_chumpy_expression_beside_the_arrays_harms_nothing_and_is_no_array(
    tmp_path: Path,
) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"\x80\x02}U\x01Jcchumpy.ch_ops\nadd\n)\x81}b.".replace(b"}b.", b"}bs."))
    values = read_pickle(path)
    with pytest.raises(ValueError, match="expected an array, found add"):
        as_array(values["J"])


@pytest.mark.parametrize(
    "content",
    [
        b"(" * 100_002 + b".",
        b"]" * 40_000 + b"a" * 39_999 + b".",
        b"\x80\x02}q\x00(h\x00h\x00u.",
    ],
    ids=["marks", "deep lists", "a dictionary as its own key"],
)
def test_depth_and_length_are_bounded(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pickle_reader, "MAX_STEPS", 100_000)
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        read_pickle(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_pickle_is_an_error_of_ours_or_still_numbers(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("pickle") / "model.pkl"
    content = bytearray(pickle.dumps({"a": np.arange(6.0), "b": [1, "x", None]}, 2))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(ModelFileError):
        assert isinstance(read_pickle(path), dict)


numbers = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(content=st.dictionaries(st.text(), numbers, max_size=3), protocol=st.integers(0, 5))
@settings(deadline=None, max_examples=40)
def test_plain_values_are_read_as_pickle_reads_them(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, Any], protocol: int
) -> None:
    path = tmp_path_factory.mktemp("pickle") / "model.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    assert read_pickle(path) == content


@given(
    shape=st.lists(st.integers(0, 4), max_size=3),
    code=st.sampled_from(["<f4", ">f8", "<i4", "u1", "?", ">i2"]),
    protocol=st.integers(0, 5),
    in_columns=st.booleans(),
)
@settings(deadline=None)
def test_arrays_are_read_as_numpy_reads_them(
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    code: str,
    protocol: int,
    in_columns: bool,
) -> None:
    values = np.random.default_rng(0).uniform(0, 100, shape).astype(code)
    values = np.asarray(values, order="F" if in_columns else "C")
    path = tmp_path_factory.mktemp("pickle") / "model.pkl"
    path.write_bytes(pickle.dumps({"a": values}, protocol))
    np.testing.assert_array_equal(as_array(read_pickle(path)["a"]), values)


def test_python_2s_strings_are_bytes_of_arrays(tmp_path: Path) -> None:
    """As Python 2 wrote FLAME: protocol 2, the bytes of an array in a string of 8 bits."""
    values = np.array([1.5, -2.0])
    content = (
        b"\x80\x02}U\x01acnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x10" + values.tobytes() + b"tbs."
    )
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    np.testing.assert_array_equal(as_array(read_pickle(path)["a"]), values)


# FaceScape


@pytest.fixture
def facescape(tmp_path: Path) -> Path:
    path = tmp_path / "facescape_bm_v1.6_847_4_52_id_front.npz"
    np.savez(path, **facescape_arrays())
    return path


def test_a_bilinear_core_becomes_identity_at_neutral_and_expressions_at_the_mean(
    facescape: Path,
) -> None:
    truth, (model, _) = facescape_arrays(), read_facescape(facescape)
    core, mean = truth["shape_bm_core"], truth["id_mean"]
    neutral = np.eye(52)[0]
    np.testing.assert_allclose(
        model.mean_m * 1000, (core @ mean @ neutral).reshape(-1, 3), atol=2e-3
    )
    factors = mean + np.array([0, 2.0, 0, -1.0]) * np.sqrt(truth["id_var"])
    found = model.shape(np.array([0, 2, 0, -1], np.float32))
    np.testing.assert_allclose(found * 1000, (core @ factors @ neutral).reshape(-1, 3), atol=2e-3)
    beta = np.zeros(52, np.float32)
    beta[JAW_OPEN] = 1
    pose = (core @ mean @ np.eye(52)[20]).reshape(-1, 3)  # 20 is JawOpen
    face = model.face(np.zeros(4, np.float32), beta)
    np.testing.assert_allclose(face * 1000, pose, atol=4e-3)


def test_facescape_has_every_action_but_the_tongue() -> None:
    assert set(ARKIT_NAMES) - set(ACTION_ORDER) == {"tongueOut"}
    assert len(set(ACTION_ORDER)) == len(ACTION_ORDER) == 51
    assert ACTION_ORDER.index("mouthClose") + 1 == 21


def test_facescapes_colours_are_red_first_and_its_back_is_the_mean_skin(facescape: Path) -> None:
    truth, (model, _) = facescape_arrays(), read_facescape(facescape)
    assert model.albedo is not None and model.correctives == ((MOUTH_CLOSE, JAW_OPEN),)
    colours = model.albedo.colours(np.array([0.0, 1.0], np.float32))
    row = 3
    blue_first = (truth["color_bm_mean"] + truth["color_bm_core"][:, 1]).reshape(-1, 3)[row] / 255
    np.testing.assert_allclose(colours[truth["v_indices_front"][row]], blue_first[::-1], atol=1e-4)
    known = truth["vc_dict_front"] >= 0
    mean = truth["color_bm_mean"].reshape(-1, 3)[known].mean(axis=0)[::-1] / 255
    np.testing.assert_allclose(colours[1], mean, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("shape_bm_core", np.zeros((216, 47, 4)), "expected three rows .* 52 expressions by 4"),
        ("shape_bm_core", np.full((216, 52, 4), np.inf), "not finite"),
        ("shape_bm_core", np.asfortranarray(np.ones((216, 52, 4))), "row by row"),
        ("id_var", np.array([1.0, -1, 1, 1]), "none negative"),
        ("id_mean", np.zeros(3), "expected as many variances"),
        ("fv_indices", np.zeros((9, 3), int), r"fv_indices points outside of 1\.\.72"),
        ("ft_indices", np.ones((9, 3), int), "ft_indices has shape"),
        ("texcoords", np.full((72, 2), np.nan), "texcoords"),
        ("lm_list_v16", np.full(68, 72), "lm_list_v16 points outside"),
        ("lm_list_v16", np.zeros(68, int), "in one place"),
        ("v_indices_front", np.full(36, 72), "point outside of the mesh"),
        ("id_mean", np.array([None] * 4), "Python objects"),
    ],
)
def test_what_is_wrong_in_facescapes_file_is_named(
    tmp_path: Path, name: str, wrong: np.ndarray, message: str
) -> None:
    path = tmp_path / "facescape.npz"
    np.savez(path, **{**facescape_arrays(), name: wrong})
    with pytest.raises(ModelFileError, match=message):
        read_facescape(path)


@pytest.mark.parametrize(("distance", "unit"), [(0.088, 1.0), (9.4, 0.01), (85.0, 0.001)])
def test_the_unit_of_a_head_is_read_off_its_eyes(distance: float, unit: float) -> None:
    assert metres_per_unit(distance) == pytest.approx(unit)
