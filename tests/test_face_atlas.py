"""The face's texels lie where the texture puts them: else skin and wrinkles land beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.avatar.topology import FusedAvatar
from engine.errors import AvatarError
from engine.face.face_atlas import FaceAtlas
from engine.fusion.base_avatar import BaseAvatar
from engine.fusion.normals import vertex_normals
from engine.inference.store import ModelStore


@pytest.fixture(scope="module")
def avatar(model_cache: ModelStore) -> FusedAvatar:
    return BaseAvatar.load(model_cache).average


@pytest.fixture(scope="module")
def atlas(avatar: FusedAvatar) -> FaceAtlas:
    return FaceAtlas.of(avatar.topology)


def test_texels_have_the_texture_coordinates_of_their_surface_points(
    avatar: FusedAvatar, atlas: FaceAtlas
) -> None:
    topology = avatar.topology
    corner_uvs = topology.render_uvs[topology.render_faces[atlas.faces]]
    uvs = (atlas.barycentric[:, :, None] * corner_uvs).sum(axis=1)
    assert np.abs(uvs - atlas.uvs).max() < 1e-5
    assert np.array_equal(topology.faces[atlas.faces], atlas.corners)
    assert np.allclose(atlas.barycentric.sum(axis=1), 1.0, atol=1e-5)


def test_the_default_atlas_has_the_texels_of_the_painted_texture(atlas: FaceAtlas) -> None:
    texels = atlas.uvs * 2048 - 0.5
    assert np.abs(texels - np.rint(texels)).max() < 1e-2


def test_nearly_the_whole_face_is_in_the_atlas(avatar: FusedAvatar, atlas: FaceAtlas) -> None:
    topology = avatar.topology
    patch = np.flatnonzero((topology.regions[topology.faces] != 0).all(axis=1))
    vertices = np.unique(topology.faces[patch])
    front = vertices[avatar.rest_vertices_m[vertices, 2] > 0.02]
    assert np.isin(front, atlas.corners).mean() > 0.97


def test_tangents_are_the_directions_in_which_texture_coordinates_grow(
    avatar: FusedAvatar, atlas: FaceAtlas
) -> None:
    topology, vertices = avatar.topology, avatar.rest_vertices_m
    normals = np.zeros_like(vertices)
    vertex_normals(vertices, topology.faces, normals)
    at_texels = atlas.normals(normals)
    along_u, along_v = atlas.tangents(vertices, at_texels)
    for a, b in ((along_u, along_v), (along_u, at_texels), (along_v, at_texels)):
        assert np.abs((a * b).sum(axis=1)).max() < 1e-5
    places = atlas.picture(atlas.interpolate(vertices), np.nan)
    step = places[:, 1:] - places[:, :-1]
    cosine = (step * atlas.picture(along_u, np.nan)[:, :-1]).sum(axis=2)
    assert np.nanpercentile(cosine / np.linalg.norm(step, axis=2), 5) > 0.98
    step = places[1:] - places[:-1]
    downhill = (step * atlas.picture(along_v, np.nan)[:-1]).sum(axis=2)
    assert (downhill[np.isfinite(downhill)] > 0).mean() > 0.98


def test_reading_a_picture_undoes_painting_it(atlas: FaceAtlas) -> None:
    values = np.random.default_rng(0).random((len(atlas.texels), 3), np.float32)
    assert np.array_equal(atlas.read(atlas.picture(values)), values)


def test_a_topology_without_a_face_there_is_refused(avatar: FusedAvatar) -> None:
    elsewhere = replace(avatar.topology, render_uvs=np.zeros_like(avatar.topology.render_uvs))
    with pytest.raises(AvatarError, match="no face"):
        FaceAtlas.of(elsewhere)
