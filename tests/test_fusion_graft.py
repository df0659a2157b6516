"""An independent topology on the body: ICT-FaceKit's head, which ships only with the recordings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rigs import obvious_pose, random_state
from test_fusion import assert_closed, unit_normals

from benchmarks.fusion import seam_of
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.glb_reader import read_glb
from engine.avatar.morphable_model import Part
from engine.avatar.topology import Region
from engine.body.blend_skinning import Poser
from engine.errors import AvatarError, ModelFileError
from engine.fusion.estimates import BodyEstimate, FaceEstimate
from engine.fusion.face_region import face_triangles
from engine.fusion.fusion_map_file import load_fusion_map
from engine.fusion.graft import build_graft
from engine.fusion.loops import closed_loops
from engine.fusion.modes import MODES, fusion_of
from engine.fusion.normals import vertex_normals
from engine.fusion.outline import cut_over
from engine.fusion.registration import apply
from engine.fusion.stitching import boundary_edges
from engine.types import ARKIT_NAMES, FaceShape, Phenotypes
from exporters.face_models.ict import read_ict
from exporters.glb import write_glb

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def body(model_cache):
    return BodyModel.load(model_cache.path(FILE_NAME))


@pytest.fixture(scope="module")
def graft(body, shared_data):
    return build_graft(body, read_ict(shared_data / "ict_facekit" / "ict_light_compact.npz"))


@pytest.fixture(scope="module")
def somebody(graft):
    return np.random.default_rng(5).normal(0, 0.7, 40).astype(np.float32)


@pytest.fixture(scope="module")
def avatars(body, graft, somebody, model_cache):
    fusion_map = load_fusion_map(model_cache.path(FILE_NAME), body)
    estimates = BodyEstimate(Phenotypes()), graft.estimate(somebody)
    return {mode: fusion_of(mode, body, fusion_map, graft).fuse(*estimates) for mode in MODES}


def test_a_foreign_face_is_watertight_in_every_mode(avatars):
    one = next(iter(avatars.values()))
    assert_closed(one.topology.faces)
    assert set(one.topology.faces.ravel()) == set(range(len(one.rest_vertices_m)))
    assert all(avatar.topology is one.topology for avatar in avatars.values())


def test_an_agreed_head_leaves_no_fold_in_the_bridge(avatars):
    avatar = avatars["optimisation"]
    faces, vertices = avatar.topology.faces, avatar.rest_vertices_m
    bridged = faces[(avatar.topology.regions[faces] == Region.SEAM).any(axis=1)]
    normals = np.zeros_like(vertices)
    vertex_normals(vertices, faces, normals)
    facing = np.sum(unit_normals(vertices, bridged) * normals[bridged].mean(axis=1), axis=1)
    assert (facing > 0.5).mean() > 0.985


@pytest.mark.parametrize("mode", MODES)
def test_the_bridge_shades_as_smoothly_as_the_skin(avatars, mode):
    avatar = avatars[mode]
    mesh = Poser(avatar).pose(random_state(len(avatar.parents), 1, spread=0.05))
    seam = seam_of(mesh.vertices_m, mesh.normals, avatar.topology)
    assert seam.normal_deg < seam.normal_p95_deg


def test_the_face_is_the_foreign_models_own(graft, avatars, somebody):
    """Up to the similarity that places it, vertex by vertex, at rest and with an open jaw."""
    avatar = avatars["copy-paste"]
    foreign = np.setdiff1d(np.arange(len(graft.kept_head)), graft.rim - len(graft.kept_body))
    here = avatar.rest_vertices_m[len(graft.kept_body) :][foreign].astype(float)
    there = graft.head.shape(somebody)[graft.kept_head][foreign].astype(float)
    a, b = here - here.mean(axis=0), there - there.mean(axis=0)
    scale = np.linalg.norm(a) / np.linalg.norm(b)
    np.testing.assert_allclose(a @ a[::997].T, scale**2 * b @ b[::997].T, atol=1e-6)
    jaw = ARKIT_NAMES.index("jawOpen")
    vertex = np.repeat(np.arange(len(avatar.rest_vertices_m)), np.diff(avatar.morph_starts))
    own = avatar.morph_actions == jaw
    opened = np.zeros_like(avatar.rest_vertices_m)
    opened[vertex[own]] = avatar.morph_offsets_m[own]
    moved = np.linalg.norm(opened[len(graft.kept_body) :][foreign], axis=1)
    expected = scale * np.linalg.norm(
        graft.head.expression.mode(jaw)[graft.kept_head][foreign], axis=1
    )
    np.testing.assert_allclose(moved, expected, atol=2e-5)


def test_eyeballs_lie_in_the_foreign_sockets(body, graft, avatars):
    for avatar in avatars.values():
        for side in "LR":
            joint = avatar.joints_m[avatar.joint_names.index(f"eye.{side}")]
            ball = avatar.rest_vertices_m[
                avatar.skin_joints[:, 0] == body.joint_names.index(f"eye.{side}")
            ]
            radius = np.linalg.norm(ball - joint, axis=1)
            assert 0.009 < radius.mean() < 0.018
            skin = avatar.rest_vertices_m[avatar.topology.regions == Region.FACE]
            assert np.linalg.norm(skin - joint, axis=1).min() > 0.6 * radius.mean()


def test_kernels_and_files_take_it_unchanged(avatars):
    avatar = avatars["optimisation"]
    state = random_state(len(avatar.parents), 2, spread=0.2)
    posed = Poser(avatar).pose(state)
    sample = np.arange(0, len(avatar.rest_vertices_m), 97)
    np.testing.assert_allclose(
        posed.vertices_m[sample], obvious_pose(avatar, state)[sample], atol=1e-4
    )
    again = Poser(read_glb(write_glb(avatar))).pose(state)
    np.testing.assert_allclose(again.vertices_m, posed.vertices_m, atol=1e-5)


def test_the_texture_is_the_bodys_face(avatars):
    """Coordinates of the foreign skin lie where the body's own face has its texture."""
    topology = avatars["copy-paste"].topology
    assert topology.render_uvs.min() > -0.05 and topology.render_uvs.max() < 1.05
    drawn = topology.render_uvs[topology.render_faces]
    area = np.abs(np.cross(drawn[:, 1] - drawn[:, 0], drawn[:, 2] - drawn[:, 0])) / 2
    assert np.quantile(area, 0.999) < 1e-3


def test_a_face_without_its_models_coefficients_is_named(body, graft, model_cache):
    fusion_map = load_fusion_map(model_cache.path(FILE_NAME), body)
    plain = FaceEstimate.of(
        body, Phenotypes(), FaceShape(np.zeros(body.identity_count, np.float32))
    )
    with pytest.raises(AvatarError, match="its own model"):
        fusion_of("copy-paste", body, fusion_map, graft).fuse(BodyEstimate(Phenotypes()), plain)


def test_a_head_without_sockets_is_bridged_to_the_bodys(body, graft):
    """As FLAME comes: lids and lips are open, and each is stitched to the body's own cavity."""
    head = graft.head
    parts = head.face_parts.copy()
    parts[np.isin(parts, (Part.EYE_SOCKETS, Part.MOUTH_CAVITY))] = Part.OVERLAY
    bare = build_graft(body, dataclasses.replace(head, face_parts=parts))
    avatar = bare.avatar(np.zeros(0, np.float32), body.shape(Phenotypes()))
    assert_closed(avatar.topology.faces)
    assert len(closed_loops(avatar.topology.seam_edges)) == 4
    assert len(avatar.rest_vertices_m) > len(bare.kept_body) + len(bare.kept_head)


def test_a_head_that_cannot_be_stitched_is_named(body, graft):
    head = graft.head
    parts = head.face_parts.copy()
    parts[parts == Part.MOUTH_CAVITY] = Part.OVERLAY
    parts[head.face_parts == Part.FACE] = Part.TEETH
    parts[head.face_parts == Part.HEAD] = Part.TEETH
    with pytest.raises(ModelFileError, match="no skin"):
        cut_over(
            body,
            (skin := face_triangles(body)),
            closed_loops(boundary_edges(body.faces[skin]))[0],
            dataclasses.replace(head, face_parts=parts),
            apply(graft.similarity, head.mean_m),
        )
