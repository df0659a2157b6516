"""The painted skin: in the right places, the same every time, kept on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.paint import Look, cached_texture, paint_texture
from engine.avatar.paint import cache as paint_cache
from engine.avatar.paint.atlas import EYE_FRONTS, HEAD, MIDLINE, enlarge_eyes, spread
from engine.avatar.paint.brush import blend, noise, smoothstep
from engine.avatar.topology import FusedAvatar, Topology
from engine.fusion.copy_paste import build_topology, fuse
from engine.inference.store import ModelStore
from engine.types import Identity, Phenotypes

SIZE = 1024


@pytest.fixture(scope="module")
def avatar(model_cache: ModelStore) -> FusedAvatar:
    model = BodyModel.load(model_cache.path(FILE_NAME))
    return fuse(model, build_topology(model), Identity())


@pytest.fixture(scope="module")
def texture(avatar: FusedAvatar) -> np.ndarray:
    return paint_texture(avatar, Look(), SIZE)


def at(texture: np.ndarray, u: float, v: float, radius: int = 1) -> np.ndarray:
    """Mean colour around a texture coordinate."""
    x, y = round(u * len(texture) - 0.5), round(v * len(texture) - 0.5)
    return texture[y - radius : y + radius + 1, x - radius : x + radius + 1].mean(axis=(0, 1))


def at_vertex(
    texture: np.ndarray, avatar: FusedAvatar, point_m: np.ndarray, joint: str | None = None
) -> np.ndarray:
    """Colour of the drawn vertex (of a joint's skin) nearest to a point at rest."""
    drawn = avatar.topology.render_vertices
    distance = np.linalg.norm(avatar.rest_vertices_m[drawn] - point_m, axis=1)
    if joint is not None:
        weights = avatar.skin_weights * (avatar.skin_joints == avatar.joint_names.index(joint))
        distance[weights.sum(axis=1)[drawn] < 0.5] = np.inf
    u, v = avatar.topology.render_uvs[distance.argmin()]
    return at(texture, float(u), float(v))


def test_a_pupil_sits_in_the_middle_of_each_eyeball(
    texture: np.ndarray, avatar: FusedAvatar
) -> None:
    for side in (".L", ".R"):
        eye = avatar.joints_m[avatar.joint_names.index("eye" + side)]
        pupil = at_vertex(texture, avatar, eye + np.array([0, 0, 0.016]), "eye" + side)
        white = at_vertex(texture, avatar, eye + np.array([0.010, 0.0, 0.012]), "eye" + side)
        assert pupil.mean() < 90
        assert white.mean() > 150


def test_lips_are_redder_than_the_skin_around(texture: np.ndarray) -> None:
    lip, chin = at(texture, 0.9175, MIDLINE), at(texture, 0.935, MIDLINE)
    assert lip[0] - lip[1] > chin[0] - chin[1] + 15


def test_brows_are_darker_than_the_forehead_on_both_sides(texture: np.ndarray) -> None:
    for side in (-1, 1):
        brow = at(texture, 0.8175, MIDLINE + side * 0.032)
        assert brow.mean() < at(texture, 0.800, MIDLINE + side * 0.032).mean() - 50


def test_the_face_is_symmetric_but_for_its_noise(texture: np.ndarray) -> None:
    _, columns = HEAD.window(SIZE)
    middle = MIDLINE * SIZE - 0.5
    reach = 90
    above = texture[round(middle) - reach : round(middle), columns].astype(float)
    below = texture[round(middle) + 1 : round(middle) + reach + 1, columns].astype(float)[::-1]
    assert np.abs(above - below).mean() < 12.0


def test_clothes_cover_the_trunk_and_leave_face_and_hands(
    texture: np.ndarray, avatar: FusedAvatar
) -> None:
    look = Look()
    joint = dict(zip(avatar.joint_names, avatar.joints_m, strict=True))
    chest = at_vertex(texture, avatar, joint["spine02"] + np.array([0, 0, 0.15]))
    knee = at_vertex(texture, avatar, joint["lowerleg01.L"] + np.array([0, 0, 0.06]))
    hand = at_vertex(texture, avatar, joint["finger3-1.R"])
    throat = at_vertex(texture, avatar, joint["neck02"] + np.array([0, 0, 0.07]))
    assert chest == pytest.approx(look.shirt, abs=25)
    assert knee == pytest.approx(look.trousers, abs=25)
    assert hand == pytest.approx(look.skin, abs=25)
    assert throat == pytest.approx(look.skin, abs=25)


def test_no_texel_that_is_drawn_was_forgotten(texture: np.ndarray, avatar: FusedAvatar) -> None:
    _, covered = spread(avatar.topology, avatar.rest_vertices_m, SIZE)
    assert texture[covered > 0].max(axis=1).min() > 0


def test_the_same_look_gives_the_same_bytes(texture: np.ndarray, avatar: FusedAvatar) -> None:
    assert np.array_equal(texture, paint_texture(avatar, Look(), SIZE))
    other = paint_texture(avatar, replace(Look(), seed=1), SIZE)
    assert not np.array_equal(texture, other)


def test_another_identity_keeps_the_face_on_the_face(
    texture: np.ndarray, model_cache: ModelStore
) -> None:
    model = BodyModel.load(model_cache.path(FILE_NAME))
    child = Identity(phenotypes=Phenotypes(age=0.33, height=0.3))
    painted = paint_texture(fuse(model, build_topology(model), child), Look(), SIZE)
    _, columns = HEAD.window(SIZE)
    face = slice(round(0.42 * SIZE), round(0.62 * SIZE)), slice(round(0.8 * SIZE), columns.stop)
    assert np.array_equal(painted[face], texture[face])


def test_every_seed_is_somebody() -> None:
    looks = {Look.varied(seed) for seed in range(12)}
    assert len(looks) == 12
    assert Look.varied(3) == Look.varied(3)


def test_the_cache_is_read_and_mended(
    avatar: FusedAvatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = cached_texture(avatar, Look(), tmp_path, 256)
    (file,) = tmp_path.iterdir()
    painted: list[int] = []

    def count(*args: object) -> np.ndarray:
        painted.append(1)
        return paint_texture(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(paint_cache, "paint_texture", count)
    assert np.array_equal(cached_texture(avatar, Look(), tmp_path, 256), first)
    assert not painted
    file.write_bytes(file.read_bytes()[:1000])
    assert np.array_equal(cached_texture(avatar, Look(), tmp_path, 256), first)
    assert len(painted) == 1
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_cache_that_cannot_be_written_leaves_nothing_behind(
    avatar: FusedAvatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert cached_texture(avatar, Look(), tmp_path, 64).shape == (64, 64, 3)
    assert not list(tmp_path.iterdir())


def test_the_cache_does_not_grow_for_ever(
    avatar: FusedAvatar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paint_cache, "MOST_KEPT", 2)
    for seed in range(4):
        cached_texture(avatar, Look(seed=seed), tmp_path, 64)
    assert len(list(tmp_path.iterdir())) == 2


def test_values_are_spread_linearly_over_a_triangle() -> None:
    topology = Topology(
        faces=np.array([[0, 1, 2]], np.int32),
        regions=np.zeros(3, np.uint8),
        seam_edges=np.zeros((0, 2), np.int32),
        render_vertices=np.arange(3, dtype=np.int32),
        render_uvs=np.array([(0, 0), (1, 0), (0, 1)], np.float32),
        render_faces=np.array([[0, 1, 2]], np.int32),
    )
    values, covered = spread(topology, np.array([[0.0], [32.0], [64.0]], np.float32), 32)
    y, x = np.nonzero(covered)
    assert len(y) == pytest.approx(32 * 32 / 2, rel=0.05)
    assert values[y, x, 0] == pytest.approx((x + 0.5) + 2 * (y + 0.5), abs=1e-3)


def test_brushes() -> None:
    canvas = np.zeros((4, 4, 3), np.float32)
    blend(canvas, (100.0, 50.0, 0.0), np.full((4, 4), 0.5, np.float32))
    assert canvas[0, 0] == pytest.approx((50, 25, 0))
    ramp = smoothstep(2.0, 1.0, np.array([0.0, 1.0, 1.5, 2.0, 3.0], np.float32))
    assert ramp == pytest.approx([1, 1, 0.5, 0, 0])
    rough = noise(np.random.default_rng(0), (64, 64), (4, 4))
    assert rough.std() == pytest.approx(1.0, abs=1e-3)


def test_the_eyes_enlarged_islands_have_their_corner_to_themselves(avatar: FusedAvatar) -> None:
    topology = avatar.topology
    eyes = [avatar.joint_names.index(f"eye{side}") for side in (".R", ".L")]
    for joint, island in zip(eyes, EYE_FRONTS, strict=True):
        inside = island.holds(topology.render_uvs)
        weights = avatar.skin_weights * (avatar.skin_joints == joint)
        on_eye = weights.sum(axis=1)[topology.render_vertices] > 0.5
        assert inside.sum() == 40
        assert on_eye[inside].all()
    assert np.array_equal(enlarge_eyes(topology.render_uvs), topology.render_uvs)  # done once
