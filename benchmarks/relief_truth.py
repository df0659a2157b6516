"""People whose wrinkles are known to the micrometre, photographed: the truth for face relief."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np

from benchmarks.fine_mesh import FineMesh
from engine import quaternions
from engine.avatar.anny import BodyModel
from engine.avatar.paint import Look, paint_texture
from engine.avatar.paint.atlas import HEAD, MIDLINE
from engine.avatar.paint.brush import noise, spot
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.face.relief.bare_skin import bare_skin
from engine.face.relief.grid import SIDE, FaceGrid
from engine.face.relief.sampling import at_vertices, seam_fade
from engine.fusion.copy_paste import FusionMap, fuse
from engine.fusion.normals import vertex_normals
from engine.rendering.background import room
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import F32, F64, U8, AvatarState, Camera, FusedMesh, Identity, Phenotypes

MM_PER_UV = 1126.0
"""On the average face, along both axes."""
SIZE = (640, 480)
FACE_HEIGHT_M = 0.17
FACE_CENTRE_M = np.array([0.0, 0.01, 0.09])
"""From the head joint, roughly."""
MOST_TURN = np.radians((14.0, 28.0, 8.0))
"""Pitch, yaw and roll of a head that looks around."""
NASOLABIAL = ((0.868, 0.0200), (0.878, 0.0245), (0.890, 0.0290), (0.904, 0.0325), (0.912, 0.0330))
BAG = ((0.8475, 0.0170), (0.8530, 0.0240), (0.8545, 0.0330), (0.8520, 0.0430))
CROWS_FEET = (
    ((0.8375, 0.0520), (0.8290, 0.0660)),
    ((0.8395, 0.0530), (0.8390, 0.0700)),
    ((0.8415, 0.0520), (0.8500, 0.0670)),
)
FOREHEAD = tuple(((u, 0.0), (u - 0.001, 0.025), (u + 0.002, 0.048)) for u in (0.789, 0.798, 0.807))
"""Paths of (u, distance off the midline) on either side of the face."""

Path = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Skin:
    """How a person's face differs from the smooth painted one."""

    lines: float = 1.0
    """Depth of forehead lines, folds, bags and crow's feet in units of a usual adult's."""
    bumps_mm: float = 0.0
    """Standard deviation of smooth random relief."""
    darkened: float = 0.0
    """Share of light that the paint of a line of usual depth swallows."""
    spots: float = 0.0
    """Strength of freckles, blotches and stubble, which are paint and no shape."""


@dataclass(frozen=True, slots=True)
class Person:
    """A smooth avatar and what is on top of it."""

    smooth: FusedAvatar
    relief_mm: F32
    """(H, W) over the FaceGrid: the truth that is photographed."""
    detail_mm: F32
    """(V,) what of it the dense face's vertices can carry: the truth that is compared with."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture, and the smooth avatar posed exactly as the true one was."""

    image: U8
    camera: Camera
    mesh: FusedMesh


def _distance_mm(u: F32, off: F32, path: Path) -> F32:
    """Distance to a path, from any number of points."""
    nearest = np.full(np.broadcast_shapes(u.shape, off.shape), np.inf, np.float32)
    for (u0, o0), (u1, o1) in pairwise(path):
        du, do = u1 - u0, o1 - o0
        t = np.clip(((u - u0) * du + (off - o0) * do) / (du * du + do * do), 0.0, 1.0)
        nearest = np.minimum(nearest, np.hypot(u - u0 - t * du, off - o0 - t * do))
    return np.asarray(nearest * MM_PER_UV, np.float32)


def _groove(u: F32, off: F32, path: Path, width_mm: float) -> F32:
    """1 along the path, a Gaussian across."""
    return np.asarray(np.exp(-0.5 * (_distance_mm(u, off, path) / width_mm) ** 2), np.float32)


def grooves_mm(u: F32, v: F32, depth: float) -> F32:
    """Heights of usual lines and folds in millimetres, negative inwards."""
    off = np.abs(v - np.float32(MIDLINE))
    height = np.zeros(np.broadcast_shapes(u.shape, v.shape), np.float32)
    for path in FOREHEAD:
        height -= 0.7 * _groove(u, off, path, 2.6)
    for short in CROWS_FEET:
        height -= 0.5 * _groove(u, off, short, 1.6)
    height -= 1.1 * _groove(u, off, NASOLABIAL, 2.4)
    height += 0.7 * _groove(u, off, BAG, 2.5)
    height -= 0.6 * _groove(u + np.float32(-0.0062), off, BAG, 2.0)
    return height * np.float32(depth)


def wrinkled(
    model: BodyModel, fusion_map: FusionMap, phenotypes: Phenotypes, skin: Skin, seed: int
) -> Person:
    """A person of this shape with this skin."""
    rng = np.random.default_rng([seed, 0x12E1])
    plain = fuse(model, fusion_map, Identity(phenotypes=phenotypes))
    grid = FaceGrid.of(plain.topology)
    u, v = grid.uv()
    relief = grooves_mm(u, v, skin.lines)
    if skin.bumps_mm:
        broad = noise(rng, grid.shape, (11.0, 11.0)) + 0.5 * noise(rng, grid.shape, (6.0, 6.0))
        relief += np.float32(skin.bumps_mm) * broad * bare_skin(u, v)
    relief *= seam_fade(grid, plain.topology)
    texture = paint_texture(plain, Look.varied(seed))
    smooth = replace(plain, texture=spoilt(texture, skin, rng))
    return Person(smooth, relief, at_vertices(grid, relief))


def displaced(avatar: FusedAvatar, detail_mm: F32) -> FusedAvatar:
    """The avatar with each vertex moved along its rest normal."""
    normals = rest_normals(avatar)
    moved = avatar.rest_vertices_m + np.float32(1e-3) * detail_mm[:, None] * normals
    return replace(avatar, rest_vertices_m=np.ascontiguousarray(moved, np.float32))


def rest_normals(avatar: FusedAvatar) -> F32:
    """(V, 3) unit."""
    normals = np.zeros_like(avatar.rest_vertices_m)
    vertex_normals(avatar.rest_vertices_m, avatar.topology.faces, normals)
    return normals


def spoilt(texture: U8, skin: Skin, rng: np.random.Generator) -> U8:
    """Paint that is not shape, over a texture (H, H, 3): a new one."""
    size = len(texture)
    window = HEAD.window(size)
    u, v = HEAD.grid(size)
    head = texture[window].astype(np.float32)
    factor = np.ones(head.shape[:2], np.float32)
    if skin.darkened:
        factor *= 1.0 + skin.darkened * np.minimum(grooves_mm(u, v, skin.lines), 0.0)
    if skin.spots:
        shape = head.shape[:2]
        freckles = np.clip(noise(rng, shape, (4.0, 4.0)) - 1.2, 0.0, 1.0)
        blotches = noise(rng, shape, (24.0, 24.0)) + 0.7 * noise(rng, shape, (10.0, 10.0))
        stubble = np.clip(noise(rng, shape, (1.6, 1.6)), -1.0, 1.0)
        off = np.abs(v - np.float32(MIDLINE))
        beard = np.maximum(
            spot(u, off, (0.935, 0.02), (0.016, 0.05)), spot(u, off, (0.891, 0.0), (0.007, 0.02))
        )
        factor *= 1.0 - skin.spots * (
            0.35 * freckles + 0.04 * blotches + (0.12 + 0.15 * stubble) * beard
        )
    texture = texture.copy()
    texture[window] = np.clip(np.rint(head * np.clip(factor, 0.2, 1.2)[..., None]), 0, 255)
    return texture


def _fine_heights_m(person: Person, fine: FineMesh) -> F32:
    """The relief at every vertex of the fine mesh, metres."""
    grid = FaceGrid.of(person.smooth.topology)
    places = fine.topology.render_uvs * SIDE - 0.5 - (grid.column, grid.row)
    rows = -(-len(places) // 1024)  # remap takes no more than 32767 columns
    padded = np.zeros((rows * 1024, 2), np.float32)
    padded[: len(places)] = places
    x, y = (padded[:, k].reshape(rows, 1024) for k in (0, 1))
    heights = cv2.remap(person.relief_mm, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return np.asarray(1e-3 * heights.ravel()[: len(places)], np.float32)


class Studio:
    """Photographs people from in front while they turn their heads."""

    def __init__(self, renderer: OffscreenRenderer, face_share: float = 0.5) -> None:
        """Set up.

        Args:
            renderer: of pictures of :data:`SIZE`.
            face_share: of the picture's height that a face takes.
        """
        self._renderer, self._share = renderer, face_share
        self._camera = Camera.from_size(*SIZE)

    def shots(
        self, person: Person, light: Light, count: int, seed: int, turn: float = 1.0
    ) -> Iterator[Shot]:
        """Photographs of a head that turns, relaxed, by up to ``turn`` times MOST_TURN."""
        rng = np.random.default_rng([seed, 0x5407])
        self._renderer.set_texture(person.smooth.texture)
        self._renderer.set_light(light)
        self._renderer.set_background(room(seed))
        fine, smooth = FineMesh.of(person.smooth.topology), Poser(person.smooth)
        heights = _fine_heights_m(person, fine)
        for index in range(count):
            phase = 2 * np.pi * index / count
            wave = np.array([np.sin(2 * phase + 1.0), np.sin(phase), np.sin(3 * phase)])
            angles = turn * MOST_TURN * wave + np.radians(rng.normal(0, 1.0, 3))
            state = self._state(smooth, angles, index, rng)
            mesh = smooth.pose(state)
            picture = self._renderer.render(fine.displaced(mesh, heights), self._camera)
            cv2.GaussianBlur(picture, (3, 3), 0.6, dst=picture)
            grain = rng.normal(0.0, 1.5, picture.shape)
            noisy = np.clip(np.rint(picture + grain), 0, 255).astype(np.uint8)
            kept = replace(mesh, vertices_m=mesh.vertices_m.copy(), normals=mesh.normals.copy())
            yield Shot(noisy, self._camera, kept)

    def _state(
        self, poser: Poser, angles: F64, index: int, rng: np.random.Generator
    ) -> AvatarState:
        avatar = poser.avatar
        rotations = np.tile(np.array([0, 0, 0, 1], np.float32), (len(avatar.parents), 1))
        for name in ("neck02", "head"):
            half = quaternions.from_rotation_vector(angles / 2)
            rotations[avatar.joint_names.index(name)] = half
        distance = self._camera.focal_px * FACE_HEIGHT_M / (SIZE[1] * self._share)
        state = AvatarState(
            index, 0, 0, rotations, np.zeros(3, np.float32), np.zeros(52, np.float32), self._camera
        )
        poser.pose(state)
        place = poser.workspace.transforms[avatar.joint_names.index("head")].astype(np.float64)
        joint = place[:, :3] @ avatar.joints_m[avatar.joint_names.index("head")] + place[:, 3]
        centre = np.array([*rng.uniform(-0.02, 0.02, 2), -distance])
        shift = centre - place[:, :3] @ FACE_CENTRE_M - joint
        return replace(state, translation_m=shift.astype(np.float32))
