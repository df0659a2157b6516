"""Anny's head lends other heads its landmarks and expressions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_heads import flame_arrays, grid_mesh

import sars
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.anny_head import AnnyHead, anny_head
from engine.avatar.morphable_file import load_morphable_model, save_morphable_model
from engine.avatar.morphable_model import MorphableModel, Part
from engine.errors import ModelFileError
from engine.face.landmark_embedding import default_embedding
from engine.fusion.closest_point import SurfaceTree
from engine.types import ARKIT_NAMES, F64, Phenotypes
from exporters.face_models import ict_layout, known_points
from exporters.face_models.convert import convert_flame, run_conversion
from exporters.face_models.correspondence import LaidOnto, embed_landmarks, lay_onto
from exporters.face_models.facescape import ACTION_ORDER
from exporters.face_models.flame import FlameRig
from exporters.face_models.flame_actions import give_actions
from exporters.face_models.flame_landmarks import read_known_points
from exporters.face_models.ict import read_ict
from exporters.face_models.transfer import transfer

EYELIDS_68 = {37: 160, 38: 158, 40: 153, 41: 144, 43: 385, 44: 387, 46: 373, 47: 380}
"""Multi-PIE's points on the eyelids as MediaPipe's: none of them guides the registration."""


@pytest.fixture(scope="module")
def body(model_cache) -> BodyModel:
    return BodyModel.load(model_cache.path(FILE_NAME))


@pytest.fixture(scope="module")
def head(body: BodyModel) -> AnnyHead:
    return anny_head(body)


def one_hot(*names: str) -> np.ndarray:
    beta = np.zeros(len(ARKIT_NAMES), np.float32)
    beta[[ARKIT_NAMES.index(name) for name in names]] = 1.0
    return beta


# Anny's head


def test_the_head_is_the_bodys_own(body: BodyModel, head: AnnyHead) -> None:
    person = Phenotypes(age=0.9, gender=1.0)
    older = anny_head(body, person).model
    whole = body.shape(person).vertices_m
    np.testing.assert_array_equal(older.mean_m, whole[head.body_vertices])
    np.testing.assert_allclose(
        older.landmarks.on(older.mean_m), default_embedding().landmarks_m(whole), atol=1e-6
    )
    assert older.landmarks.placed.all() and older.actions.all()


def test_alpha_is_the_bodys_face(body: BodyModel, head: AnnyHead) -> None:
    alpha = np.random.default_rng(0).normal(size=body.identity_count).astype(np.float32)
    plain, own = body.shape(Phenotypes()), body.shape(Phenotypes(), alpha)
    moved = (own.vertices_m - plain.vertices_m)[head.body_vertices]
    np.testing.assert_allclose(head.model.shape(alpha) - head.model.mean_m, moved, atol=2e-6)


def test_the_head_keeps_its_texture_and_its_parts(body: BodyModel, head: AnnyHead) -> None:
    model = head.model
    rows = {tuple(face): k for k, face in enumerate(body.faces)}
    for f in range(0, len(model.faces), 97):
        k = rows[tuple(head.body_vertices[model.faces[f]])]
        np.testing.assert_array_equal(model.uvs[model.face_uvs[f]], body.uvs[body.face_uvs[k]])
    left = model.mean_m[np.unique(model.faces_of(Part.EYE_LEFT))]
    assert left[:, 0].min() > 0 and len(left) > 50


def test_annys_mouth_close_is_a_corrective_too(head: AnnyHead) -> None:
    still = head.model.express(one_hot("mouthClose"))
    assert not still.any()
    raw = head.model.expression.combine(one_hot("mouthClose"))
    assert np.linalg.norm(raw, axis=1).max() > 0.01


def test_annys_head_survives_the_file(head: AnnyHead, tmp_path: Path) -> None:
    save_morphable_model(head.model, tmp_path / "anny.npz")
    again = load_morphable_model(tmp_path / "anny.npz")
    np.testing.assert_array_equal(again.face_uvs, head.model.face_uvs)
    np.testing.assert_array_equal(again.identity.steps, head.model.identity.steps)


# Deformation transfer


def bump(points: F64) -> F64:
    """(2, V, 3): a smooth push and a tilt."""
    height = 0.01 * np.exp(-(points[:, :2] ** 2).sum(axis=1) / 0.03**2)
    push = np.stack([0 * height, 0.3 * height, height], axis=1)
    tilt = np.stack([0 * height, -0.1 * points[:, 2], 0.1 * points[:, 1]], axis=1)
    return np.stack([push, tilt])


def test_a_sheet_of_another_topology_moves_as_its_counterpart() -> None:
    source, source_faces = grid_mesh(41, 31)
    target, faces = grid_mesh(23, 37)
    carried = transfer(SurfaceTree(source, source_faces), bump(source), target, faces)
    np.testing.assert_allclose(carried, bump(target), atol=4e-4)


def test_vertices_without_a_face_stay() -> None:
    source, faces = grid_mesh(9, 9)
    more = np.concatenate([source, [[0.0, 0.0, 0.0]]])
    carried = transfer(SurfaceTree(source, faces), bump(source), more, faces)
    assert not carried[:, -1].any()


def slit_sheet(rows: int, columns: int, gap: float, at: float) -> tuple[F64, np.ndarray, F64]:
    """A sheet cut along y = ``at`` but for its ends: two lips, and what opens the lower one."""
    points, faces = grid_mesh(rows, columns)
    y = points[:, 1] - at
    crossing = (np.sign(y[faces]).max(axis=1) > 0) & (np.sign(y[faces]).min(axis=1) < 0)
    middle = (np.abs(points[faces][:, :, 0]) < 0.04).all(axis=1)
    faces = faces[~(crossing & middle)]
    inside = np.abs(points[:, 0]) < 0.04
    step = 0.2 / (rows - 1)
    for side in (-1, 1):
        rim = inside & (np.sign(y) == side) & (np.abs(y) < step)
        points[rim, 1] = at + side * gap
    span = np.clip(1 - np.abs(points[:, 0]) / 0.05, 0, 1)
    below = (points[:, 1] < at) * np.clip(1 + (points[:, 1] - at) / 0.08, 0, 1)
    opening = np.stack([0 * y, -0.03 * span * below, 0 * y], axis=1)
    return points, faces, opening


def test_lips_that_touch_part_cleanly_although_some_counterparts_are_on_the_wrong_lip() -> None:
    source, source_faces, opening = slit_sheet(40, 31, 0.0005, 0.0)
    target, faces, truth = slit_sheet(52, 37, 0.0005, 0.0)
    upper, lower = (
        (np.abs(target[:, 0]) < 0.03) & (np.abs(target[:, 1] - side * 0.0005) < 1e-9)
        for side in (1, -1)
    )
    # The warp left a part of the slit a millimetre too low: counterparts of the lower rim are on
    # the upper one there.
    low = np.where(np.abs(source[:, 0] + 0.01) < 0.012, 0.001, 0.0)
    tree = SurfaceTree(source - low[:, None] * [0, 1, 0], source_faces)
    misled = tree.closest(target[lower]).interpolate(source_faces, opening)
    assert (misled[:, 1] > -0.002).sum() > 5 and truth[lower, 1].max() < -0.013
    carried = transfer(tree, opening[None], target, faces)[0]
    assert np.abs(carried[upper, 1]).max() < 0.002
    np.testing.assert_allclose(carried[lower, 1], truth[lower, 1], atol=0.002)


# Landmarks on other heads


@pytest.mark.slow
def test_another_persons_head_gets_its_landmarks_back(body: BodyModel, head: AnnyHead) -> None:
    """Another shape, size, place and order of vertices, whose landmarks are known."""
    person = anny_head(body, Phenotypes(gender=1.0, age=0.95, weight=0.7)).model
    order = np.random.default_rng(0).permutation(len(person.mean_m))
    place = np.argsort(order)
    other = dataclasses.replace(
        person,
        mean_m=(1.1 * person.mean_m + np.float32([0.1, -1.0, 0.2]))[order],
        faces=place[person.faces].astype(np.int32),
        landmarks=None,
    )
    truth = (1.1 * person.landmarks.on(person.mean_m) + np.float32([0.1, -1.0, 0.2])).astype(float)
    known = {number: truth[number] for number in known_points.MEDIAPIPE_OF_68.values()}
    laid = lay_onto(head.model, other, known)
    assert laid.similarity.scale == pytest.approx(1.1, abs=0.08)
    found = embed_landmarks(head.model, other, laid)
    assert found.placed.all()
    errors = np.linalg.norm(found.on(other.mean_m) - truth, axis=1)
    assert np.median(errors) < 0.0015 and np.percentile(errors, 95) < 0.005


def test_two_known_places_are_too_few(head: AnnyHead) -> None:
    known = {1: np.zeros(3), 33: np.ones(3)}
    with pytest.raises(ModelFileError, match="at least three known places"):
        lay_onto(head.model, head.model, known)


@pytest.mark.slow
def test_icts_landmarks_are_where_its_makers_put_theirs(shared_data: Path, head: AnnyHead) -> None:
    model = read_ict(shared_data / "ict_facekit" / "ict_light_compact.npz")
    known = known_points.of_68(model, ict_layout.LANDMARKS_68)
    laid = lay_onto(head.model, model, known)
    found = embed_landmarks(head.model, model, laid)
    assert found.placed.all()
    points = found.on(model.mean_m)
    guided = [np.linalg.norm(points[number] - place) for number, place in known.items()]
    assert max(guided) < 0.001
    own = model.mean_m[ict_layout.LANDMARKS_68]
    errors = [np.linalg.norm(points[ours] - own[theirs]) for theirs, ours in EYELIDS_68.items()]
    assert np.mean(errors) < 0.003 and max(errors) < 0.005
    eyes = np.unique(model.faces_of(Part.EYE_LEFT, Part.EYE_RIGHT))
    assert np.isin(found.triangles[468:], eyes).all()
    assert points[473, 0] > 0 > points[468, 0]


# FLAME


@pytest.fixture(scope="module")
def as_flame(head: AnnyHead) -> tuple[MorphableModel, FlameRig]:
    """Anny's own head as if it were FLAME: joints, no names."""
    model = head.model
    skin = np.unique(model.faces_of(Part.FACE))
    vertices = model.mean_m.astype(np.float64)
    weights = np.zeros((len(vertices), 5))
    eyes = [np.unique(model.faces_of(part)) for part in (Part.EYE_LEFT, Part.EYE_RIGHT)]
    for joint, eye in zip((3, 4), eyes, strict=True):
        weights[eye] = np.eye(5)[joint]
    centres = [vertices[eye].mean(axis=0) for eye in eyes]
    ears = (centres[0] + centres[1]) / 2 - [0, 0.045, 0.058]  # what Anny's jaw turns about
    joints = np.stack([ears, ears, ears, *centres])
    jaw = np.linalg.norm(model.expression.mode(ARKIT_NAMES.index("jawOpen")), axis=1)
    reach = 0.35 * np.linalg.norm((vertices - ears)[:, 1:], axis=1)  # of a jaw opened by 20 degrees
    free = weights.sum(axis=1) == 0
    weights[free, 2] = np.clip(jaw / reach, 0, 1)[free]
    weights[free, 1] = 1 - weights[free, 2]
    faces = model.faces_of(Part.FACE, Part.EYE_LEFT, Part.EYE_RIGHT)
    assert len(skin) > 2000
    parts = model.face_parts[np.isin(model.face_parts, (0, 2, 3))]
    none = np.zeros_like(model.actions)
    flame = dataclasses.replace(
        model, faces=faces, face_parts=parts, actions=none, correctives=(), landmarks=None
    )
    return flame, FlameRig(vertices, joints, weights, np.zeros((len(vertices), 3, 36)))


@pytest.fixture(scope="module")
def with_actions(as_flame: tuple[MorphableModel, FlameRig], head: AnnyHead) -> MorphableModel:
    from engine.fusion.registration import IDENTITY

    laid = LaidOnto(head.model.mean_m.astype(np.float64), IDENTITY)
    return give_actions(*as_flame, head.model, laid)


@pytest.mark.parametrize(
    "name", ["mouthSmileLeft", "eyeBlinkRight", "browInnerUp", "mouthPucker", "cheekPuff"]
)
def test_flames_skin_moves_as_annys(
    with_actions: MorphableModel, head: AnnyHead, name: str
) -> None:
    skin = np.unique(head.model.faces_of(Part.FACE))
    found = with_actions.express(one_hot(name))[skin]
    wanted = head.model.express(one_hot(name))[skin]
    assert np.linalg.norm(found - wanted) < 0.2 * np.linalg.norm(wanted)


def test_flames_jaw_and_eyes_turn_on_their_joints(
    as_flame: tuple[MorphableModel, FlameRig], with_actions: MorphableModel, head: AnnyHead
) -> None:
    chin = int(head.model.landmarks.triangles[152, 0])
    opened = with_actions.express(one_hot("jawOpen"))
    truth = head.model.express(one_hot("jawOpen"))
    assert np.linalg.norm(opened[chin] - truth[chin]) < 0.4 * np.linalg.norm(truth[chin])
    pivot, rest = as_flame[1].joints_m[2], as_flame[1].template_m
    whole = as_flame[1].weights[:, 2] > 0.999
    before = np.linalg.norm(rest[whole] - pivot, axis=1)
    after = np.linalg.norm(rest[whole] + opened[whole] - pivot, axis=1)
    np.testing.assert_allclose(after, before, atol=1e-5)
    front = int(head.model.landmarks.triangles[473, 0])
    out, into = (with_actions.express(one_hot(f"eyeLook{way}Left")) for way in ("Out", "In"))
    assert out[front, 0] > 0.002 and into[front, 0] < -0.002
    right = int(head.model.landmarks.triangles[468, 0])
    assert not out[right].any()


def test_flames_lips_close_over_its_open_jaw(with_actions: MorphableModel, head: AnnyHead) -> None:
    both, jaw = (
        with_actions.express(one_hot(*names)) for names in (("jawOpen", "mouthClose"), ("jawOpen",))
    )
    landmarks = head.model.landmarks
    gaps = [
        float(np.linalg.norm(np.subtract(*landmarks.on(with_actions.mean_m + o)[[13, 14]])))
        for o in (both, jaw)
    ]
    assert gaps[0] < 0.3 * gaps[1]
    assert not with_actions.actions[ARKIT_NAMES.index("tongueOut")]


def test_flames_landmark_files_name_places_of_the_face(
    as_flame: tuple[MorphableModel, FlameRig], tmp_path: Path
) -> None:
    import pickle

    flame, _ = as_flame
    rows, weights = np.arange(51), np.full((51, 3), 1 / 3)
    static = {"lmk_face_idx": rows, "lmk_b_coords": weights}
    (tmp_path / "flame_static_embedding.pkl").write_bytes(pickle.dumps(static, 2))
    known = read_known_points(tmp_path / "flame_static_embedding.pkl", flame)
    assert set(known) == set(known_points.MEDIAPIPE_OF_68.values()) - {152}
    np.testing.assert_allclose(known[33], flame.mean_m[flame.faces[36 - 17]].mean(axis=0))
    numbers = np.arange(100, 151)
    path = tmp_path / "mediapipe_landmark_embedding.npz"
    np.savez(path, **static, landmark_indices=numbers)
    np.testing.assert_allclose(
        read_known_points(path, flame)[105], flame.mean_m[flame.faces[5]].mean(axis=0)
    )
    np.savez(path, **{**static, "lmk_face_idx": rows + 10**6}, landmark_indices=numbers)
    with pytest.raises(ModelFileError, match="points outside of FLAME's"):
        read_known_points(path, flame)
    np.savez(path, **{**static, "lmk_b_coords": weights[:, :2]}, landmark_indices=numbers)
    with pytest.raises(ModelFileError, match=r"expected \(51,\) and \(51, 3\)"):
        read_known_points(path, flame)


# The commands


def write_head_as_facescape(model: MorphableModel, path: Path) -> None:
    """A head as FaceScape would give it out: millimetres, a bilinear core, counted from one."""
    offsets = [model.expression.mode(ARKIT_NAMES.index(name)) for name in ACTION_ORDER]
    poses = model.mean_m + np.stack([np.zeros_like(model.mean_m), *offsets])
    core = np.zeros((poses[0].size, 52, 3), np.float32)
    core[:, :, 0] = 1000 * poses.reshape(52, -1).T
    core[:, :, 1:] = 1000 * np.stack([model.identity.mode(k).ravel() for k in (0, 1)], 1)[:, None]
    landmarks = np.zeros(68, np.int64)
    for theirs, ours in known_points.MEDIAPIPE_OF_68.items():
        corner = model.landmarks.barycentric[ours].argmax()
        landmarks[theirs] = model.landmarks.triangles[ours, corner]
    np.savez(
        path,
        shape_bm_core=core,
        id_mean=np.array([1.0, 0, 0]),
        id_var=np.array([0.0, 1.0, 4.0]),
        fv_indices=model.faces + 1,
        ft_indices=model.face_uvs + 1,
        texcoords=model.uvs,
        lm_list_v16=landmarks,
    )


@pytest.fixture
def invoke(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Calls ``sars`` in this process; gives its exit status and what it says."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["sars", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            sars.main()
        return int(ended.value.code or 0), "".join(capsys.readouterr())

    return call


@pytest.mark.slow
def test_sars_convert_facescape(invoke, head: AnnyHead, tmp_path: Path) -> None:
    out = tmp_path / "heads" / "facescape.npz"
    write_head_as_facescape(head.model, tmp_path / "facescape.npz")
    status, said = invoke("convert", "facescape", tmp_path / "facescape.npz", out)
    assert status == 0, said
    assert "FaceScape, 4570 vertices, 3 identity modes, 51 actions" in said
    model = load_morphable_model(out)
    np.testing.assert_allclose(model.mean_m, head.model.mean_m, atol=1e-6)
    beta = one_hot("mouthSmileLeft", "jawOpen")
    np.testing.assert_allclose(model.express(beta), head.model.express(beta), atol=1e-5)
    found, truth = (m.landmarks.on(m.mean_m) for m in (model, head.model))
    assert np.median(np.linalg.norm(found - truth, axis=1)) < 0.001
    # This file does not tell eyeballs from skin: irises are on whatever is there.
    assert np.linalg.norm(found - truth, axis=1)[468:].max() < 0.004


@pytest.mark.slow
def test_sars_convert_ict(invoke, model_cache, shared_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "ict.npz"
    source = shared_data / "ict_facekit" / "ict_light_compact.npz"
    status, said = invoke("convert", "ict", source, out)
    assert status == 0, said
    assert "100 identity modes, 51 actions; MIT" in said
    model = load_morphable_model(out)
    np.testing.assert_array_equal(model.identity.steps, read_ict(source).identity.steps)
    assert model.landmarks.placed.all()


@pytest.mark.parametrize("kind", ["ict", "flame", "facescape"])
def test_a_file_that_is_not_there_is_one_sentence(
    invoke, model_cache, tmp_path: Path, kind: str
) -> None:
    out = tmp_path / "out.npz"
    status, said = invoke("convert", kind, tmp_path / "nothing", out)
    assert status == 1 and said.count("\n") == 1
    assert said.startswith("sars: ") and "does not exist" in said
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "factor", "message"),
    [
        ("v_template", 0.0, "found one of 0 m"),
        ("v_template", 1e30, "expected a head between"),
        ("weights", 0.0, "at least three known places"),
        ("f", 0, "expected a head between|at least three known places"),
    ],
)
def test_arrays_of_the_right_shapes_that_are_no_head_end_in_a_sentence(
    body: BodyModel, tmp_path: Path, name: str, factor: float, message: str
) -> None:
    arrays = flame_arrays()
    np.savez(tmp_path / "flame.npz", **{**arrays, name: arrays[name] * factor})
    with pytest.raises(ModelFileError, match=message):
        run_conversion(
            lambda: convert_flame(tmp_path / "flame.npz", None, None, body), tmp_path / "out.npz"
        )
    assert not (tmp_path / "out.npz").exists()
