"""The gathered skin: the person's own albedo, whatever the light, and nothing that is not skin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.appearance import neck_of
from engine.avatar.glb_reader import read_glb
from engine.avatar.paint import Look, paint_texture
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.errors import GraphicsError
from engine.face.appearance import AppearanceGatherer, rehearse
from engine.face.face_atlas import FaceAtlas
from engine.face.landmark_embedding import default_embedding
from engine.face.view import FaceView
from engine.fusion.base_avatar import BaseAvatar
from engine.identity_keeper import IdentityKeeper
from engine.inference.store import ModelStore
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.rendering.projection import project
from engine.skin_from_video import SkinFromVideo
from engine.slow_views import Picture, View, Views
from engine.types import (
    ARKIT_NAMES,
    AvatarState,
    Camera,
    FaceLandmarks,
    Frame,
    FusedMesh,
    HandLandmarks,
    Identity,
    Observation,
)
from exporters.glb import write_glb

LOOK = Look(skin=(140, 94, 70), hair=(28, 22, 20), iris=(86, 54, 32), seed=7)
CAMERA = Camera.from_size(480, 360)
TURNS = (-0.5, -0.25, 0.0, 0.25, 0.5)
STILL = np.zeros(len(ARKIT_NAMES), np.float32)
Scene = Callable[[float, Light], FaceView]


@pytest.fixture(scope="module")
def avatar(model_cache: ModelStore) -> FusedAvatar:
    return BaseAvatar.load(model_cache).average


@pytest.fixture(scope="module")
def gatherer(avatar: FusedAvatar) -> AppearanceGatherer:
    return AppearanceGatherer(avatar)


@pytest.fixture(scope="module")
def truth(avatar: FusedAvatar) -> np.ndarray:
    return paint_texture(avatar, LOOK)


@pytest.fixture(scope="module")
def scene(avatar: FusedAvatar, truth: np.ndarray) -> Scene:
    """Photographs somebody of another look, whose head is turned by so many radians."""
    return studio(avatar, truth)


def studio(avatar: FusedAvatar, texture: np.ndarray) -> Scene:
    try:
        renderer = OffscreenRenderer(CAMERA.width, CAMERA.height, samples=1)
    except GraphicsError as error:
        pytest.skip(str(error))
    renderer.set_texture(texture)
    poser = Poser(avatar)
    head = avatar.joint_names.index("head")

    def photograph(turn: float, light: Light) -> FaceView:
        state = state_of(avatar, head, turn)
        posed = poser.pose(state)
        mesh = replace(posed, vertices_m=posed.vertices_m.copy(), normals=posed.normals.copy())
        renderer.set_light(light)
        image = renderer.render(mesh, CAMERA)
        return FaceView(image, mesh, CAMERA, STILL, avatar.rest_vertices_m)

    return photograph


def state_of(avatar: FusedAvatar, head: int, turn: float) -> AvatarState:
    rotations = np.zeros((len(avatar.parents), 4), np.float32)
    rotations[:, 3] = 1.0
    rotations[head] = (0.0, np.sin(turn / 2), 0.0, np.cos(turn / 2))
    away = -avatar.joints_m[head] - np.array([0.0, 0.06, 0.45], np.float32)
    return AvatarState(0, 0, 0, rotations, away.astype(np.float32), STILL, CAMERA)


def face_texels(texture: np.ndarray, atlas: FaceAtlas) -> np.ndarray:
    rows, columns = atlas.window.window(len(texture))
    return texture[rows, columns].reshape(-1, 3)[atlas.texels[atlas.in_face > 0]].astype(float)


def gather(gatherer: AppearanceGatherer, scene: Scene, light: Light) -> np.ndarray:
    gatherer.reset()
    for turn in TURNS:
        gatherer.observe(scene(turn, light))
    appearance = gatherer.appearance()
    assert appearance is not None
    return appearance.texture


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 5])
def test_the_texture_is_the_person_s_own_in_any_light(
    gatherer: AppearanceGatherer,
    scene: Scene,
    avatar: FusedAvatar,
    truth: np.ndarray,
    seed: int,
) -> None:
    texture = gather(gatherer, scene, Light.varied(seed) if seed else Light())
    assert avatar.texture is not None
    own, default, gathered = (
        face_texels(picture, gatherer.atlas) for picture in (truth, avatar.texture, texture)
    )
    assert np.abs(gathered - own).mean() < 0.25 * np.abs(default - own).mean()
    skin = gathered.mean(axis=0) / own.mean(axis=0)
    assert np.abs(skin / skin.mean() - 1).max() < 0.06  # the right hue


@pytest.mark.slow
def test_light_from_the_side_leaves_no_bright_cheek(
    gatherer: AppearanceGatherer, scene: Scene
) -> None:
    light = Light(key_direction=(0.9, 0.2, 0.6), key=(0.9, 0.8, 0.7))
    view = scene(0.0, light)
    gatherer.reset()
    gatherer.observe(view)
    appearance = gatherer.appearance()
    assert appearance is not None
    atlas = gatherer.atlas
    uvs = atlas.uvs[atlas.in_face > 0]
    cheeks = [
        np.hypot(uvs[:, 0] - 0.872, uvs[:, 1] - 0.51685 - side) < 0.015 for side in (-0.04, 0.04)
    ]
    left, right = (face_texels(appearance.texture, atlas)[cheek].mean() for cheek in cheeks)
    points = project(atlas.interpolate(view.mesh.vertices_m)[atlas.in_face > 0], CAMERA)
    pixels = np.rint(points).astype(int)
    seen = view.image[pixels[:, 1], pixels[:, 0]].astype(float)
    lit_left, lit_right = (seen[cheek].mean() for cheek in cheeks)
    assert abs(np.log(lit_left / lit_right)) > 0.25
    assert abs(np.log(left / right)) < 0.25 * abs(np.log(lit_left / lit_right))


@pytest.mark.slow
def test_no_seam_where_head_and_neck_meet(
    gatherer: AppearanceGatherer, scene: Scene, avatar: FusedAvatar, truth: np.ndarray
) -> None:
    texture = gather(gatherer, scene, Light.varied(5))
    painted, neck = neck_of(truth, avatar), neck_of(texture, avatar)
    assert neck.median <= neck.inside_p95
    assert neck.p95 <= 1.25 * painted.p95  # islands never meet texel by texel


@pytest.mark.slow
def test_the_edge_of_what_was_gathered_is_not_seen(
    gatherer: AppearanceGatherer, scene: Scene
) -> None:
    texture = gather(gatherer, scene, Light.varied(1)).astype(np.float32)
    rows, columns = gatherer.atlas.window.window(len(texture))
    window = texture[rows, columns].mean(axis=2)
    # From cheek to ear on either side, between eyes and mouth: bare skin all the way.
    steps = np.abs(window[1:, 262:312] - window[:-1, 262:312]).mean(axis=1)
    assert steps.max() < 3 * np.median(steps) + 1.0


@pytest.mark.slow
def test_what_is_not_lit_skin_changes_nothing(gatherer: AppearanceGatherer, scene: Scene) -> None:
    before = gather(gatherer, scene, Light())
    confidence = gatherer.confidence
    good = scene(0.0, Light())
    blue_mask = good.image.copy()
    chin = project(good.mesh.vertices_m[gatherer.atlas.corners[:, 0]], CAMERA)
    middle = int(np.median(chin[:, 1]))
    blue_mask[middle - 15 :] = (70, 130, 200)
    behind = replace(good.mesh, vertices_m=-good.mesh.vertices_m)
    broken = replace(good.mesh, vertices_m=np.full_like(good.mesh.vertices_m, np.nan))
    bad = (
        replace(good, image=np.zeros_like(good.image)),
        replace(good, image=np.full_like(good.image, 255)),
        replace(good, image=good.image // 24),
        replace(good, image=blue_mask),
        replace(good, image=good.image[..., ::-1].copy()),
        replace(good, mesh=behind),
        replace(good, mesh=broken),
        replace(good, landmarks_px=np.full((478, 3), np.nan, np.float32)),
        replace(good, landmarks_px=np.zeros((478, 3), np.float32)),
        replace(good, weight=0.0),
        replace(good, weight=np.nan),
        scene(1.4, Light()),
    )
    assert [gatherer.observe(view) for view in bad] == [0.0] * len(bad)
    assert gatherer.confidence == confidence
    after = gatherer.appearance()
    assert after is not None and np.array_equal(after.texture, before)


@pytest.mark.slow
def test_a_beard_is_part_of_the_face_and_a_strand_over_the_cheek_is_not(
    gatherer: AppearanceGatherer, avatar: FusedAvatar, truth: np.ndarray
) -> None:
    atlas, hairy = gatherer.atlas, truth.copy()
    u, side = atlas.uvs[:, 0], atlas.uvs[:, 1] - 0.51685
    chin = np.hypot((u - 0.942) / 0.012, side / 0.03) < 1.0
    strand = (np.abs(side - 0.045) < 0.006) & (u > 0.855) & (u < 0.882)
    rows, columns = atlas.window.window(len(truth))
    window = hairy[rows, columns].reshape(-1, 3)
    window[atlas.texels[chin | strand]] = (40, 30, 26)
    hairy[rows, columns] = window.reshape(atlas.size, atlas.size, 3)
    texture = gather(gatherer, studio(avatar, hairy), Light())
    found = texture[rows, columns].reshape(-1, 3)[atlas.texels].astype(float)
    plain = truth[rows, columns].reshape(-1, 3)[atlas.texels].astype(float)
    front = chin & (u < 0.938)  # below it the camera hardly sees the chin
    assert np.median(found[front]) < 0.65 * np.median(plain[front])
    assert np.median(found[strand]) > 0.85 * np.median(plain[strand])


@pytest.mark.slow
def test_a_hand_before_the_face_is_not_painted_on_it(
    gatherer: AppearanceGatherer, scene: Scene
) -> None:
    good = scene(0.0, Light())
    atlas = gatherer.atlas
    points = project(atlas.interpolate(good.mesh.vertices_m), CAMERA)
    cheek = np.hypot(atlas.uvs[:, 0] - 0.872, atlas.uvs[:, 1] - 0.51685 - 0.045) < 0.012
    centre = points[cheek].mean(axis=0)
    angles = np.linspace(0, 2 * np.pi, 21, endpoint=False)
    ring = centre + 22 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    hand_px = np.hstack([ring, np.zeros((21, 1))]).astype(np.float32)
    gatherer.reset()
    assert gatherer.observe(replace(good, hands=(HandLandmarks(hand_px, hand_px, 1.0),))) > 0.0
    seen = atlas.read(gatherer.visible())
    mirrored = np.hypot(atlas.uvs[:, 0] - 0.872, atlas.uvs[:, 1] - 0.51685 + 0.045) < 0.012
    assert seen[cheek].max() == 0.0
    assert np.median(seen[mirrored]) == 1.0


def views_of(view: FaceView, avatar: FusedAvatar, version: int = 0) -> Views:
    head = avatar.joint_names.index("head")
    state = replace(state_of(avatar, head, 0.0), identity_version=version, face_confidence=1.0)
    embedding = default_embedding()
    points = project(embedding.landmarks_m(view.mesh.vertices_m) + embedding.offset_m, CAMERA)
    landmarks = np.hstack([points, np.zeros((len(points), 1))]).astype(np.float32)
    seen = Observation(0, 0, *view.image.shape[1::-1], face=FaceLandmarks(landmarks, 1.0))
    known = View(seen, state)
    return Views((known,), Picture(Frame(view.image, 0, 0), known))


@pytest.mark.slow
def test_the_slow_loop_is_told_a_few_times_and_no_turn_makes_a_whole_texture(
    avatar: FusedAvatar, scene: Scene
) -> None:
    skin, keeper = SkinFromVideo(avatar, lambda: avatar), IdentityKeeper(Identity())
    views, told = views_of(scene(0.0, Light()), avatar), []
    skin.look(views_of(scene(0.0, Light()), avatar, version=9))  # of an avatar that has gone
    assert skin.tell(keeper) is None
    for turn in range(80):
        skin.look(views)
        identity = skin.tell(keeper)
        if identity is not None:
            assert identity.texture is not None
            told.append(turn)
    assert 1 <= len(told) <= 4
    assert told[0] >= 5
    skin.reset()
    for _ in range(4):
        skin.look(views)
        assert skin.tell(keeper) is None


def test_a_changed_texture_survives_the_base_avatar_s_file(avatar: FusedAvatar) -> None:
    assert avatar.texture is not None
    changed = np.array(avatar.texture)[::2, ::2] // 2
    back = read_glb(write_glb(replace(avatar, texture=changed, identity_version=3)))
    assert back.texture is not None and back.identity_version == 3
    assert np.abs(back.texture.astype(int) - changed).mean() < 2.0


def test_rehearsing_goes_through_every_step(
    avatar: FusedAvatar, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    appearance = AppearanceGatherer.appearance
    monkeypatch.setattr(
        AppearanceGatherer, "appearance", lambda self: found.append(appearance(self))
    )
    rehearse(avatar)
    assert len(found) == 1 and found[0] is not None


def test_a_view_of_a_frame_has_its_face_and_the_hands_in_sight(avatar: FusedAvatar) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    frame = Frame(image, 0, 0)
    state = replace(state_of(avatar, 0, 0.0), face_confidence=0.7)
    vertices = avatar.rest_vertices_m
    mesh = FusedMesh(0, 0, vertices, vertices, avatar.topology)
    hand = HandLandmarks(np.zeros((21, 3), np.float32), np.zeros((21, 3), np.float32), 1.0)
    face = FaceLandmarks(np.zeros((478, 3), np.float32), 1.0)
    seen = Observation(0, 0, 8, 8, face=face, right_hand=hand)
    view = FaceView.of(frame, seen, state, mesh, vertices)
    assert view.landmarks_px is face.points_px and view.hands == (hand,) and view.weight == 0.7
    faceless = FaceView.of(frame, replace(seen, face=None), state, mesh, vertices)
    assert faceless.landmarks_px is None and faceless.weight == 0.0
