from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs import sphere

from engine import quaternions
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.nonrigid import LandmarkPairs, warp
from engine.fusion.registration import (
    IDENTITY,
    Similarity,
    apply,
    inverse,
    principal_axes,
    register,
)


def rotation(*vector):
    return quaternions.to_matrix(quaternions.from_rotation_vector(np.array(vector, float)))


def potato(rings=30, sectors=36):
    """A closed surface without any symmetry, about 20 across."""
    vertices, faces = sphere(rings, sectors, 1.0)
    x, y, z = vertices.astype(np.float64).T
    radius = 8 + 2.0 * y + 1.5 * x * z + 1.2 * np.sin(3 * x + 1) + 0.8 * np.cos(4 * z - y)
    return vertices * radius[:, None] * [1.0, 1.4, 0.8], faces


def closest_by_sampling(point, corners, steps=200):
    u, v = np.meshgrid(np.linspace(0, 1, steps), np.linspace(0, 1, steps))
    u, v = u[u + v <= 1 + 1e-12], v[u + v <= 1 + 1e-12]
    places = (1 - u - v)[:, None] * corners[0] + u[:, None] * corners[1] + v[:, None] * corners[2]
    return np.linalg.norm(places - point, axis=1).min()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_the_closest_point_of_one_triangle_is_the_closest_of_all_its_points(seed):
    rng = np.random.default_rng(seed)
    corners, point = rng.normal(size=(3, 3)), 2 * rng.normal(size=3)
    found = SurfaceTree(corners, np.array([[0, 1, 2]])).closest(point[None])
    np.testing.assert_allclose(found.barycentric[0] @ corners, found.points[0], atol=1e-12)
    assert found.barycentric.min() >= 0 and found.barycentric.sum() == pytest.approx(1.0)
    distance = np.linalg.norm(found.points[0] - point)
    sampled = closest_by_sampling(point, corners)
    assert distance <= sampled + 1e-12
    assert distance == pytest.approx(sampled, abs=0.03)


def test_the_tree_finds_what_a_search_of_every_triangle_finds():
    vertices, faces = potato(8, 9)
    tree = SurfaceTree(vertices, faces)
    points = np.random.default_rng(0).normal(0, 12, (12, 3))
    found = tree.closest(points)
    for i, point in enumerate(points):
        every = [
            np.linalg.norm(SurfaceTree(vertices, face[None]).closest(point[None]).points - point)
            for face in faces
        ]
        assert np.linalg.norm(found.points[i] - point) == pytest.approx(min(every), abs=1e-9)
        assert every[found.triangles[i]] == pytest.approx(min(every), abs=1e-9)


def test_values_are_interpolated_where_the_closest_points_lie():
    vertices, faces = potato()
    found = SurfaceTree(vertices, faces).closest(vertices[::7] * 1.3)
    np.testing.assert_allclose(found.interpolate(faces, vertices), found.points, atol=1e-9)


def test_principal_axes_do_not_depend_on_how_finely_a_surface_is_meshed():
    """Inertia of the surface, not of its vertices: a head's eyelids are denser than its scalp."""
    vertices, faces = potato()
    quarters = vertices[faces[: len(faces) // 3]].mean(axis=1)
    dense = np.concatenate([vertices, quarters])
    middle = len(vertices) + np.arange(len(quarters))
    a, b, c = faces[: len(quarters)].T
    split = [np.stack(corners, 1) for corners in ((a, b, middle), (b, c, middle), (c, a, middle))]
    finer = np.concatenate([*split, faces[len(quarters) :]])
    plain, fine = principal_axes(vertices, faces), principal_axes(dense, finer)
    np.testing.assert_allclose(fine.centre, plain.centre, atol=0.05)
    assert np.abs((fine.axes * plain.axes).sum(axis=0)).min() > 0.999


@pytest.mark.parametrize("turn", [(0.1, 0.0, 0.0), (3.0, 0.2, -0.4), (0.3, -2.5, 1.0), (0, 0, 3.1)])
def test_a_surface_finds_back_from_any_turn(turn):
    vertices, faces = potato()
    truth = Similarity(1.0, rotation(*turn), np.array([30.0, -4.0, 11.0]))
    moved = SurfaceTree(apply(truth, vertices), faces)
    found = register(SurfaceTree(vertices, faces), moved)
    np.testing.assert_allclose(apply(found.similarity, vertices), moved.vertices, atol=0.02)


def test_the_scale_is_found_when_it_is_asked_for_and_kept_when_it_is_not():
    vertices, faces = potato()
    truth = Similarity(1.3, rotation(0.4, 1.0, 0.2), np.array([5.0, 0.0, 1.0]))
    larger = SurfaceTree(apply(truth, vertices), faces)
    found = register(SurfaceTree(vertices, faces), larger, scaled=True)
    assert found.similarity.scale == pytest.approx(1.3, abs=2e-3)
    assert register(SurfaceTree(vertices, faces), larger).similarity.scale == 1.0


def test_a_scaled_surface_does_not_shrink_into_the_other():
    """Noise on both: pairs made one way alone would find a scale well below one."""
    rng = np.random.default_rng(1)
    vertices, faces = potato()
    rough = [SurfaceTree(vertices + rng.normal(0, 0.25, vertices.shape), faces) for _ in range(2)]
    found = register(rough[0], rough[1], scaled=True, start=IDENTITY)
    assert found.similarity.scale == pytest.approx(1.0, abs=0.004)


def test_a_tenth_of_nonsense_does_not_pull_the_rest_away():
    vertices, faces = potato()
    swollen = vertices.copy()
    swollen[vertices[:, 1] > np.quantile(vertices[:, 1], 0.93)] *= 1.5
    target = SurfaceTree(vertices, faces)
    found = register(SurfaceTree(swollen, faces), target, start=IDENTITY)
    plain = vertices[:, 1] < 0
    error = np.linalg.norm(apply(found.similarity, swollen) - vertices, axis=1)[plain]
    assert error.max() < 0.25


def test_a_part_finds_its_place_on_the_whole():
    vertices, faces = potato()
    part = faces[(vertices[faces, 1] > 1.0).all(axis=1)]
    truth = Similarity(1.0, rotation(0.05, -0.08, 0.06), np.array([0.3, -0.2, 0.4]))
    found = register(
        SurfaceTree(apply(inverse(truth), vertices), part),
        SurfaceTree(vertices, faces),
        start=IDENTITY,
    )
    used = np.unique(part)
    error = apply(found.similarity, apply(inverse(truth), vertices))[used] - vertices[used]
    assert np.abs(error).max() < 0.05


def test_a_similarity_and_its_inverse_cancel():
    one = Similarity(1.7, rotation(0.3, -0.2, 0.9), np.array([1.0, 2.0, 3.0]))
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(apply(inverse(one), apply(one, points)), points, atol=1e-12)


def bent(points):
    """A smooth deformation that no similarity can undo."""
    x, y, z = np.asarray(points, np.float64).T
    return np.stack(
        [x * 1.15 + 0.4 * np.sin(y / 4), 0.9 * y + 0.02 * x * z, z + 0.03 * x * x - 0.3 * y], 1
    )


LANDMARK_ROWS = slice(7, 1040, 37)


def test_a_template_warps_onto_another_mesh_of_a_bent_surface():
    """Not only onto it: each vertex goes where it belongs."""
    vertices, faces = potato()
    finer, finer_faces = potato(44, 50)
    target = SurfaceTree(bent(finer), finer_faces)
    marks = LandmarkPairs(vertices[LANDMARK_ROWS], bent(vertices[LANDMARK_ROWS]))
    warped = warp(SurfaceTree(vertices, faces), target, marks)
    to_surface = np.linalg.norm(target.closest(warped).points - warped, axis=1)
    rigid = np.linalg.norm(target.closest(vertices).points - vertices, axis=1)
    assert np.quantile(to_surface, 0.95) < 0.1 < 1.0 < np.quantile(rigid, 0.95)
    off, before = (np.linalg.norm(v - bent(vertices), axis=1) for v in (warped, vertices))
    assert np.median(off) < 0.25 * np.median(before)
    assert np.quantile(off, 0.95) < 0.5 * np.quantile(before, 0.95)


def test_what_the_target_does_not_have_goes_along():
    """The scalp of a template on a mask that ends at the hairline: no point is torn off."""
    vertices, faces = potato()
    mask = faces[(vertices[faces, 1] < 5.0).all(axis=1)]
    low = [row for row in range(30, 1000, 60) if vertices[row, 1] < 4.0]
    marks = LandmarkPairs(vertices[low], bent(vertices[low]))
    warped = warp(SurfaceTree(vertices, faces), SurfaceTree(bent(vertices), mask), marks)
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    before, after = (
        np.linalg.norm(v[edges[:, 0]] - v[edges[:, 1]], axis=1) for v in (vertices, warped)
    )
    assert (after / before).max() < 3.0
    below = vertices[:, 1] < 3.0
    assert np.median(np.linalg.norm(warped - bent(vertices), axis=1)[below]) < 0.4
