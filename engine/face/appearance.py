"""A person's skin, gathered from the frames in which their face is seen well.

Everything here runs in the slow loop beside the frames: a view takes some ten milliseconds, in
calls of a few that leave the interpreter to others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from engine.avatar.paint.look import Look
from engine.avatar.topology import FusedAvatar
from engine.face.albedo import RelativeAlbedo, accumulate
from engine.face.complexion import ComplexionEstimate, encode
from engine.face.face_atlas import FaceAtlas
from engine.face.face_zones import Zone, face_zones
from engine.face.landmark_embedding import LANDMARKS, LandmarkEmbedding, default_embedding
from engine.face.landmark_warp import LandmarkWarp, landmark_shifts
from engine.face.lighting import Lighting, fit_lighting, skin_colour
from engine.face.occlusion import cover_with_hand, depth_around_face
from engine.face.recolour import Complexion, recolour
from engine.face.skin_tone import is_skin, lit_colour
from engine.face.texture_composite import (
    ENOUGH,
    face_cover,
    flattened,
    lay_in,
    sharpened,
    with_sober_shadows,
    without_brows,
)
from engine.face.texture_gather import Sample, gather
from engine.face.view import LEAST_FACE_PX, FaceView, facing, sharpness
from engine.types import ARKIT_NAMES, F32, U8, Camera, FusedMesh

EVERY = 24
"""Of the texels, one in so many is enough to find the light by."""
LEAST_PLAIN_SHARE = 0.55
"""Of the bare skin in view that must look like skin; less is a mask, a hand or a stranger light."""
SKIN_RATIO = 0.45
"""Largest deviation, as a logarithm, of a colour that looks like skin."""
WORST_FIT = 0.30
"""Spread of the light's fit beyond which the face is not lit by anything simple."""
LARGEST_SHIFT = 0.12
"""Root mean square of the landmarks' shifts, as a share of the face: beyond, the fit is lost."""
FRONTAL_SHARE = 0.45
"""Of the face patch, what somebody shows who never turns the head."""
GOOD_VIEWS = 3.0
"""Evidence at which half of what can be known is."""


@dataclass(frozen=True, slots=True)
class Appearance:
    """What is known of a person's skin."""

    texture: U8
    """(H, W, 3) sRGB albedo in the topology's UV space."""
    seen_share: float
    """Of the face: how much was seen and is not the painted default."""
    confidence: float
    """In [0, 1]."""


class AppearanceGatherer:
    """Collects one person's face over many frames. Not thread-safe.

    >>> gatherer = AppearanceGatherer(avatar)
    >>> gatherer.observe(view)
    >>> texture = gatherer.appearance().texture
    """

    def __init__(self, avatar: FusedAvatar, embedding: LandmarkEmbedding | None = None) -> None:
        """Ready for the first view.

        Args:
            avatar: whose topology, and the painted default texture, everybody shares.
            embedding: the landmark network's calibration; the shipped one if left out.
        """
        self._embedding = embedding or default_embedding()
        self._default = avatar.texture
        self._faces = avatar.topology.faces
        self.atlas = FaceAtlas.of(avatar.topology)
        self._zones = face_zones(self.atlas)
        self._warp = LandmarkWarp.of(self.atlas, avatar.topology, self._embedding)
        self._sample = Sample.empty(self.atlas)
        self._albedo = RelativeAlbedo.empty(self.atlas)
        self._inside = self.atlas.in_face > 0
        self._face_vertices = np.unique(self.atlas.corners[self._inside])
        few = np.arange(0, len(self.atlas.texels), EVERY)
        self._few = few[self._zones[few] & Zone.PLAIN > 0]
        self.reset()

    def reset(self) -> None:
        """Another person: forget everything."""
        self._albedo.clear()
        self._complexion = ComplexionEstimate()
        self._sharpest = self._views = 0.0

    @property
    def confidence(self) -> float:
        """In [0, 1]: grows with good views and with how much of the face they show."""
        shown = min(1.0, self.seen_share / FRONTAL_SHARE)
        return shown * self._views / (self._views + GOOD_VIEWS)

    @property
    def seen_share(self) -> float:
        """Of the face patch in [0, 1]: how much has been seen well."""
        return float(np.minimum(self._albedo.evidence[self._inside] / ENOUGH, 1.0).mean())

    def visible(self) -> F32:
        """(size, size) in {0, 1} over the atlas' window: which texels the last view shows.

        Zero where it is turned away, hidden by the face itself, by a hand or by hair, dark or
        glaring. How well the others are seen is left to who asks: skin wants to be faced, relief
        is read best off slanting light.
        """
        return self.atlas.picture((self._sample.weights > 0.0).astype(np.float32))

    def observe(self, view: FaceView) -> float:
        """Take a frame in.

        Returns:
            What it counted, in [0, 1]; 0 for a frame that shows no face well, which changes
            nothing.
        """
        depth = depth_around_face(
            view.mesh.vertices_m, self._faces, self._face_vertices, view.camera
        )
        shifts = self._shifts(view)
        if depth is None or shifts is None:
            return 0.0
        for hand in view.hands:
            cover_with_hand(depth, hand.points_px)
        sharp = sharpness(view.image, depth)
        gather(
            view.image, view.mesh, view.camera, depth, self.atlas, self._warp, shifts, self._sample
        )
        light = self._light()
        if light is None:
            return 0.0
        self._sharpest = max(0.98 * self._sharpest, sharp, 1e-6)
        weight = float(np.clip(view.weight, 0.0, 1.0)) * view.calm * (sharp / self._sharpest) ** 2
        weight *= facing(view.mesh, self._face_vertices)
        if not weight > 0.0:
            return 0.0
        lighting, tone = light
        self._complexion.add(view, tone, weight)
        accumulate(self._albedo, self._sample, lighting, self._zones, weight, view.shut, view.agape)
        self._views += weight
        return weight

    def appearance(self) -> Appearance | None:
        """The texture of what is known; None before any good view, or without a default."""
        return [None, *self.compose()][-1]

    def compose(self) -> Iterator[Appearance | None]:
        """:meth:`appearance` in steps of some tens of milliseconds, the last of which has it."""
        skin = self._complexion.skin
        if skin is None or self._default is None:
            return
        own = self._complexion.colours(skin, self._albedo, self._zones)
        texture = recolour(self._default, Complexion.of(Look()), own)
        yield None
        relative = flattened(self._albedo, self.atlas, self._zones)
        cover = face_cover(self._albedo, relative, self.atlas, self._zones)
        yield None
        without_brows(texture, own.skin, cover, self.atlas, self._zones)
        relative = sharpened(with_sober_shadows(relative), self.atlas)
        lay_in(texture, self.atlas.picture(encode(relative * skin)), cover, self.atlas)
        yield Appearance(texture, self.seen_share, self.confidence)

    def _shifts(self, view: FaceView) -> F32 | None:
        """(478, 2) px; None for landmarks that are not those of this mesh, or of a tiny face."""
        if view.landmarks_px is None:
            return np.zeros((LANDMARKS, 2), np.float32)
        width = float(np.ptp(view.landmarks_px[:, :2], axis=0).max())
        shifts = landmark_shifts(
            view.mesh.vertices_m,
            view.rest_vertices_m,
            view.landmarks_px,
            view.camera,
            self._embedding,
        )
        error = float(np.sqrt((shifts**2).sum(axis=1).mean()))
        return shifts if width >= LEAST_FACE_PX and error < LARGEST_SHIFT * width else None

    def _light(self) -> tuple[Lighting, F32] | None:
        """The frame's light and complexion, if what is in view is mostly a person's lit skin."""
        sample, few = self._sample, self._few
        colours, weights = sample.colours[few], sample.weights[few]
        lighting = fit_lighting(sample.normals[few], colours, weights)
        if lighting is None or not lighting.spread < WORST_FIT:
            return None
        expected = skin_colour(lighting, sample.normals[few])
        tone = lit_colour(expected, weights)
        if not is_skin(tone):
            return None
        ratio = np.abs(np.log(np.maximum(colours, 1e-4) / np.maximum(expected, 1e-4))).max(axis=1)
        like_skin = float(weights @ (ratio < SKIN_RATIO)) / float(weights.sum())
        return (lighting, tone) if like_skin > LEAST_PLAIN_SHARE else None


def rehearse(avatar: FusedAvatar) -> None:
    """Go through every step once, on a picture of nothing but skin.

    Kernels are compiled at their first call, for seconds and with the interpreter held: set-up
    calls this, so that no running avatar waits for it.
    """
    gatherer = AppearanceGatherer(avatar)
    camera = Camera.from_size(320, 240)
    vertices = avatar.rest_vertices_m.copy()
    vertices -= vertices[gatherer._face_vertices].mean(axis=0) + np.array([0, 0, 0.45], np.float32)
    normals = np.zeros_like(vertices)
    normals[:, 2] = 1.0
    image = np.full((camera.height, camera.width, 3), Look().skin, np.uint8)
    image[::2, ::2] -= 2
    mesh = FusedMesh(0, 0, vertices, normals, avatar.topology)
    still = np.zeros(len(ARKIT_NAMES), np.float32)
    gatherer.observe(FaceView(image, mesh, camera, still, avatar.rest_vertices_m))
    gatherer.appearance()
