"""The headless renderer: exact to the pixel, and clear where it cannot draw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from engine.avatar.topology import Topology
from engine.errors import GraphicsError
from engine.rendering import context
from engine.rendering.background import gradient, room
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.rendering.projection import project, projection_matrix
from engine.types import Camera, FusedMesh

WIDTH, HEIGHT = 160, 120


@pytest.fixture
def renderer() -> Iterator[OffscreenRenderer]:
    try:
        opened = OffscreenRenderer(WIDTH, HEIGHT, samples=1)
    except GraphicsError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


def square(centre: tuple[float, float, float], half: float) -> FusedMesh:
    """Two triangles that face the camera, with one texel of texture per corner."""
    corners = np.array([(-1, 1), (-1, -1), (1, -1), (1, 1)], np.float32) * half
    vertices = np.column_stack([corners, np.zeros(4)]) + centre
    faces = np.array([(0, 1, 2), (0, 2, 3)], np.int32)
    topology = Topology(
        faces=faces,
        regions=np.zeros(4, np.uint8),
        seam_edges=np.zeros((0, 2), np.int32),
        render_vertices=np.arange(4, dtype=np.int32),
        render_uvs=np.array([(0, 0), (0, 1), (1, 1), (1, 0)], np.float32),
        render_faces=faces,
    )
    normals = np.tile(np.array([0, 0, 1], np.float32), (4, 1))
    return FusedMesh(0, 0, vertices.astype(np.float32), normals, topology)


def test_a_square_is_drawn_where_the_camera_model_says(renderer: OffscreenRenderer) -> None:
    camera = Camera(focal_px=150.0, cx=70.3, cy=66.8, width=WIDTH, height=HEIGHT)
    mesh = square((0.05, 0.03, -1.2), 0.2)
    renderer.set_background(np.zeros((2, 2, 3), np.uint8))
    drawn = renderer.render(mesh, camera).sum(axis=2) > 0
    u, v = project(mesh.vertices_m, camera).T
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    expected = (columns > u.min()) & (columns < u.max()) & (rows > v.min()) & (rows < v.max())
    assert expected.sum() > 1000
    assert np.array_equal(drawn, expected)


def test_the_texture_is_upright(renderer: OffscreenRenderer) -> None:
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :, 0] = 255
    texture[32:, :, 1] = 255
    renderer.set_texture(texture)
    picture = renderer.render(square((0, 0, -1.0), 0.2), Camera.from_size(WIDTH, HEIGHT))
    top, bottom = picture[HEIGHT // 2 - 15, WIDTH // 2], picture[HEIGHT // 2 + 15, WIDTH // 2]
    assert top[0] > top[1] + 50
    assert bottom[1] > bottom[0] + 50


def test_the_nearer_one_hides_the_other(renderer: OffscreenRenderer) -> None:
    near, far = square((0, 0, -1.0), 0.1), square((0, 0, -2.0), 0.5)
    vertices = np.vstack([near.vertices_m, far.vertices_m])
    faces = np.vstack([near.topology.faces, near.topology.faces + 4])
    uvs = np.full((8, 2), 0.99, np.float32)
    uvs[:4] = 0.01
    topology = Topology(
        faces, np.zeros(8, np.uint8), np.zeros((0, 2), np.int32), np.arange(8, dtype=np.int32),
        uvs, faces,
    )  # fmt: skip
    texture = np.zeros((16, 16, 3), np.uint8)
    texture[:8, :8] = (255, 0, 0)
    texture[8:, 8:] = (0, 0, 255)
    renderer.set_texture(texture)
    mesh = FusedMesh(0, 0, vertices, np.tile(near.normals[:1], (8, 1)), topology)
    centre = renderer.render(mesh, Camera.from_size(WIDTH, HEIGHT))[HEIGHT // 2, WIDTH // 2]
    assert int(centre[0]) > int(centre[2]) + 40


def test_the_background_is_stretched_upright(renderer: OffscreenRenderer) -> None:
    renderer.set_background(gradient((250, 0, 0), (0, 0, 250)))
    picture = renderer.render(square((0, 9, -1.0), 0.01), Camera.from_size(WIDTH, HEIGHT))
    assert picture[0, 0, 0] > 230 > 20 > picture[0, 0, 2]
    assert picture[-1, 0, 2] > 230 > 20 > picture[-1, 0, 0]


def test_an_array_to_fill_is_used(renderer: OffscreenRenderer) -> None:
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    assert renderer.render(square((0, 0, -1), 0.1), Camera.from_size(WIDTH, HEIGHT), out) is out
    assert out.any()


def test_antialiasing_softens_edges(renderer: OffscreenRenderer) -> None:
    camera = Camera.from_size(WIDTH, HEIGHT)
    mesh = square((0.0013, 0.0007, -1.0), 0.2)
    with OffscreenRenderer(WIDTH, HEIGHT, samples=4) as smooth:
        pictures = [r.render(mesh, camera) for r in (renderer, smooth)]
    hard, soft = (len(np.unique(picture[HEIGHT // 2, :, 0])) for picture in pictures)
    assert soft >= hard


@pytest.mark.parametrize("size", [(0, 10), (10, -1), (10, 1 << 20)])
def test_impossible_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(GraphicsError, match="pixels a side"):
        OffscreenRenderer(*size)


def test_no_opengl_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise Exception("libEGL.so not loaded")

    monkeypatch.setattr(context.moderngl, "create_context", fail)
    with pytest.raises(GraphicsError, match="libegl1") as caught:
        OffscreenRenderer(10, 10)
    assert "\n" not in str(caught.value)


def test_the_projection_agrees_with_the_pinhole_model() -> None:
    camera = Camera(focal_px=431.0, cx=300.5, cy=251.25, width=640, height=480)
    points = np.array([(0.1, 0.2, -1.5), (-0.4, 0.3, -0.9), (0.0, 0.0, -3.0)], np.float32)
    clip = np.column_stack([points, np.ones(3)]) @ projection_matrix(camera).T
    ndc = clip[:, :2] / clip[:, 3:]
    u = (ndc[:, 0] + 1) / 2 * camera.width - 0.5
    v = (1 - ndc[:, 1]) / 2 * camera.height - 0.5
    assert np.column_stack([u, v]) == pytest.approx(project(points, camera), abs=1e-3)


def test_lights_and_rooms_follow_their_seeds() -> None:
    assert Light.varied(3) == Light.varied(3) != Light.varied(4)
    assert np.array_equal(room(3), room(3))
    assert not np.array_equal(room(3), room(4))
