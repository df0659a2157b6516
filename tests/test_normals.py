from __future__ import annotations

import numpy as np
import pytest
from rigs import sphere

from engine.fusion.fans import FAN, cover_with_fans
from engine.fusion.normals import TILE, fan_normals, fan_tiles, vertex_normals


def obvious_normals(vertices, faces):
    """The incident-angle-weighted mean, face by face, with the library's arc cosine."""
    total = np.zeros(vertices.shape)
    for face in faces:
        corners = vertices[face].astype(np.float64)
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        normal /= np.linalg.norm(normal)
        for k in range(3):
            u, v = corners[(k + 1) % 3] - corners[k], corners[(k + 2) % 3] - corners[k]
            cosine = u @ v / (np.linalg.norm(u) * np.linalg.norm(v))
            total[face[k]] += np.arccos(np.clip(cosine, -1, 1)) * normal
    return total / np.linalg.norm(total, axis=1, keepdims=True)


def normals_of(vertices, faces):
    out = np.full(vertices.shape, np.nan, np.float32)
    vertex_normals(np.ascontiguousarray(vertices, np.float32), faces.astype(np.int32), out)
    return out


def test_agrees_with_the_definition_on_a_rough_surface():
    vertices, faces = sphere(24, 20)
    assert len(faces) > 2 * TILE, "the mesh should fill more than two tiles"
    vertices = vertices + np.random.default_rng(0).normal(0, 0.005, vertices.shape)
    difference = normals_of(vertices, faces) - obvious_normals(vertices.astype(np.float32), faces)
    assert np.abs(difference).max() < 2e-4


def test_a_cube_has_diagonal_normals_however_it_is_triangulated():
    """What angles are for: a face split into two triangles must not count twice."""
    vertices = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    for flip in (0, 1):
        faces = []
        for quad in quads:
            a, b, c, d = np.roll(quad, flip)
            faces += [(a, b, c), (a, c, d)]
        np.testing.assert_allclose(
            normals_of(vertices, np.array(faces)), vertices / np.sqrt(3), atol=1e-4
        )


def test_a_sphere_points_outwards_at_any_size():
    vertices, faces = sphere(30, 30)
    for scale in (1e-3, 1.0, 1e3):
        radial = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
        assert (np.sum(normals_of(vertices * scale, faces) * radial, axis=1) > 0.99).all()


def test_degenerate_faces_give_finite_unit_normals():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [1, 0, 0], [5, 5, 5]], float)
    normals = normals_of(vertices, np.array([[0, 1, 2]]))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)


def fan_normals_of(vertices, faces):
    tiles = fan_tiles(cover_with_fans(faces.astype(np.int32), len(vertices)))
    out = np.full((3, len(vertices)), np.nan, np.float32)
    fan_normals(np.ascontiguousarray(vertices.T, np.float32), tiles, out)
    return out.T


def sorted_triangles(faces):
    """Each triangle turned until its smallest corner is first, in order."""
    turned = [np.roll(face, -int(np.argmin(face))) for face in faces]
    return np.array(sorted(map(tuple, turned)))


@pytest.mark.parametrize("rings", [3, 9, 24])
def test_fans_cover_every_triangle_once(rings):
    _, faces = sphere(rings, 20)
    fans = cover_with_fans(faces, int(faces.max()) + 1)
    triangles = np.concatenate([fans[:, [0, k, k + 1]] for k in range(1, FAN + 1)])
    whole = triangles[(triangles != np.roll(triangles, 1, axis=1)).all(axis=1)]
    np.testing.assert_array_equal(sorted_triangles(whole), sorted_triangles(faces))
    assert rings < 9 or len(fans) < 0.34 * len(faces)


def test_fans_give_the_same_normals_as_single_triangles():
    vertices, faces = sphere(24, 20)
    vertices = vertices + np.random.default_rng(0).normal(0, 0.005, vertices.shape)
    difference = fan_normals_of(vertices, faces) - obvious_normals(
        vertices.astype(np.float32), faces
    )
    assert np.abs(difference).max() < 2e-4


def test_fans_of_triangles_that_form_no_surface_end_and_agree():
    """A received mesh may hold anything: edges of many triangles, the same triangle twice."""
    rng = np.random.default_rng(1)
    vertices = rng.normal(size=(12, 3))
    faces = np.array([rng.permutation(12)[:3] for _ in range(200)])
    faces = np.concatenate([faces, faces[:20]])
    agreement = np.sum(fan_normals_of(vertices, faces) * normals_of(vertices, faces), axis=1)
    assert agreement.min() > 0.9999


def test_a_vertex_without_a_face_points_somewhere():
    vertices = np.eye(4, 3)
    np.testing.assert_array_equal(fan_normals_of(vertices, np.array([[0, 1, 2]]))[3], [0, 0, 1])
