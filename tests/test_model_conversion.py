"""A motion on one body model is the same motion on another, and the error told is the true one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from body_files import made_up, write_npz
from body_twins import write_twin

from engine.avatar.anny import BodyModel
from engine.avatar.joint_names import ANNY_CHAINS, SMPL_FAMILY, canonical_name
from engine.avatar.parametric_body import ParametricBody, anny_as_body
from engine.body.conversion_error import ErrorMeter, part_of
from engine.body.joint_pairs import JointPairs, led_rotations, rotation_matrices
from engine.body.model_conversion import BodyMotion, ModelConverter, PosedMesh
from engine.body.model_fit import BodyPose, FitOptions, PoseTarget, fit_poses
from engine.body.parametric_forward import BodyPoser
from engine.body.parametric_jacobian import pose_with_derivatives
from engine.body.shape_space import ShapeSpace, anny_space, betas_space, confined
from engine.body.surface_pairs import body_parts, common_joints, neighbours
from engine.errors import AvatarError
from engine.inference.store import BODY_FILE, ModelStore
from exporters.body_models.smpl import read_smpl

LIMBS = ("shoulder", "elbow", "hip", "knee", "neck", "spine2", "wrist", "index", "middle", "thumb")


@pytest.fixture(scope="module")
def model(model_cache: ModelStore) -> BodyModel:
    return BodyModel.load(model_cache.path(BODY_FILE))


@pytest.fixture(scope="module")
def anny(model: BodyModel) -> ParametricBody:
    return anny_as_body(model)


@pytest.fixture(scope="module")
def space(model: BodyModel) -> ShapeSpace:
    return anny_space(model)


@pytest.fixture(scope="module")
def smplx(model: BodyModel, tmp_path_factory: pytest.TempPathFactory) -> ParametricBody:
    folder = tmp_path_factory.mktemp("twins")
    return read_smpl(write_twin("SMPL-X", model, folder / "SMPLX_NEUTRAL.npz"))


@pytest.fixture(scope="module")
def to_anny(smplx: ParametricBody, anny: ParametricBody, space: ShapeSpace) -> ModelConverter:
    return ModelConverter(smplx, anny, target_space=space)


@pytest.fixture(scope="module")
def from_anny(smplx: ParametricBody, anny: ParametricBody, space: ShapeSpace) -> ModelConverter:
    return ModelConverter(anny, smplx, source_space=space)


def moving(body: ParametricBody, betas: np.ndarray, frames: int = 3, spread: float = 0.4):
    """Limbs that turn at random, somewhere."""
    rng = np.random.default_rng(4)
    turns = rng.normal(0, spread, (frames, len(body.parents), 3)).astype(np.float32)
    for j, name in enumerate(body.joint_names):
        chain = ANNY_CHAINS.get(canonical_name(name) or "", (name,))
        if name not in SMPL_FAMILY["SMPL-X"] and name != chain[0]:
            turns[:, j] = 0.0
        if not any(limb in (canonical_name(name) or "") for limb in LIMBS):
            turns[:, j] = 0.0
    turns[:, 0] = rng.normal(0, 1.5, (frames, 3))
    return BodyMotion(betas, turns, rng.normal(0, 2, (frames, 3)).astype(np.float32))


def vertices_of(body: ParametricBody, motion: BodyMotion) -> np.ndarray:
    poser = BodyPoser(body)
    poser.shape(motion.betas)
    return np.array(
        [
            poser.pose(turns, place).copy()
            for turns, place in zip(motion.rotations, motion.translation_m, strict=True)
        ]
    )


def test_every_joint_of_smplx_has_its_like_on_anny(anny: ParametricBody) -> None:
    """A joint that is misspelt would stay at rest in every converted motion."""
    for name in set(SMPL_FAMILY["SMPL-X"]) - {"jaw"}:
        assert set(ANNY_CHAINS[name]) <= set(anny.joint_names), name
        assert {canonical_name(ours) for ours in ANNY_CHAINS[name]} == {name}
    assert [len(names) for names in SMPL_FAMILY.values()] == [24, 52, 55]
    assert canonical_name("metacarpal1.L") is None


def test_turns_of_a_model_lead_itself_exactly(anny: ParametricBody) -> None:
    turns = moving(anny, np.zeros(1, np.float32)).rotations[0]
    still = np.tile(np.eye(3), (len(anny.parents), 1, 1))
    found = led_rotations(anny, turns, anny, still, JointPairs.of(anny, anny))
    np.testing.assert_allclose(rotation_matrices(found), rotation_matrices(turns), atol=1e-5)


def test_one_shape_and_all_poses_are_found(smplx: ParametricBody) -> None:
    """Three frames of a known body: the fit has to find it, not merely something near."""
    rows = np.arange(0, 10475, 15, dtype=np.int32)
    space = betas_space(smplx)
    body, rng = confined(smplx, space, rows), np.random.default_rng(0)
    z, own = rng.normal(0, 1, len(space.components)), np.arange(len(rows), dtype=np.int32)
    z[10:] = 0.0
    joints = np.arange(55, dtype=np.int32)
    targets, starts = [], []
    for _ in range(3):
        turns, place = rng.normal(0, 0.3, (55, 3)), rng.normal(0, 1, 3)
        at = pose_with_derivatives(body, own, z, turns, place)
        targets.append(PoseTarget(at.vertices_m, at.joints_m))
        starts.append(BodyPose(turns + rng.normal(0, 0.1, (55, 3)), place + 0.05))
    options = FitOptions(joints, point_m=1e-4, joint_m=1e-4, iterations=20)
    poses, found = fit_poses(body, targets, starts, 0.0 * z, options)
    np.testing.assert_allclose(found, z, atol=0.02)
    for pose, target in zip(poses, targets, strict=True):
        at = pose_with_derivatives(body, own, found, pose.rotations, pose.translation_m)
        assert np.abs(at.vertices_m - target.points_m).max() < 2e-4


def test_parts_pair_with_themselves_or_what_they_touch(
    to_anny: ModelConverter, anny: ParametricBody, smplx: ParametricBody
) -> None:
    """An arm that hangs beside a hip must not be drawn to it, nor a finger to its neighbour."""
    shared = common_joints(smplx, anny)
    pairs = to_anny.pairs
    ours, theirs = body_parts(anny, shared)[pairs.rows], body_parts(smplx, shared)[pairs.corners]
    for own, corners in zip(ours, theirs, strict=True):
        assert set(corners.tolist()) <= neighbours(str(own))
    assert neighbours("left_index2") == {"left_index1", "left_index2", "left_index3"}
    assert len(pairs.rows) > 600 and {"left_index3", "right_pinky1", "head"} <= set(ours.tolist())


def test_the_same_model_is_itself_to_a_tenth_of_a_millimetre(smplx: ParametricBody) -> None:
    motion = moving(smplx, np.random.default_rng(0).normal(0, 1, 10).astype(np.float32))
    found = ModelConverter(smplx, smplx).convert(motion)
    apart = np.linalg.norm(vertices_of(smplx, found.motion) - vertices_of(smplx, motion), axis=2)
    assert apart.max() < 1e-4
    assert found.error.vertices_mm["all"].max < 0.1 and found.error.joints_mm["all"].max < 0.1


def test_there_and_back_again(
    to_anny: ModelConverter, from_anny: ModelConverter, smplx: ParametricBody
) -> None:
    """Another mesh, skeleton, rest pose and shape basis in between: every vertex comes home."""
    motion = moving(smplx, np.random.default_rng(1).normal(0, 0.8, 10).astype(np.float32))
    there = to_anny.convert(motion)
    back = from_anny.convert(there.motion)
    apart = np.linalg.norm(vertices_of(smplx, back.motion) - vertices_of(smplx, motion), axis=2)
    assert 1e3 * apart.mean() < 3.0 and 1e3 * np.percentile(apart, 95) < 9.0
    for found in (there, back):
        assert found.error.vertices_mm["all"].mean < 2.0 and found.error.frames == 3
        assert found.error.vertices_mm["hands"].p95 < 3.0
    assert np.abs(back.motion.betas[:4] - motion.betas[:4]).max() < 0.4


def test_smpl_and_smplh_share_their_vertices(model: BodyModel, tmp_path: Path) -> None:
    """No nearest points where vertex n is vertex n: only fingers are what SMPL cannot do."""
    smpl, smplh = (read_smpl(write_twin(n, model, tmp_path / "m.npz")) for n in ("SMPL", "SMPL+H"))
    motion = moving(smplh, np.random.default_rng(2).normal(0, 1, 10).astype(np.float32))
    motion.rotations[:, 22:] = 0.0
    converter = ModelConverter(smplh, smpl)
    found = converter.convert(motion)
    np.testing.assert_array_equal(converter.pairs.corners[:, 0], converter.pairs.rows)
    apart = np.linalg.norm(vertices_of(smpl, found.motion) - vertices_of(smplh, motion), axis=2)
    assert apart.max() < 1e-3 and np.abs(found.motion.betas - motion.betas).max() < 0.05
    assert found.error.vertices_mm["all"].max == pytest.approx(1e3 * apart.max(), abs=0.05)


def test_a_smooth_motion_stays_smooth(to_anny: ModelConverter, smplx: ParametricBody) -> None:
    """Frames are fitted one by one: what they are wrong by must not tremble."""
    ends = moving(smplx, np.zeros(0, np.float32), frames=2, spread=0.2)
    share = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    turns = (1 - share[..., None]) * ends.rotations[0] + share[..., None] * ends.rotations[1]
    turns[:, 0] = ends.rotations[0, 0]
    motion = BodyMotion(ends.betas, turns, (1 - share) * ends.translation_m[0])
    found = vertices_of(to_anny.target, to_anny.convert(motion).motion)[:, to_anny.pairs.rows]
    apart = found - np.array([to_anny.pairs.on(v) for v in vertices_of(smplx, motion)])
    trembling = np.linalg.norm(apart[2:] - 2 * apart[1:-1] + apart[:-2], axis=2)
    assert 1e3 * trembling.mean() < 0.1 and 1e3 * np.percentile(trembling, 99) < 1.0


def test_one_mesh_is_enough(from_anny: ModelConverter, anny: ParametricBody, space: ShapeSpace):
    """What an evaluation on SMPL-X's vertices asks for; nobody has to know the betas."""
    motion = moving(anny, space.betas(np.zeros(len(space.components))), frames=1)
    poser = BodyPoser(anny)
    poser.shape(motion.betas)
    vertices = poser.pose(motion.rotations[0], motion.translation_m[0])
    joints = poser.joints_m + motion.translation_m[0]
    found = from_anny.convert_mesh(PosedMesh(vertices, joints, motion.rotations[0]))
    assert found.shape == (10475, 3)
    middle = (
        found.min(axis=0) + found.max(axis=0) - vertices.min(axis=0) - vertices.max(axis=0)
    ) / 2
    assert np.abs(middle).max() < 0.005


def test_the_error_told_is_the_distance(smplx: ParametricBody) -> None:
    parts = np.array(["head", "left_eye", "left_index1"] + ["trunk"] * 3)
    points = np.eye(6, 3, dtype=np.float32)
    moved = points + np.float32([0.0, 0.0, 0.002]) * np.float32([1, 9, 2, 3, 3, 4])[:, None]
    meter = ErrorMeter(np.zeros((0, 3), np.int32), parts, ("jaw", "left_hip"), same=True)
    meter.add(points, moved, points[:2], points[:2] + np.float32([0, 0.01, 0]))
    error = meter.result()
    assert error.vertices_mm["head"].mean == pytest.approx(2.0, abs=1e-3)
    assert error.vertices_mm["hands"].max == pytest.approx(4.0, abs=1e-3)
    assert error.vertices_mm["body"].mean == pytest.approx(20 / 3, abs=1e-3)
    assert error.vertices_mm["all"].max == pytest.approx(8.0, abs=1e-3)
    assert "hands" not in error.joints_mm and error.joints_mm["body"].p95 == pytest.approx(10.0)
    assert part_of("right_foot") == "body" and part_of("right_thumb3") == "hands"
    assert part_of("spine3") == "body"


def test_what_is_no_body_is_refused(anny: ParametricBody, tmp_path: Path) -> None:
    cloud = read_smpl(write_npz(made_up("SMPL"), tmp_path / "m.npz"))
    with pytest.raises(AvatarError, match="does not lie on"):
        ModelConverter(anny, cloud)
