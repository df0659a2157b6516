from __future__ import annotations

import numpy as np
import pytest
from rigs import sphere
from test_fusion import assert_closed, unit_normals

from engine.errors import ModelFileError
from engine.fusion.loops import closed_loops
from engine.fusion.stitching import boundary_edges
from engine.fusion.zipper import bridge, rungs_between


def two_caps(sectors_above, sectors_below, gap=0.1):
    """A sphere cut in two topologies: one open mesh of both caps, and their loops."""
    parts, faces, count = [], [], 0
    for sectors, above in ((sectors_above, True), (sectors_below, False)):
        vertices, triangles = sphere(14, sectors, 1.0)
        height = vertices[:, 1] if above else -vertices[:, 1]
        kept = triangles[(height[triangles] > gap).all(axis=1)]
        used, inverse = np.unique(kept, return_inverse=True)
        parts.append(vertices[used])
        faces.append(inverse.reshape(-1, 3) + count)
        count += len(used)
    vertices, faces = np.concatenate(parts).astype(np.float64), np.concatenate(faces)
    loops = closed_loops(boundary_edges(faces.astype(np.int32)))
    upper, lower = sorted(loops, key=lambda loop: -vertices[loop, 1].mean())
    return vertices, faces.astype(np.int32), upper, lower


def stitched(sectors_above, sectors_below):
    vertices, faces, upper, lower = two_caps(sectors_above, sectors_below)
    joined = bridge(faces, upper, lower, vertices)
    ring = np.einsum("rs,rsc->rc", joined.weights, vertices[joined.sources])
    return np.concatenate([vertices, ring]), np.concatenate([faces, joined.faces]), joined


@pytest.mark.parametrize(("above", "below"), [(12, 12), (12, 31), (40, 9), (25, 24)])
def test_any_two_boundaries_are_closed_without_a_fold(above, below):
    vertices, faces, joined = stitched(above, below)
    assert_closed(faces)
    assert len(joined.ring) == above + below
    outwards = vertices[faces].mean(axis=1)
    facing = np.sum(unit_normals(vertices, faces) * outwards, axis=1)
    assert facing.min() > 0.5 * np.linalg.norm(outwards, axis=1).min()


def test_the_bridge_bulges_as_the_surfaces_beside_it_do():
    """Rungs alone would cut the sphere's equator off by a tenth of a radius."""
    vertices, _, joined = stitched(30, 24)
    ends = vertices[joined.sources[:, :2]].mean(axis=1)
    sagging = 1 - np.linalg.norm(ends, axis=1).mean()
    assert abs(1 - np.linalg.norm(vertices[joined.ring], axis=1).mean()) < 0.4 * sagging


def test_bridge_vertices_follow_any_affine_motion():
    vertices, faces, upper, lower = two_caps(20, 13)
    joined = bridge(faces, upper, lower, vertices)
    rng = np.random.default_rng(0)
    matrix, offset = rng.normal(size=(3, 3)), rng.normal(size=3)
    ring = np.einsum("rs,rsc->rc", joined.weights, vertices[joined.sources])
    moved = np.einsum("rs,rsc->rc", joined.weights, (vertices @ matrix + offset)[joined.sources])
    np.testing.assert_allclose(moved, ring @ matrix + offset, atol=1e-9)


def test_no_other_zipper_is_shorter():
    """Against every staircase there is, on loops small enough to list them."""
    rng = np.random.default_rng(4)
    inner = np.stack([np.cos(a := np.arange(4) * np.pi / 2), np.sin(a), 0 * a], axis=1)
    outer = 1.4 * np.stack([np.cos(b := np.arange(5) * 2 * np.pi / 5), np.sin(b), 0 * b], axis=1)
    outer += rng.normal(0, 0.1, outer.shape)
    lengths = np.linalg.norm(inner[:, None] - outer[None], axis=2)
    rungs = rungs_between(inner, outer)
    found = lengths[rungs[:, 0], rungs[:, 1]].sum()
    i, j = np.unravel_index(np.argmin(lengths), lengths.shape)
    turned = np.roll(np.roll(lengths, -i, axis=0), -j, axis=1)

    def shortest(row, column):
        if (row, column) == (4, 5):
            return 0.0
        own = turned[row % 4, column % 5]
        ways = [(row + 1, column)] * (row < 4) + [(row, column + 1)] * (column < 5)
        return own + min(shortest(*way) for way in ways)

    assert found == pytest.approx(shortest(0, 0))


def test_loops_that_touch_are_named():
    with pytest.raises(ModelFileError, match="closed loops"):
        closed_loops(np.array([[0, 1], [1, 2], [2, 0], [0, 3], [3, 4], [4, 0]], np.int32))
    with pytest.raises(ModelFileError, match="closed loops"):
        closed_loops(np.array([[0, 1], [1, 2]], np.int32))
