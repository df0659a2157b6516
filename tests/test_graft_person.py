"""A person's own face in another model's topology: coefficients, avatars, and how they change."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rigs import random_state
from test_fusion import assert_closed

from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.glb_reader import read_glb
from engine.avatar.morphable_file import save_morphable_model
from engine.avatar.morphable_model import Part
from engine.body.blend_skinning import Poser
from engine.errors import ModelFileError
from engine.face.landmark_embedding import default_embedding
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.graft import build_graft
from engine.fusion.graft_morphs import LIDS, lid_reach
from engine.fusion.modes import MODES
from engine.fusion.registration import apply
from engine.types import ARKIT_NAMES, FaceShape, Identity, Phenotypes
from exporters.face_models.convert import convert_ict
from exporters.glb import write_glb

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def body(model_cache):
    return BodyModel.load(model_cache.path(FILE_NAME))


@pytest.fixture(scope="module")
def face_file(body, shared_data, tmp_path_factory):
    source = shared_data / "ict_facekit" / "ict_light_compact.npz"
    path = tmp_path_factory.mktemp("heads") / "ict.npz"
    save_morphable_model(convert_ict(source, body), path)
    return path


@pytest.fixture(scope="module")
def base(model_cache, face_file):
    return BaseAvatar.load(model_cache, face_model=face_file)


def adult(body, seed):
    """Somebody between young and old, with a face of one's own."""
    rng = np.random.default_rng(seed)
    gender, muscle, weight, height, proportions = rng.uniform(0.3, 0.7, 5)
    people = Phenotypes(gender, rng.uniform(0.55, 0.95), muscle, weight, height, proportions)
    coefficients = rng.standard_normal(body.identity_count).astype(np.float32)
    return Identity(seed, people, face=FaceShape(coefficients, 1.0))


def offset_mm(graft, alpha, body_m):
    """From the body's face to the foreign one of these coefficients, place by place."""
    matched, shape = graft.matched, graft.head.shape(alpha)
    here = apply(matched.placed(shape, body_m), matched.partners.on(shape))
    return 1e3 * np.linalg.norm(here - body_m[matched.vertices], axis=1).mean()


@pytest.mark.parametrize("seed", range(3))
def test_coefficients_of_a_foreign_face_are_found_again(base, seed):
    """Up to size, which coefficients and similarity share, and to modes that the face hides."""
    graft = base.graft
    rng = np.random.default_rng(seed)
    alpha = rng.standard_normal(len(graft.head.identity)).astype(np.float32)
    vertices = base.model.template_m.copy()
    own = graft.matched.partners.on(graft.head.shape(alpha))
    vertices[graft.matched.vertices] = apply(graft.similarity, own)
    found = graft.alpha_of(vertices)
    assert np.corrcoef(found[:20], alpha[:20])[0, 1] > 0.85
    mean = np.zeros_like(alpha)
    assert offset_mm(graft, found, vertices) < 0.3 * offset_mm(graft, mean, vertices)
    assert offset_mm(graft, found, vertices) < 0.6


def test_where_a_face_is_says_nothing_about_whose_it_is(base, body):
    rest = body.shape(adult(body, 3).phenotypes).vertices_m
    moved = rest[:, [2, 1, 0]] * [1, 1, -1] + [0.3, 0.1, -2.0]
    found = base.graft.alpha_of(moved.astype(np.float32))
    np.testing.assert_allclose(found, base.graft.alpha_of(rest), atol=2e-3)


def test_anybodys_face_is_a_plausible_one_of_the_foreign_model(base, body):
    """MAP: no mode is driven to a caricature, and the face comes closer than the average one."""
    for seed in range(6):
        person = adult(body, seed)
        rest = body.shape(person.phenotypes, person.face.coefficients).vertices_m
        alpha = base.graft.alpha_of(rest)
        assert alpha.shape == (len(base.graft.head.identity),)
        assert np.sqrt((alpha**2).mean()) < 1.5
        assert np.abs(alpha).max() < 6.0
        assert offset_mm(base.graft, alpha, rest) < 0.7 * offset_mm(base.graft, 0 * alpha, rest)


@pytest.mark.parametrize("mode", MODES)
def test_a_base_with_a_foreign_face_makes_avatars_that_pose_and_travel(
    model_cache, face_file, body, mode
):
    base = BaseAvatar.load(model_cache, mode, face_file)
    person = adult(body, 4)
    avatar = base.avatar_of(person)
    assert len(avatar.rest_vertices_m) != len(base.average.rest_vertices_m)
    assert avatar.identity_version == 4
    assert avatar.texture is base.average.texture
    assert_closed(avatar.topology.faces)
    assert base.fitted_of(person).topology is base.average.topology
    state = random_state(len(avatar.parents), 1, spread=0.1)
    corrections = base.corrections_of(avatar, person)
    mesh = Poser(avatar, None, corrections).pose(state)
    assert np.isfinite(mesh.vertices_m).all()
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1.0, atol=1e-4)
    again = Poser(read_glb(write_glb(avatar))).pose(state)
    np.testing.assert_allclose(again.vertices_m, mesh.vertices_m, atol=1e-5)


def test_a_person_better_known_poses_as_if_made_afresh(base, body):
    """Skin and order are shared; how far expressions reach is the person's own."""
    first, second = (base.avatar_of(adult(body, seed)) for seed in (1, 2))
    assert first.morph_actions is second.morph_actions
    assert np.abs(first.morph_offsets_m - second.morph_offsets_m).max() > 1e-4
    state = random_state(len(first.parents), 3, spread=0.1)
    poser = Poser(first)
    renewed = poser.with_identity(second)
    assert renewed.workspace.layout.fans is poser.workspace.layout.fans
    np.testing.assert_array_equal(
        renewed.pose(state).vertices_m, Poser(second).pose(state).vertices_m
    )


def test_lips_wear_lips_and_brows_wear_brows(body, base):
    """Landmarks that both heads have carry the same texture coordinates."""
    graft, topology = base.graft, base.graft.topology
    ours = np.full((len(body.template_m), 2), np.nan)
    ours[body.faces] = body.uvs[body.face_uvs]
    theirs = np.full((len(topology.regions), 2), np.nan)
    theirs[topology.render_vertices] = topology.render_uvs
    place = np.full(len(graft.head.mean_m), -1)
    place[graft.kept_head] = len(graft.kept_body) + np.arange(len(graft.kept_head))
    embedding, landmarks = default_embedding(), graft.head.landmarks
    for number in (105, 334, 61, 291, 0, 17, 33, 263, 1, 50, 280):
        own = np.einsum("k,kc->c", embedding.barycentric[number], ours[embedding.triangles[number]])
        foreign = np.einsum(
            "k,kc->c", landmarks.barycentric[number], theirs[place[landmarks.triangles[number]]]
        )
        assert np.linalg.norm(own - foreign) < 0.006, number


def test_lids_meet_on_everybody(base):
    """As a blink ends on the mean head, whose lids its makers let meet."""
    head = base.graft.head
    for name, pairs in LIDS.items():
        action, (upper, lower) = ARKIT_NAMES.index(name), np.array(pairs).T
        blink = head.expression.mode(action)

        def gap_mm(vertices, upper=upper, lower=lower):
            points = head.landmarks.on(vertices)
            return 1e3 * np.linalg.norm(points[upper] - points[lower], axis=1).mean()

        wanted, plain, ours = gap_mm(head.mean_m + blink), [], []
        for seed in range(10):
            alpha = np.random.default_rng(seed).standard_normal(len(head.identity))
            shape = head.shape(alpha.astype(np.float32))
            reach = lid_reach(head, shape)
            assert (np.delete(reach, [ARKIT_NAMES.index(n) for n in LIDS]) == 1.0).all()
            plain.append(abs(gap_mm(shape + blink) - wanted))
            ours.append(abs(gap_mm(shape + reach[action] * blink) - wanted))
        assert np.mean(plain) > 0.5
        assert np.max(ours) < 0.4 * np.max(plain)
        assert np.mean(ours) < 0.35
    np.testing.assert_allclose(lid_reach(head, head.mean_m), 1.0, atol=1e-6)
    assert (lid_reach(dataclasses.replace(head, landmarks=None), head.mean_m) == 1.0).all()


def test_a_head_in_a_damaged_file_is_named(model_cache, tmp_path):
    path = tmp_path / "head.npz"
    path.write_bytes(b"PK\x03\x04 damaged")
    with pytest.raises(ModelFileError, match="damaged"):
        BaseAvatar.load(model_cache, face_model=path)


def test_a_head_that_has_no_eyes_or_is_not_in_metres_is_named(body, base):
    head = base.graft.head
    parts = np.where(head.face_parts == Part.EYE_LEFT, Part.FACE, head.face_parts)
    with pytest.raises(ModelFileError, match="no eyeballs"):
        build_graft(body, dataclasses.replace(head, face_parts=parts.astype(np.uint8)))
    for scale in (0.0, 1000.0):
        with pytest.raises(ModelFileError, match="apart"):
            build_graft(body, dataclasses.replace(head, mean_m=head.mean_m * np.float32(scale)))
