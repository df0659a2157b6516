from __future__ import annotations

import numpy as np
import pytest
from test_fusion import assert_closed

from engine.avatar.anny import FILE_NAME, PART_NAMES, BodyModel
from engine.errors import AvatarError, ModelFileError
from engine.face.eyelids import LOWER, UPPER
from engine.face.landmark_embedding import default_embedding
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.copy_paste import fuse
from engine.fusion.face_region import face_triangles
from engine.fusion.fusion_map_file import load_fusion_map
from engine.fusion.stitching import split_edges
from engine.fusion.subdivision import folded
from engine.types import ARKIT_NAMES, FaceShape, Identity, Phenotypes
from exporters.identity_prior.local_changes import directions, is_of_head
from exporters.identity_prior.smooth_deformations import (
    MIRROR,
    Scale,
    farthest_points,
    smooth_deformations,
)


@pytest.fixture(scope="module")
def body(model_cache):
    return BodyModel.load(model_cache.path(FILE_NAME))


@pytest.fixture(scope="module")
def fusion_map(body, model_cache):
    return load_fusion_map(model_cache.path(FILE_NAME), body)


def random_face(body, seed, deviation=1.0):
    rng = np.random.default_rng(seed)
    return (deviation * rng.standard_normal(body.identity_count)).astype(np.float32)


def part(body, *names):
    parts = [PART_NAMES.index(name) for name in names]
    return np.unique(body.faces[np.isin(body.face_parts, parts)])


def test_no_coefficients_are_the_phenotypes_own_face(body):
    person = Phenotypes(age=0.8, gender=0.1)
    plain = body.shape(person)
    zero = body.shape(person, np.zeros(body.identity_count, np.float32))
    np.testing.assert_array_equal(zero.vertices_m, plain.vertices_m)
    np.testing.assert_array_equal(zero.joints_m, plain.joints_m)


def test_a_face_moves_nothing_from_the_neck_downwards(body):
    plain = body.shape(Phenotypes())
    shaped = body.shape(Phenotypes(), random_face(body, 0, 3.0))
    moved = np.linalg.norm(shaped.vertices_m - plain.vertices_m, axis=1)
    eyes = plain.joints_m[[body.joint_names.index(f"eye.{s}") for s in "LR"]]
    below = plain.vertices_m[:, 1] < eyes[0, 1] - 0.17
    assert moved[below].max() == 0.0
    assert moved[part(body, "hand.L", "hand.R", "foot.L", "foot.R")].max() == 0.0
    assert moved.max() > 5e-3
    still = [j for j, name in enumerate(body.joint_names) if not name.startswith("eye")]
    np.testing.assert_array_equal(shaped.joints_m[still], plain.joints_m[still])


def test_eyes_turn_about_the_middle_of_their_balls(body):
    """Otherwise a look to the side would pull the ball out of its socket."""
    plain = body.shape(Phenotypes())
    for seed in range(4):
        shaped = body.shape(Phenotypes(), random_face(body, seed))
        for side in "LR":
            joint = body.joint_names.index(f"eye.{side}")
            ball = part(body, f"eye_front.{side}", f"eye_back.{side}")
            travelled = (shaped.vertices_m - plain.vertices_m)[ball]
            turned = (shaped.joints_m - plain.joints_m)[joint]
            np.testing.assert_allclose(turned, travelled.mean(axis=0), atol=2e-5)
            rest = plain.vertices_m[ball] - plain.vertices_m[ball].mean(axis=0)
            now = shaped.vertices_m[ball] - shaped.vertices_m[ball].mean(axis=0)
            scale = (now * rest).sum() / (rest**2).sum()
            assert 0.85 < scale < 1.15
            assert np.linalg.norm(now - scale * rest, axis=1).max() < 1.2e-3


def test_lids_stay_open_and_on_the_balls(body):
    embedding = default_embedding()
    for seed in range(6):
        shaped = body.shape(Phenotypes(), random_face(body, seed))
        landmarks = embedding.landmarks_m(shaped.vertices_m)
        gaps = (landmarks[UPPER, 1] - landmarks[LOWER, 1]).mean(axis=1)
        assert gaps.min() > 4e-3


def test_coefficients_count_standard_deviations_of_a_head(body):
    """Faces differ by millimetres: neither wrinkles nor caricatures."""
    plain = body.shape(Phenotypes()).vertices_m
    embedding = default_embedding()
    landmarks = np.stack(
        [
            embedding.landmarks_m(body.shape(Phenotypes(), random_face(body, seed)).vertices_m)
            for seed in range(20)
        ]
    )
    spread = np.linalg.norm(landmarks - embedding.landmarks_m(plain), axis=2)
    assert 2e-3 < spread.mean() < 5e-3


@pytest.mark.parametrize("seed", range(4))
def test_a_random_face_is_watertight_and_without_folds(body, fusion_map, seed):
    """Also while it acts: no more than a few triangles, hidden in a lid's or a lip's crease."""
    face = FaceShape(random_face(body, 100 + seed))
    avatar = fuse(body, fusion_map, Identity(face=face))
    assert_closed(avatar.topology.faces)
    _, splits = split_edges(body.faces, face_triangles(body))
    patch = splits.min(axis=1) >= 0
    corners, middles = body.faces[patch], splits[patch] + len(body.template_m)
    rest = avatar.rest_vertices_m
    assert folded(rest[corners], rest[middles]).sum() <= 2
    vertex = np.repeat(np.arange(len(rest)), np.diff(avatar.morph_starts))
    for name in ("jawOpen", "mouthSmileLeft", "mouthFunnel", "browInnerUp", "eyeBlinkRight"):
        own = avatar.morph_actions == ARKIT_NAMES.index(name)
        acted = rest.copy()
        np.add.at(acted, vertex[own], avatar.morph_offsets_m[own])
        assert folded(acted[corners], acted[middles]).sum() <= 8


def test_relief_stands_out_along_the_normal(body, fusion_map):
    plain = fuse(body, fusion_map, Identity())
    relief = np.zeros(len(plain.rest_vertices_m), np.float32)
    tip = int(
        np.argmax(np.where(plain.rest_vertices_m[:, 1] > 1.6, plain.rest_vertices_m[:, 2], 0))
    )
    relief[tip] = 1e-3
    shaped = fuse(body, fusion_map, Identity(detail_m=relief))
    moved = shaped.rest_vertices_m - plain.rest_vertices_m
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), relief, atol=1e-6)
    assert moved[tip, 2] > 5e-4


def test_the_average_avatar_is_no_shortcut_for_a_face_of_ones_own(body, model_cache):
    base = BaseAvatar.load(model_cache)
    plain = base.avatar_of(Identity())
    shaped = base.avatar_of(Identity(face=FaceShape(random_face(body, 1))))
    assert np.abs(shaped.rest_vertices_m - plain.rest_vertices_m).max() > 1e-3


@pytest.mark.parametrize(
    "wrong", [lambda n: np.zeros(n + 1, np.float32), lambda n: np.full(n, np.nan, np.float32)]
)
def test_a_face_of_another_model_is_refused(body, fusion_map, wrong):
    with pytest.raises(AvatarError, match="coefficients"):
        body.shape(Phenotypes(), wrong(body.identity_count))
    with pytest.raises(AvatarError, match="relief"):
        fuse(body, fusion_map, Identity(detail_m=wrong(7)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("head_basis", lambda values: values[:, :-3]),
        ("head_vertices", lambda values: values.astype(np.int64) + 20_000),
        ("head_joint_basis_m", lambda values: values * np.float32(np.nan)),
    ],
)
def test_a_damaged_basis_is_named(model_cache, tmp_path, name, change):
    with np.load(model_cache.path(FILE_NAME)) as archive:
        arrays = {key: archive[key] for key in archive.files}
    np.savez(tmp_path / FILE_NAME, **(arrays | {name: change(arrays[name])}))
    with pytest.raises(ModelFileError, match=name):
        BodyModel.load(tmp_path / FILE_NAME)


def test_smooth_deformations_have_the_kernels_covariance():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(40, 3)) * 0.05
    points = np.concatenate([half, half * MIRROR])
    columns = smooth_deformations(points, (Scale(0.06, 2e-3, 80),), asymmetry=1.0)
    covariance = columns[:, 1] @ columns[:, 1].T
    squared = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    # Even and odd half sum up to the plain kernel where both sides are independent.
    np.testing.assert_allclose(covariance, 4e-6 * np.exp(-squared / 0.0072), atol=2e-8)


def test_without_asymmetry_deformations_are_mirror_images():
    rng = np.random.default_rng(1)
    half = rng.normal(size=(30, 3)) * 0.05
    points = np.concatenate([half, half * MIRROR])
    columns = smooth_deformations(points, (Scale(0.03, 1e-3, 40),), asymmetry=0.0)
    left, right = columns[:30], columns[30:]
    np.testing.assert_allclose(left * MIRROR[:, None], right, atol=1e-9)


def test_local_changes_of_the_two_sides_become_one_and_a_smaller_difference():
    shape = np.zeros((2, 3))
    shape[0, 1] = 1e-3
    columns = directions({"l-cheek-bones-incr": shape, "r-cheek-bones-incr": shape[::-1]})
    assert columns.shape == (2, 3, 2)
    both, apart = columns[:, 1, 0], columns[:, 1, 1]
    assert both[0] == both[1] > 0
    assert apart[0] == -apart[1]
    assert 0 < apart[0] < both[0]


def test_only_shapes_of_the_head_take_part():
    assert is_of_head("l-eye-scale-incr") and is_of_head("head-fat-incr")
    assert not is_of_head("head-trans-up") and not is_of_head("l-foot-scale-incr")


def test_farthest_points_cover_a_line():
    line = np.zeros((101, 3))
    line[:, 0] = np.linspace(0, 1, 101)
    assert sorted(farthest_points(line, 3)) == [0, 50, 100]
