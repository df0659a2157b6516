"""The parts that a gathered skin is made of, each against what is known exactly."""

from __future__ import annotations

import numpy as np
import pytest

from engine.avatar.paint import Look, paint_texture
from engine.avatar.paint.atlas import EYE_FRONTS, HANDS, HEAD, TONGUE
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.face.albedo import RelativeAlbedo, accumulate
from engine.face.complexion import encode
from engine.face.face_atlas import FaceAtlas
from engine.face.face_zones import Zone, face_zones
from engine.face.iris_colour import iris_colour
from engine.face.landmark_embedding import default_embedding
from engine.face.landmark_warp import LandmarkWarp, landmark_shifts
from engine.face.lighting import LUMINANCE, Lighting, fit_lighting, harmonics, skin_colour
from engine.face.occlusion import cover_with_hand, depth_around_face
from engine.face.recolour import Complexion, recolour
from engine.face.skin_tone import ColourMean, in_white_light, is_skin
from engine.face.texture_composite import multiband, sharpened, with_sober_shadows
from engine.face.texture_gather import Sample, gather
from engine.fusion.base_avatar import BaseAvatar
from engine.inference.store import ModelStore
from engine.rendering.projection import project
from engine.types import ARKIT_NAMES, AvatarState, Camera, FusedMesh

CAMERA = Camera.from_size(480, 360)
SKIN = np.array([0.40, 0.24, 0.16], np.float32)
FLAT = Lighting(
    np.array([1 / 0.282095, *[0] * 8], np.float32) * 0.25,
    np.array([[s / 0.25 / 0.282095, 0, 0, 0] for s in SKIN], np.float32),
    0.25,
    0.0,
)
"""Plain skin is SKIN whichever way it faces."""


@pytest.fixture(scope="module")
def avatar(model_cache: ModelStore) -> FusedAvatar:
    return BaseAvatar.load(model_cache).average


@pytest.fixture(scope="module")
def atlas(avatar: FusedAvatar) -> FaceAtlas:
    return FaceAtlas.of(avatar.topology)


@pytest.fixture(scope="module")
def warp(avatar: FusedAvatar, atlas: FaceAtlas) -> LandmarkWarp:
    return LandmarkWarp.of(atlas, avatar.topology, default_embedding())


@pytest.fixture(scope="module")
def mesh(avatar: FusedAvatar) -> FusedMesh:
    rotations = np.zeros((len(avatar.parents), 4), np.float32)
    rotations[:, 3] = 1.0
    away = -avatar.joints_m[avatar.joint_names.index("head")] - np.array([0, 0.06, 0.45])
    still = np.zeros(len(ARKIT_NAMES), np.float32)
    state = AvatarState(0, 0, 0, rotations, away.astype(np.float32), still, CAMERA)
    return Poser(avatar).pose(state)


def hemisphere(count: int, seed: int = 0) -> np.ndarray:
    normals = np.random.default_rng(seed).normal(size=(count, 3))
    normals[:, 2] = np.abs(normals[:, 2]) + 0.3
    return (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)


# --- light


def test_harmonics_are_orthonormal_over_the_sphere() -> None:
    directions = np.random.default_rng(0).normal(size=(400_000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    basis = harmonics(directions)
    gram = 4 * np.pi * basis.T @ basis / len(basis)
    assert np.abs(gram - np.eye(9)).max() < 0.02


def test_the_light_is_found_under_hair_and_shadows() -> None:
    rng = np.random.default_rng(1)
    normals = hemisphere(4000)
    key = np.array([0.5, 0.4, 0.77])
    shade = 0.35 + 0.7 * np.clip(normals @ key, 0, None)
    colours = (shade[:, None] * SKIN * (1 + 0.04 * rng.normal(size=(4000, 1)))).astype(np.float32)
    hairy = rng.random(4000) < 0.2
    colours[hairy] *= 0.25
    lighting = fit_lighting(normals, colours, np.ones(4000, np.float32))
    assert lighting is not None
    found = skin_colour(lighting, normals)
    error = np.abs(found / (shade[:, None] * SKIN) - 1)[~hairy]
    assert error.mean() < 0.05 and lighting.spread < 0.15


def test_a_tinted_lamp_from_the_side_is_light_and_not_skin() -> None:
    normals = hemisphere(4000)
    side = np.clip(normals[:, :1], -1, 1) * np.array([0.15, 0.0, -0.15])
    colours = (SKIN * 0.8 * (1 + side)).astype(np.float32)
    lighting = fit_lighting(normals, colours, np.ones(4000, np.float32))
    assert lighting is not None
    relative = colours / skin_colour(lighting, normals)
    assert relative.std(axis=0).max() < 0.5 * (colours / colours.mean(axis=0)).std(axis=0).max()


def test_no_light_is_found_where_there_is_none() -> None:
    normals, weights = hemisphere(4000), np.ones(4000, np.float32)
    assert fit_lighting(normals, np.zeros((4000, 3), np.float32), weights) is None
    assert fit_lighting(normals, np.tile(SKIN, (4000, 1)), weights * 0) is None


# --- gathering


def gathered(
    image: np.ndarray,
    mesh: FusedMesh,
    atlas: FaceAtlas,
    warp: LandmarkWarp,
    shifts: np.ndarray | None = None,
) -> Sample:
    sample = Sample.empty(atlas)
    corners = np.unique(atlas.corners[atlas.in_face > 0])
    depth = depth_around_face(mesh.vertices_m, mesh.topology.faces, corners, CAMERA)
    assert depth is not None
    shifts = np.zeros((478, 2), np.float32) if shifts is None else shifts
    gather(image, mesh, CAMERA, depth, atlas, warp, shifts, sample)
    return sample


def ramps() -> np.ndarray:
    """A picture whose linear red and green say where each pixel is."""
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.float32)
    image[..., 0] = np.arange(CAMERA.width) / CAMERA.width
    image[..., 1] = (np.arange(CAMERA.height) / CAMERA.height)[:, None]
    return np.rint(np.clip(encode(image), 10, 245)).astype(np.uint8)


def test_a_texel_takes_its_colour_from_where_it_is_seen(
    mesh: FusedMesh, atlas: FaceAtlas, warp: LandmarkWarp
) -> None:
    sample = gathered(ramps(), mesh, atlas, warp)
    places = project(atlas.interpolate(mesh.vertices_m), CAMERA)
    expected = places / (CAMERA.width, CAMERA.height)
    seen = (sample.weights > 0) & (expected.max(axis=1) < 0.9)
    assert seen.sum() > 0.4 * len(seen)
    assert np.abs(sample.colours[:, :2] - expected)[seen].max() < 0.012


def test_landmarks_pull_the_picture_along(
    mesh: FusedMesh, atlas: FaceAtlas, warp: LandmarkWarp
) -> None:
    still = gathered(ramps(), mesh, atlas, warp)
    shifts = np.tile(np.array([[6.0, -4.0]], np.float32), (478, 1))
    moved = gathered(ramps(), mesh, atlas, warp, shifts)
    near = (warp.shares.sum(axis=1) > 0.99) & (still.weights > 0) & (moved.weights > 0)
    step = (moved.colours - still.colours)[near, :2] * (CAMERA.width, CAMERA.height)
    assert near.sum() > 50_000
    assert np.abs(np.median(step, axis=0) - (6.0, -4.0)).max() < 0.3


def test_landmarks_of_the_mesh_itself_are_not_shifted(avatar: FusedAvatar, mesh: FusedMesh) -> None:
    embedding = default_embedding()
    seen = project(embedding.landmarks_m(mesh.vertices_m) + embedding.offset_m, CAMERA)
    points = np.hstack([seen, np.zeros((478, 1), np.float32)]).astype(np.float32)
    shifts = landmark_shifts(mesh.vertices_m, avatar.rest_vertices_m, points, CAMERA, embedding)
    assert np.abs(shifts).max() < 0.05


def test_the_far_side_and_what_the_nose_hides_are_not_seen(
    avatar: FusedAvatar, mesh: FusedMesh, atlas: FaceAtlas, warp: LandmarkWarp
) -> None:
    turn = np.radians(60)
    rotation = np.array(
        [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]], np.float32
    )
    centre = mesh.vertices_m[atlas.corners[:, 0]].mean(axis=0)
    turned = FusedMesh(
        0,
        0,
        (mesh.vertices_m - centre) @ rotation.T + centre,
        np.ascontiguousarray(mesh.normals @ rotation.T),
        mesh.topology,
    )
    image = np.full((CAMERA.height, CAMERA.width, 3), 150, np.uint8)
    sample = gathered(image, turned, atlas, warp)
    side = atlas.uvs[:, 1] - 0.51685  # the person's left is at smaller v
    plain = face_zones(atlas) & Zone.PLAIN > 0
    near, far = plain & (side > 0.03), plain & (side < -0.03)
    assert (sample.weights[near] > 0).mean() > 0.9
    assert (sample.weights[far] > 0).mean() < 0.15
    # The cheek beside the nose faces the camera, yet the nose stands before it.
    rays = -atlas.interpolate(turned.vertices_m)
    cosine = (sample.normals * rays).sum(axis=1) / np.linalg.norm(rays, axis=1)
    hidden = (cosine > 0.3) & (sample.weights == 0)
    assert hidden.sum() > 100


def test_nothing_is_seen_through_a_hand(mesh: FusedMesh, atlas: FaceAtlas) -> None:
    corners = np.unique(atlas.corners[atlas.in_face > 0])
    depth = depth_around_face(mesh.vertices_m, mesh.topology.faces, corners, CAMERA)
    assert depth is not None and np.isfinite(depth.depth_m).any()
    before = depth.depth_m.copy()
    cover_with_hand(depth, np.full((21, 3), np.nan, np.float32))
    cover_with_hand(depth, np.full((21, 3), 1e9, np.float32))
    assert np.array_equal(depth.depth_m, before)
    middle = project(mesh.vertices_m[corners], CAMERA).mean(axis=0)
    ring = np.linspace(0, 2 * np.pi, 21)
    points = np.stack([np.cos(ring) * 20 + middle[0], np.sin(ring) * 20 + middle[1], ring], 1)
    cover_with_hand(depth, points.astype(np.float32))
    column, row = np.rint((middle - depth.placing[:2]) * depth.placing[2]).astype(int)
    assert depth.depth_m[row, column] == 0.0
    assert depth.depth_m[0, 0] == before[0, 0]


# --- averaging


def take(albedo: RelativeAlbedo, atlas: FaceAtlas, colour: np.ndarray, **acting: float) -> None:
    sample = Sample.empty(atlas)
    sample.colours[:] = colour
    sample.normals[:, 2] = 1.0
    sample.weights[:] = 1.0
    values = {"weight": 1.0, "shut": 0.0, "agape": 0.0} | acting
    accumulate(albedo, sample, FLAT, face_zones(atlas), **values)


def test_plain_skin_is_one_and_a_mole_is_what_it_is(atlas: FaceAtlas) -> None:
    albedo = RelativeAlbedo.empty(atlas)
    for _ in range(4):
        take(albedo, atlas, 0.85 * SKIN)
    assert np.allclose(albedo.mean, 0.85, atol=1e-3)
    assert np.allclose(albedo.evidence, 4.0, atol=1e-3)


def test_a_passing_thing_leaves_no_trace(atlas: FaceAtlas) -> None:
    plain = face_zones(atlas) & Zone.PLAIN > 0
    for thing in ((0.1, 0.2, 0.6), (0.02, 0.02, 0.02), (0.9, 0.9, 0.9)):
        albedo = RelativeAlbedo.empty(atlas)
        for _ in range(3):
            take(albedo, atlas, SKIN)
        take(albedo, atlas, np.array(thing, np.float32))
        for _ in range(3):
            take(albedo, atlas, SKIN)
        bare = plain & (face_zones(atlas) & Zone.HAIRY == 0)
        assert np.abs(albedo.mean[bare] - 1.0).max() < 0.02, thing


def test_shut_eyes_and_an_open_mouth_do_not_paint_themselves(atlas: FaceAtlas) -> None:
    albedo, zones = RelativeAlbedo.empty(atlas), face_zones(atlas)
    take(albedo, atlas, SKIN, shut=1.0, agape=1.0)
    moving = zones & (Zone.LIDS | Zone.MOUTH) > 0
    assert albedo.evidence[moving].max() == 0.0
    assert albedo.evidence[~moving].min() > 0.5


# --- colours


def test_recolouring_is_like_painting_anew(avatar: FusedAvatar) -> None:
    old = Look()
    new = Look(skin=(140, 94, 70), hair=(96, 92, 90), iris=(86, 54, 32))
    size = 1024
    painted, wanted = (paint_texture(avatar, look, size) for look in (old, new))
    found = recolour(painted, Complexion.of(old), Complexion.of(new)).astype(int)
    error = np.abs(found - wanted)
    assert error.mean() < 1.5
    for island in (HEAD, *HANDS, *EYE_FRONTS):
        window = island.window(size)
        assert error[window].mean() < 4.0
        change = np.abs(painted[window].astype(int) - wanted[window]).mean()
        assert error[window].mean() < 0.1 * change or island in EYE_FRONTS
    tongue = TONGUE.window(size)
    assert np.array_equal(found[tongue], painted[tongue])


def test_the_same_complexion_changes_nothing(avatar: FusedAvatar) -> None:
    painted = paint_texture(avatar, Look(), 512)
    same = recolour(painted, Complexion.of(Look()), Complexion.of(Look()))
    assert np.array_equal(same, painted)


def test_skin_of_every_shade_is_kept_and_lamplight_is_not() -> None:
    for look in (Look.varied(seed) for seed in range(12)):
        skin = (np.array(look.skin, np.float32) / 255) ** 2
        assert is_skin(skin)
        assert np.abs(encode(in_white_light(skin)) - look.skin).max() < 14
    lamplit = SKIN * np.array([1.6, 1.0, 0.3], np.float32)
    assert is_skin(lamplit)
    white = in_white_light(lamplit)
    assert white[0] / white[2] < 0.5 * lamplit[0] / lamplit[2]
    for other in ((0.2, 0.3, 0.7), (0.3, 0.6, 0.3), (0.002, 0.002, 0.002), (0.99, 0.9, 0.85)):
        assert not is_skin(np.array(other, np.float32))


def test_a_colour_is_averaged_whatever_the_exposure() -> None:
    mean = ColourMean.unknown()
    assert mean.colour is None
    for exposure in (0.5, 2.0):
        mean.add(SKIN * exposure, 1.0)
    assert mean.colour is not None and np.allclose(mean.colour, SKIN, rtol=1e-4)


def test_irises_are_read_between_pupil_and_white() -> None:
    image = np.full((120, 200, 3), 225, np.uint8)
    points = np.zeros((478, 3), np.float32)
    y, x = np.mgrid[:120, :200]
    for centre, (cx, cy) in ((468, (60, 60)), (473, (140, 60))):
        distance = np.hypot(x - cx, y - cy)
        image[distance < 9] = (90, 120, 60)
        image[distance < 3.5] = 8
        ring = [(cx + 9, cy), (cx, cy - 9), (cx - 9, cy), (cx, cy + 9)]
        points[centre, :2], points[centre + 1 : centre + 5, :2] = (cx, cy), ring
    found = iris_colour(image, points)
    assert found is not None and np.abs(encode(found) - (90, 120, 60)).max() < 2
    assert iris_colour(image, points * 0.1) is None
    assert iris_colour(image, points + 500) is None


# --- joining


def test_a_spline_of_pictures_keeps_both_and_steps_nowhere() -> None:
    inner = np.full((256, 256, 3), 180, np.float32)
    outer = np.full((256, 256, 3), 120, np.float32)
    cover = np.zeros((256, 256), np.float32)
    cover[64:192, 64:192] = 1.0
    joined = multiband(inner, outer, cover)
    assert np.abs(multiband(outer, outer, cover) - outer).max() < 1e-3
    assert np.abs(multiband(inner, outer, np.ones_like(cover)) - inner).max() < 1e-2
    assert joined[128, 128, 0] > 150 and joined[4, 4, 0] < 130
    assert np.abs(np.diff(joined[:, 128, 0])).max() < 6.0


def test_shadows_keep_their_depth_and_lose_their_rouge() -> None:
    dark = np.array([[0.40, 0.12, 0.03]], np.float32)
    sober = with_sober_shadows(dark)
    assert np.ptp(np.log(sober)) < 0.7 * np.ptp(np.log(dark))
    assert 0.7 < (sober @ LUMINANCE / (dark @ LUMINANCE)).item() < 1.3
    lips = np.array([[0.95, 0.7, 0.7], [1.0, 1.0, 1.0]], np.float32)
    assert np.abs(with_sober_shadows(lips) - lips).max() < 0.08


def test_sharpening_deepens_a_brow_and_leaves_plain_skin(atlas: FaceAtlas) -> None:
    off = np.abs(atlas.uvs[:, 0] - 0.85)
    relative = 1.0 - 0.4 * np.exp(-((off / 0.002) ** 2)).astype(np.float32)[:, None].repeat(3, 1)
    crisp = sharpened(relative, atlas)
    assert crisp.min() < relative.min() - 0.03
    assert np.abs(crisp - relative)[off > 0.01].max() < 0.01
