"""SMPL's family: read from the official layouts, posed as its makers pose it, never trusted."""

from __future__ import annotations

import json
import struct
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from body_files import SIZES, made_up, write_npz, write_pickle

from engine.avatar.anny import BodyModel
from engine.avatar.parametric_body import ParametricBody, anny_as_body
from engine.body.parametric_forward import BodyPoser
from engine.body.parametric_jacobian import pose_with_derivatives
from engine.errors import AvatarError, ModelFileError
from engine.inference.store import BODY_FILE, ModelStore
from engine.types import Phenotypes
from exporters.body_models.smpl import read_smpl

RNG = np.random.default_rng(2)
NOWHERE = np.zeros(3, np.float32)


@pytest.fixture(scope="module", params=list(SIZES))
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A made-up model's arrays, its file, and the body read from it."""
    arrays = made_up(request.param)
    path = write_npz(arrays, tmp_path_factory.mktemp("models") / "SMPLX_NEUTRAL.npz")
    return request.param, arrays, path, read_smpl(path)


def plain_forward(arrays: dict[str, np.ndarray], betas: Any, rotations: Any) -> np.ndarray:
    """Eqs (4)-(8) as they are written, in float64."""
    from scipy.spatial.transform import Rotation

    shaped = arrays["v_template"] + arrays["shapedirs"][..., : len(betas)] @ betas
    joints = arrays["J_regressor"] @ shaped
    local = Rotation.from_rotvec(rotations).as_matrix()
    posed = shaped + arrays["posedirs"] @ (local[1:] - np.eye(3)).ravel()
    parents, transforms = arrays["kintree_table"][0], []
    for n, (turn, joint) in enumerate(zip(local, joints, strict=True)):
        own = np.eye(4)
        own[:3, :3] = turn
        own[:3, 3] = joint - (joints[parents[n]] if n else 0)
        transforms.append(transforms[parents[n]] @ own if n else own)
    away = [t[:3, 3] - t[:3, :3] @ j for t, j in zip(transforms, joints, strict=True)]
    turns = np.array([t[:3, :3] for t in transforms])
    by_joint = np.einsum("jab,vb->vja", turns, posed) + np.array(away)
    return np.asarray(np.einsum("vj,vja->va", arrays["weights"], by_joint))


def test_vertices_are_those_of_the_equations(model: Any) -> None:
    _, arrays, _, body = model
    poser, betas = BodyPoser(body), RNG.normal(0, 1, 8)
    rotations = RNG.normal(0, 0.4, (len(body.parents), 3))
    poser.shape(betas.astype(np.float32))
    found = poser.pose(rotations.astype(np.float32), NOWHERE)
    np.testing.assert_allclose(found, plain_forward(arrays, betas, rotations), atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_vertices_are_those_of_smplx(model: Any, tmp_path: Path) -> None:
    """The reference implementation on the very same file."""
    smplx = pytest.importorskip("smplx", reason="the reference, of the test extra")
    import torch

    name, arrays, path, body = model
    kinds = {"SMPL": smplx.SMPL, "SMPL+H": smplx.SMPLH, "SMPL-X": smplx.SMPLX}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == "SMPL":  # smplx takes SMPL from pickles alone
            path = tmp_path / "SMPL_NEUTRAL.pkl"
            import pickle

            path.write_bytes(pickle.dumps(arrays))
        more = {} if name == "SMPL" else {"use_pca": False, "flat_hand_mean": True}
        if name == "SMPL+H":
            more["ext"] = "npz"
        reference = kinds[name](str(path), **more)
    rotations = RNG.normal(0, 0.4, (len(body.parents), 3)).astype(np.float32)
    betas, translation = RNG.normal(0, 1, 10), RNG.normal(0, 1, 3).astype(np.float32)
    given = {"betas": betas, "global_orient": rotations[0], "body_pose": rotations[1:22]}
    expression = None
    if name == "SMPL":
        given["body_pose"] = rotations[1:]
    else:
        given |= {"left_hand_pose": rotations[-30:-15], "right_hand_pose": rotations[-15:]}
    if name == "SMPL-X":
        expression = RNG.normal(0, 1, 10).astype(np.float32)
        given |= {"expression": expression, "jaw_pose": rotations[22]}
        given |= {"leye_pose": rotations[23], "reye_pose": rotations[24]}
    rows = {key: torch.tensor(value.reshape(1, -1), dtype=torch.float32)
            for key, value in given.items()}  # fmt: skip
    with torch.no_grad():
        wanted = reference(transl=torch.tensor(translation[None]), **rows).vertices[0].numpy()
    poser = BodyPoser(body)
    poser.shape(betas.astype(np.float32), expression)
    np.testing.assert_allclose(poser.pose(rotations, translation), wanted, atol=1e-5)


def test_a_pickle_of_chumpy_and_sparse_arrays_is_the_same_model(tmp_path: Path) -> None:
    arrays = made_up("SMPL")
    plain = read_smpl(write_npz(arrays, tmp_path / "a.npz"))
    for protocol in (0, 2, 4):
        read = read_smpl(write_pickle(arrays, tmp_path / f"{protocol}.pkl", protocol=protocol))
        np.testing.assert_allclose(read.template_m, plain.template_m)
        np.testing.assert_allclose(read.joint_dirs_m, plain.joint_dirs_m, atol=1e-9)
        np.testing.assert_array_equal(read.parents, plain.parents)


def safetensors(arrays: dict[str, np.ndarray]) -> bytes:
    header, body = {}, b""
    for name, array in arrays.items():
        raw = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
        kind = "F32" if array.dtype.kind == "f" else "I64"
        header[name] = {"dtype": kind, "shape": raw.shape,
                        "data_offsets": [len(body), len(body) + raw.nbytes]}  # fmt: skip
        body += raw.tobytes()
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def test_safetensors(tmp_path: Path) -> None:
    arrays, path = made_up("SMPL"), tmp_path / "smpl.safetensors"
    path.write_bytes(safetensors(arrays))
    assert read_smpl(path).template_m[5, 1] == np.float32(arrays["v_template"][5, 1])
    for spoilt in (b"", path.read_bytes()[:5000], b"\xff" * 100):
        (tmp_path / "bad.safetensors").write_bytes(spoilt)
        with pytest.raises(ModelFileError, match="not a whole safetensors"):
            read_smpl(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("v_template", np.zeros((100, 3)), "SMPL 6890 x 24"),
        ("weights", np.zeros((6890, 23)), "found .* x 23"),
        ("posedirs", np.zeros((6890, 3, 9)), "expected posedirs .*207"),
        ("kintree_table", np.full((2, 24), 99), "points outside"),
        ("kintree_table", np.stack([np.arange(24)] * 2), "not a tree"),
        ("shapedirs", np.full((6890, 3, 10), np.nan), "not finite"),
        ("weights", np.full((6890, 24), 0.5), "do not sum to 1"),
        ("f", np.full((9, 3), 7000), "faces point outside"),
        ("J_regressor", None, "holds no J_regressor"),
    ],
)
def test_what_is_wrong_with_a_model_file_is_said(
    tmp_path: Path, name: str, value: Any, words: str
) -> None:
    arrays = made_up("SMPL")
    arrays[name] = value
    path = write_npz({k: v for k, v in arrays.items() if v is not None}, tmp_path / "m.npz")
    with pytest.raises(ModelFileError, match=words):
        read_smpl(path)


def test_files_cut_short_or_hostile(tmp_path: Path) -> None:
    whole = write_pickle(made_up("SMPL"), tmp_path / "whole.pkl").read_bytes()
    path = tmp_path / "cut.pkl"
    for content in (whole[:100_000], b"", b"cos\nsystem\n(S'touch /tmp/x'\ntR."):
        path.write_bytes(content)
        with pytest.raises(ModelFileError):
            read_smpl(path)
    with pytest.raises(ModelFileError, match="does not exist"):
        read_smpl(tmp_path / "none.npz")


def test_hands_by_components(model: Any) -> None:
    name, arrays, _, body = model
    if name == "SMPL":
        assert body.hands is None
        return
    weights = RNG.normal(0, 1, 6).astype(np.float32)
    wanted = weights @ arrays["hands_componentsl"][:6] + arrays["hands_meanl"]
    np.testing.assert_allclose(body.hands[0].pose(weights).ravel(), wanted, atol=1e-5)
    assert not body.hands[1].pose(np.zeros(3, np.float32), flat=True).any()


def test_the_shape_set_last_stays_and_joints_at_rest_cost_nothing(model: Any) -> None:
    _, _, _, body = model
    poser, still = BodyPoser(body), np.zeros((len(body.parents), 3), np.float32)
    np.testing.assert_allclose(poser.pose(still, NOWHERE), body.template_m, atol=1e-6)
    poser.shape(np.ones(3, np.float32))
    first = poser.pose(still, NOWHERE).copy()
    poser.pose(RNG.normal(0, 1, still.shape).astype(np.float32), NOWHERE)
    np.testing.assert_array_equal(poser.pose(still, NOWHERE), first)
    np.testing.assert_allclose(poser.joints_m, poser.rest_joints_m, atol=1e-6)


def test_shapes_that_move_nothing_are_no_trouble(tmp_path: Path) -> None:
    """Files have expressions of zeros; laying them out once went on until memory ran out."""
    arrays = made_up("SMPL")
    arrays["shapedirs"][..., 3] = 0.0
    poser = BodyPoser(read_smpl(write_npz(arrays, tmp_path / "m.npz")))
    poser.shape(np.eye(10, dtype=np.float32)[3])
    found = poser.pose(np.zeros((24, 3), np.float32), np.zeros(3, np.float32))
    np.testing.assert_allclose(found, arrays["v_template"], atol=1e-5)


def test_bad_parameters_are_named(model: Any) -> None:
    _, _, _, body = model
    poser = BodyPoser(body)
    with pytest.raises(AvatarError, match="betas"):
        poser.shape(np.zeros(body.betas + 1, np.float32))
    with pytest.raises(AvatarError, match="finite"):
        poser.shape(np.full(2, np.nan, np.float32))
    with pytest.raises(AvatarError, match="takes rotations"):
        poser.pose(np.zeros((3, 3), np.float32), NOWHERE)
    with pytest.raises(AvatarError, match="finite"):
        poser.pose(np.full((len(body.parents), 3), np.inf, np.float32), NOWHERE)


def small(body: ParametricBody, correctives: bool) -> ParametricBody:
    return body if correctives else replace(body, pose_dirs_m=body.pose_dirs_m[:0])


@pytest.mark.parametrize("correctives", [True, False])
def test_derivatives_are_those_of_finite_differences(correctives: bool, tmp_path: Path) -> None:
    body = small(read_smpl(write_npz(made_up("SMPL"), tmp_path / "m.npz")), correctives)
    rows = np.array([5, 900, 4000, 6889], np.int32)
    shape, turns = RNG.normal(0, 1, 10), RNG.normal(0, 0.5, (24, 3))
    turns[3] = 0.0
    place, step = RNG.normal(0, 1, 3), 1e-6
    at = pose_with_derivatives(body, rows, shape, turns, place)
    poser = BodyPoser(body)
    poser.shape(shape.astype(np.float32))
    found = poser.pose(turns.astype(np.float32), place.astype(np.float32))[rows]
    np.testing.assert_allclose(at.vertices_m, found, atol=2e-5)
    for joint, axis in ((0, 1), (3, 2), (7, 0), (15, 1), (23, 2)):
        moved = turns.copy()
        moved[joint, axis] += step
        ahead = pose_with_derivatives(body, rows, shape, moved, place)
        for name, by in (("vertices_m", at.vertices_by_pose), ("joints_m", at.joints_by_pose)):
            wanted = (getattr(ahead, name) - getattr(at, name)) / step
            np.testing.assert_allclose(by[:, :, joint, axis], wanted, atol=2e-5)
    for beta in (0, 9):
        moved = shape.copy()
        moved[beta] += step
        ahead = pose_with_derivatives(body, rows, moved, turns, place)
        for name, by in (("vertices_m", at.vertices_by_shape), ("joints_m", at.joints_by_shape)):
            wanted = (getattr(ahead, name) - getattr(at, name)) / step
            np.testing.assert_allclose(by[:, :, beta], wanted, atol=1e-7)


def test_anny_is_one_of_them(model_cache: ModelStore) -> None:
    """The same vertices as Anny's own code, up to the floor that it stands on."""
    model = BodyModel.load(model_cache.path(BODY_FILE))
    body = anny_as_body(model)
    phenotypes = Phenotypes(gender=0.9, age=0.8, weight=0.7, height=0.3)
    poser = BodyPoser(body)
    poser.shape(model.coefficients(phenotypes))
    still = np.zeros((len(body.parents), 3), np.float32)
    found, wanted = poser.pose(still, NOWHERE), model.shape(phenotypes).vertices_m
    lifted = found - np.array([0.0, found[:, 1].min(), 0.0], np.float32)
    np.testing.assert_allclose(lifted, wanted, atol=1e-5)
