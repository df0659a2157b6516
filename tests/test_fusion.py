from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rigs import random_state, sphere

from engine.avatar.anny import FILE_NAME, PART_NAMES, BodyModel
from engine.avatar.topology import Region
from engine.body.blend_skinning import Poser
from engine.errors import ModelFileError
from engine.fusion.copy_paste import build_topology, fuse
from engine.fusion.face_region import face_triangles
from engine.fusion.fusion_map_file import load_fusion_map
from engine.fusion.normals import vertex_normals
from engine.fusion.stitching import boundary_edges, edge_keys, retriangulate, split_edges
from engine.fusion.subdivision import curved_midpoints, folded
from engine.types import ARKIT_NAMES, Identity, Phenotypes


def directed_edges(faces):
    return faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)


def assert_closed(faces):
    """Every edge has exactly two faces, which run along it in opposite directions."""
    edges = directed_edges(faces)
    _, count = np.unique(edge_keys(edges), return_counts=True)
    assert (count == 2).all()
    assert len(np.unique(edges, axis=0)) == len(edges)


def assert_same_arrays(one, other):
    for field in dataclasses.fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray):
            np.testing.assert_allclose(a, b, atol=1e-6, err_msg=field.name)


def areas(vertices, faces):
    a, b, c = np.moveaxis(vertices[faces].astype(np.float64), 1, 0)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def unit_normals(vertices, faces):
    a, b, c = np.moveaxis(vertices[faces].astype(np.float64), 1, 0)
    normal = np.cross(b - a, c - a)
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def volume(vertices, faces):
    a, b, c = np.moveaxis(vertices[faces].astype(np.float64), 1, 0)
    return np.einsum("fi,fi->", a, np.cross(b, c)) / 6


@pytest.fixture(scope="module")
def body(model_cache):
    return BodyModel.load(model_cache.path(FILE_NAME))


@pytest.fixture(scope="module")
def fusion_map(body):
    return build_topology(body)


@pytest.fixture(scope="module")
def avatar(body, fusion_map):
    return fuse(body, fusion_map, Identity(version=4))


def stitched_sphere(dense):
    vertices, faces = sphere(14, 16)
    edges, splits = split_edges(faces, dense(vertices[faces].mean(axis=1)))
    points = np.concatenate([vertices, vertices[edges].mean(axis=1)])
    splits = np.where(splits >= 0, splits + len(vertices), -1).astype(np.int32)
    return vertices, faces, points, retriangulate(faces, splits, points)


@pytest.mark.parametrize(
    "dense",
    [
        lambda centre: centre[:, 2] > 0.1,
        lambda centre: centre[:, 1] > 0.2,
        lambda centre: np.abs(centre[:, 0]) < 0.05,
        lambda centre: np.arange(len(centre)) % 5 == 0,
        lambda centre: np.ones(len(centre), bool),
    ],
)
def test_stitching_keeps_a_closed_mesh_closed(dense):
    """Whatever is made denser; the straight middles change neither area nor volume."""
    vertices, faces, points, mesh = stitched_sphere(dense)
    assert_closed(mesh.faces)
    assert set(mesh.faces.ravel()) == set(range(len(points)))
    children = np.bincount(mesh.parents, weights=areas(points, mesh.faces))
    np.testing.assert_allclose(children, areas(vertices, faces), rtol=1e-4)
    np.testing.assert_allclose(volume(points, mesh.faces), volume(vertices, faces), rtol=1e-5)


def test_corners_and_faces_tell_the_same():
    _, faces, _, mesh = stitched_sphere(lambda centre: centre[:, 2] > 0)
    own = mesh.corners < 3
    picked = np.take_along_axis(
        faces[mesh.parents], np.minimum(mesh.corners, 2).astype(int), axis=1
    )
    np.testing.assert_array_equal(mesh.faces[own], picked[own])


def test_new_vertices_lie_on_the_curved_surface():
    """On a sphere the quadratic fit leaves a small part of the sagitta of straight middles."""
    radius = 0.3
    vertices, faces = sphere(24, 24, radius)
    normals = np.zeros_like(vertices)
    vertex_normals(vertices, faces, normals)
    edges, _ = split_edges(faces, np.abs(vertices[faces].mean(axis=1)[:, 1]) < 0.2)
    stencils = curved_midpoints(edges, faces, vertices, normals)
    np.testing.assert_allclose(stencils.weights.sum(axis=1), 1, atol=1e-5)
    curved = radius - np.linalg.norm(stencils.apply(vertices), axis=1)
    straight = radius - np.linalg.norm(vertices[edges].mean(axis=1), axis=1)
    assert np.abs(curved).mean() < 0.1 * straight.mean()


def test_stencils_reproduce_linear_functions(body, fusion_map):
    """Their rows sum to one and they move with the body: an affine map commutes with them."""
    rng = np.random.default_rng(0)
    matrix, offset = rng.normal(size=(3, 3)), rng.normal(size=3)
    moved = (body.template_m @ matrix + offset).astype(np.float32)
    expected = fusion_map.stencils.apply(body.template_m) @ matrix + offset
    np.testing.assert_allclose(fusion_map.stencils.apply(moved), expected, atol=1e-5)


def test_the_fused_mesh_is_watertight(avatar):
    assert_closed(avatar.topology.faces)
    assert len(boundary_edges(avatar.topology.faces)) == 0


def test_every_seam_edge_joins_the_patch_to_the_body(avatar):
    faces, regions = avatar.topology.faces, avatar.topology.regions
    seam = avatar.topology.seam_edges
    assert (regions[seam] == Region.SEAM).all()
    keys = edge_keys(directed_edges(faces)).reshape(-1, 3)
    on_seam = np.isin(keys, edge_keys(seam))
    _, count = np.unique(keys[on_seam], return_counts=True)
    assert len(count) == len(seam)
    assert (count == 2).all()


def test_the_seam_is_closed_loops_around_face_eyes_and_mouth(avatar):
    following = dict(avatar.topology.seam_edges.tolist())
    assert len(following) == len(avatar.topology.seam_edges)
    loops = []
    while following:
        first = vertex = next(iter(following))
        length = 0
        while vertex in following:
            vertex = following.pop(vertex)
            length += 1
        assert vertex == first
        loops.append(length)
    assert len(loops) == 4


def test_every_vertex_is_used_and_no_two_coincide_along_the_seam(avatar):
    assert set(avatar.topology.faces.ravel()) == set(range(len(avatar.rest_vertices_m)))
    seam = np.unique(avatar.topology.seam_edges)
    points = avatar.rest_vertices_m[seam]
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, 1)
    assert distance.min() > 1e-5


@pytest.mark.parametrize(
    "phenotypes",
    [
        Phenotypes(),
        Phenotypes(gender=0, age=1),
        Phenotypes(gender=1, weight=1),
        Phenotypes(age=0.2),
    ],
)
def test_no_triangle_collapses_or_turns_over(body, fusion_map, phenotypes):
    """Each child of a patch or strip triangle faces the way its parent does."""
    avatar = fuse(body, fusion_map, Identity(phenotypes=phenotypes))
    _, splits = split_edges(body.faces, face_triangles(body))
    count = len(body.template_m)
    splits = np.where(splits >= 0, splits + count, -1).astype(np.int32)
    template = np.concatenate([body.template_m, fusion_map.stencils.apply(body.template_m)])
    mesh = retriangulate(body.faces, splits, template)
    np.testing.assert_array_equal(mesh.faces, avatar.topology.faces)

    vertices = avatar.rest_vertices_m
    agreement = np.einsum(
        "fi,fi->f",
        unit_normals(vertices, mesh.faces),
        unit_normals(vertices, body.faces)[mesh.parents],
    )
    assert agreement.min() > 0.1
    share = areas(vertices, mesh.faces) / areas(vertices, body.faces)[mesh.parents]
    assert share.min() > 0.01


def test_annys_vertices_keep_their_numbers_and_places(body, avatar, fusion_map):
    rest = body.shape(Phenotypes())
    assert fusion_map.body_vertex_count == len(rest.vertices_m)
    np.testing.assert_array_equal(avatar.rest_vertices_m[: len(rest.vertices_m)], rest.vertices_m)
    np.testing.assert_array_equal(avatar.joints_m, rest.joints_m)
    assert avatar.identity_version == 4


def test_the_patch_covers_the_face_and_nothing_else(body, avatar):
    regions = avatar.topology.regions
    eye = avatar.joints_m[body.joint_names.index("eye.L")]
    patch = avatar.rest_vertices_m[regions == Region.FACE]
    nose_tip = avatar.rest_vertices_m[
        np.argmax(
            np.where(avatar.rest_vertices_m[:, 1] > eye[1] - 0.08, avatar.rest_vertices_m[:, 2], -1)
        )
    ]
    assert np.linalg.norm(patch - nose_tip, axis=1).min() < 1e-6
    spared = [
        PART_NAMES.index(n) for n in ("body", "eye_front.L", "eye_front.R", "tongue", "hand.L")
    ]
    untouched = np.unique(body.faces[np.isin(body.face_parts, spared)])
    assert (regions[untouched] != Region.FACE).all()
    assert (regions == Region.FACE).sum() > 5000


def test_the_drawn_mesh_is_the_same_surface(avatar):
    topology = avatar.topology
    np.testing.assert_array_equal(topology.render_vertices[topology.render_faces], topology.faces)
    assert topology.render_uvs.min() >= 0 and topology.render_uvs.max() <= 1


def test_the_seam_holds_in_every_pose_and_expression(body, avatar):
    """The strip neither opens nor stretches: its edges grow no more than the skin's around it."""
    poser = Poser(avatar)
    seam, skin = avatar.topology.seam_edges, directed_edges(body.faces)
    around = np.unique(body.faces[np.isin(body.faces, seam).any(axis=1)])
    skin = skin[np.isin(skin, around).all(axis=1)]

    def growth(edges, vertices):
        now, then = (
            np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
            for points in (vertices, avatar.rest_vertices_m)
        )
        return (now / then).max()

    for seed in range(3):
        posed = poser.pose(random_state(len(avatar.parents), seed, spread=0.2)).vertices_m
        assert growth(seam, posed) < 1.1 * growth(skin, posed) < 2.5


def test_no_action_folds_the_patch_where_it_shows(body, avatar):
    """At rest nothing folds; a closed lid or rolled lip does, in a few hidden triangles at most."""
    _, splits = split_edges(body.faces, face_triangles(body))
    patch = splits.min(axis=1) >= 0
    corners, middles = body.faces[patch], splits[patch] + len(body.template_m)
    vertex = np.repeat(np.arange(len(avatar.rest_vertices_m)), np.diff(avatar.morph_starts))
    folds = {}
    for action, name in enumerate(ARKIT_NAMES):
        acted, own = avatar.rest_vertices_m.copy(), avatar.morph_actions == action
        np.add.at(acted, vertex[own], avatar.morph_offsets_m[own])
        folds[name] = int(folded(acted[corners], acted[middles]).sum())
    at_rest = avatar.rest_vertices_m
    assert not folded(at_rest[corners], at_rest[middles]).any()
    assert max(folds.values()) <= 6
    hidden = ("eyeBlink", "eyeLookDown", "mouthClose", "mouthRollUpper")
    assert not [name for name, count in folds.items() if count and not name.startswith(hidden)]


def test_expressions_reach_what_they_name(body, avatar):
    vertex = np.repeat(np.arange(len(avatar.rest_vertices_m)), np.diff(avatar.morph_starts))

    def moved(name):
        entries = avatar.morph_actions == ARKIT_NAMES.index(name)
        return vertex[entries], avatar.morph_offsets_m[entries]

    new, offsets = moved("jawOpen")
    assert offsets[:, 1].min() < -0.01
    assert (new >= len(body.template_m)).any()
    left, _ = moved("eyeBlinkLeft")
    right, _ = moved("eyeBlinkRight")
    assert avatar.rest_vertices_m[left, 0].mean() > 0.02
    assert avatar.rest_vertices_m[right, 0].mean() < -0.02


def test_the_stored_topology_is_the_one_that_would_be_built(body, fusion_map, model_cache):
    stored = load_fusion_map(model_cache.path(FILE_NAME), body)
    for part in ("topology", "stencils"):
        assert_same_arrays(getattr(stored, part), getattr(fusion_map, part))
    assert_same_arrays(stored, fusion_map)


@pytest.mark.parametrize(
    ("name", "value"), [("fusion.faces", 60_000), ("fusion.sources", 30_000), ("fusion.regions", 9)]
)
def test_a_stored_topology_that_points_elsewhere_is_refused(
    body, model_cache, tmp_path, name, value
):
    with np.load(model_cache.path(FILE_NAME)) as archive:
        arrays = {key: archive[key].copy() for key in archive.files}
    arrays[name].flat[0] = value
    np.savez(tmp_path / FILE_NAME, **arrays)
    with pytest.raises(ModelFileError, match="does not fit"):
        load_fusion_map(tmp_path / FILE_NAME, body)


def test_a_body_without_a_stored_topology_is_named(body, model_cache, tmp_path):
    with np.load(model_cache.path(FILE_NAME)) as archive:
        arrays = {key: archive[key] for key in archive.files if not key.startswith("fusion.")}
    np.savez(tmp_path / FILE_NAME, **arrays)
    with pytest.raises(ModelFileError, match="sars setup"):
        load_fusion_map(tmp_path / FILE_NAME, body)
