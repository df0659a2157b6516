"""A person's skin, gathered from the frames in which their face is seen well.

Everything here runs in the slow loop beside the frames: a view takes some ten milliseconds, in
calls of one or two that leave the interpreter to others.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engine.avatar.paint.look import Look
from engine.avatar.topology import FusedAvatar
from engine.face.albedo import RelativeAlbedo, accumulate
from engine.face.face_atlas import FaceAtlas
from engine.face.face_zones import Zone, face_zones
from engine.face.iris_colour import iris_colour
from engine.face.landmark_embedding import LANDMARKS, LandmarkEmbedding, default_embedding
from engine.face.landmark_warp import LandmarkWarp, landmark_shifts
from engine.face.lighting import LUMINANCE, Lighting, fit_lighting, skin_colour
from engine.face.occlusion import DepthMap, cover_with_hand, depth_around_face
from engine.face.recolour import Complexion, recolour
from engine.face.skin_tone import ColourMean, in_white_light, is_skin, lit_colour
from engine.face.texture_composite import ENOUGH, face_cover, flattened, lay_in, without_brows
from engine.face.texture_gather import Sample, gather
from engine.types import ARKIT_NAMES, F32, U8, Camera, FusedMesh, HandLandmarks

EVERY = 12
"""Of the texels, one in so many is enough to find the light by."""
LEAST_FACE_PX = 48.0
"""A face smaller than this shows no features worth painting on."""
LEAST_PLAIN_SHARE = 0.55
"""Of the bare skin in view that must look like skin; less is a mask, a hand or a stranger light."""
SKIN_RATIO = 0.45
"""Largest deviation, as a logarithm, of a colour that looks like skin."""
WORST_FIT = 0.30
"""Spread of the light's fit beyond which the face is not lit by anything simple."""
LARGEST_SHIFT = 0.12
"""Root mean square of the landmarks' shifts, as a share of the face: beyond, the fit is lost."""
CALM = 0.6
"""Sum of squared actions at which a face's look weighs a third."""
GOOD_VIEWS = 5.0
"""Evidence at which a first texture is worth sending,"""
BETTER = 2.5
"""and how many times as much the next one needs."""
MOST_PUBLISHED = 4
"""Each costs every watcher a megabyte."""
HAIR_TEXELS = 300
DARKER_HAIR = 0.5
"""Relative luminance below which what is seen above the hairline is hair and not forehead."""
DARKEST_HAIR = 14.0
EYES_OPEN = 0.25
LIDS_SHADE = 1.2
"""Lids and lashes keep light from the eye that the skin beside it gets."""
IRIS_PAINTED = 1.3
"""How much brighter than the colour they are given painters make the iris, on average."""

_BLINKS = [ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")]
_JAW = ARKIT_NAMES.index("jawOpen")
_SHAPES = np.array([not name.startswith("eyeLook") for name in ARKIT_NAMES])


@dataclass(frozen=True, slots=True)
class Appearance:
    """What is known of a person's skin."""

    texture: U8
    """(H, W, 3) sRGB albedo in the topology's UV space."""
    seen_share: float
    """Of the face: how much was seen and is not the painted default."""
    confidence: float
    """In [0, 1]."""


@dataclass(frozen=True, slots=True)
class View:
    """One frame as the gatherer wants it."""

    image: U8
    """(H, W, 3) RGB."""
    mesh: FusedMesh
    """The avatar posed for this very frame."""
    camera: Camera
    expression: F32
    """(52,)."""
    rest_vertices_m: F32
    """(V, 3) the avatar at rest."""
    landmarks_px: F32 | None = None
    """(478, 3) seen in this frame: aligns features. Without them the mesh is trusted."""
    hands: tuple[HandLandmarks, ...] = ()
    """Those in sight: what they cover is not skin of the face."""
    weight: float = 1.0
    """In [0, 1]: confidence in the face."""


class AppearanceGatherer:
    """Collects one person's face over many frames. Not thread-safe.

    >>> gatherer = AppearanceGatherer(avatar)
    >>> gatherer.observe(view)
    >>> if gatherer.has_news:
    ...     texture = gatherer.publish().texture
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
        self._outline = np.unique(self.atlas.corners[self.atlas.in_face > 0])
        self._few = np.arange(0, len(self.atlas.texels), EVERY)
        self._few = self._few[self._zones[self._few] & Zone.PLAIN > 0]
        self.reset()

    def reset(self) -> None:
        """Another person: forget everything."""
        self._albedo.clear()
        self._tone, self._iris = ColourMean.unknown(), ColourMean.unknown()
        self._sharpest = 0.0
        self._views = 0.0
        self._published, self._published_at = 0, 0.0

    @property
    def confidence(self) -> float:
        """In [0, 1]: grows with good views and with how much of the face they show."""
        return float(self.seen_share * self._views / (self._views + GOOD_VIEWS))

    @property
    def seen_share(self) -> float:
        """Of the face patch in [0, 1]: how much has been seen well."""
        inside = self.atlas.in_face > 0
        return float(np.minimum(self._albedo.evidence[inside] / ENOUGH, 1.0).mean())

    @property
    def has_news(self) -> bool:
        """Whether a texture would now be worth what it costs to send."""
        if self._published == 0:
            return self._views >= GOOD_VIEWS
        return self._published < MOST_PUBLISHED and self._views >= BETTER * self._published_at

    def observe(self, view: View) -> float:
        """Take a frame in.

        Returns:
            What it counted, in [0, 1]; 0 for a frame that shows no face well.
        """
        depth = depth_around_face(view.mesh.vertices_m, self._faces, self._outline, view.camera)
        if depth is None:
            return 0.0
        shifts = self._shifts(view)
        if shifts is None:
            return 0.0
        for hand in view.hands:
            cover_with_hand(depth, hand.points_px)
        gather(
            view.image, view.mesh, view.camera, depth, self.atlas, self._warp, shifts, self._sample
        )
        light = self._light()
        if light is None:
            return 0.0
        lighting, tone = light
        weight = self._weight(view, depth)
        if weight <= 0.0:
            return 0.0
        self._tone.add(tone, weight)
        self._look_into_eyes(view, tone, weight)
        shut = float(np.clip(view.expression[_BLINKS].max() / 0.5, 0.0, 1.0))
        agape = float(np.clip(view.expression[_JAW] / 0.25, 0.0, 1.0))
        accumulate(self._albedo, self._sample, lighting, self._zones, weight, shut, agape)
        self._views += weight
        return weight

    def appearance(self) -> Appearance | None:
        """The texture of what is known; None before any good view, or without a default."""
        seen = self._tone.colour
        if seen is None or self._default is None:
            return None
        skin = in_white_light(seen)
        texture = recolour(self._default, Complexion.of(Look()), self._complexion(skin))
        relative = flattened(self._albedo, self.atlas, self._zones)
        cover = face_cover(self._albedo, self.atlas, self._zones)
        without_brows(texture, _encode(skin), cover, self.atlas, self._zones)
        face = self.atlas.picture(_encode(relative * skin)).astype(np.uint8)
        lay_in(texture, face, cover, self.atlas)
        return Appearance(texture, self.seen_share, self.confidence)

    def publish(self) -> Appearance | None:
        """:meth:`appearance`, remembered: ``has_news`` then waits for a clearly better one."""
        appearance = self.appearance()
        if appearance is not None:
            self._published += 1
            self._published_at = max(self._views, 1e-9)
        return appearance

    def detail(self) -> tuple[F32, F32]:
        """What shading says about relief, for the displacement map.

        Returns:
            (N,) log luminance of the flattened relative albedo at the atlas' texels, 0 on plain
            skin, and (N,) the evidence for it (1 is one frame seen face on).
        """
        relative = flattened(self._albedo, self.atlas, self._zones)
        brightness = np.maximum(relative @ LUMINANCE, 1e-2)
        return np.log(brightness).astype(np.float32), self._albedo.evidence.copy()

    def _shifts(self, view: View) -> F32 | None:
        if view.landmarks_px is None:
            return np.zeros((LANDMARKS, 2), np.float32)
        points = view.landmarks_px
        width = float(np.ptp(points[:, :2], axis=0).max())
        shifts = landmark_shifts(
            view.mesh.vertices_m, view.rest_vertices_m, points, view.camera, self._embedding
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

    def _weight(self, view: View, depth: DepthMap) -> float:
        """Confidence, sharpness against the sharpest yet, and calm of the expression."""
        crop = _crop(view.image, depth)
        if min(crop.shape[:2]) < LEAST_FACE_PX:
            return 0.0
        grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
        scale = min(1.0, 160.0 / max(grey.shape))
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        sharpness = float(cv2.Laplacian(grey, cv2.CV_32F).std())
        self._sharpest = max(0.98 * self._sharpest, sharpness)
        acting = float((view.expression[_SHAPES] ** 2).sum())
        sharp = (sharpness / max(self._sharpest, 1e-6)) ** 2
        return float(np.clip(view.weight, 0.0, 1.0) * sharp * np.exp(-acting / CALM))

    def _look_into_eyes(self, view: View, tone: F32, weight: float) -> None:
        """Irises relative to the skin beside them, while the eyes are open."""
        if view.landmarks_px is None or view.expression[_BLINKS].max() > EYES_OPEN:
            return
        seen = iris_colour(view.image, view.landmarks_px)
        if seen is not None:
            self._iris.add(seen / tone, weight)

    def _complexion(self, skin: F32) -> Complexion:
        """Skin, hair and eyes; what was not seen stays as it is painted."""
        painted = Complexion.of(Look())
        hair, iris = self._hair(skin), self._iris.colour
        return Complexion(
            skin=_encode(skin),
            hair=painted.hair if hair is None else np.maximum(_encode(hair), DARKEST_HAIR),
            iris=painted.iris if iris is None else _encode(LIDS_SHADE * iris * skin) / IRIS_PAINTED,
        )

    def _hair(self, skin: F32) -> F32 | None:
        """(3,) linear RGB above the hairline; None where too little, or no hair, is seen."""
        scalp = (self._zones & Zone.SCALP > 0) & (self._albedo.evidence > ENOUGH / 2)
        relative = self._albedo.mean[scalp]
        relative = relative[relative @ LUMINANCE < DARKER_HAIR]
        if len(relative) < HAIR_TEXELS:
            return None
        relative = np.median(relative, axis=0)
        return np.asarray(relative * skin, np.float32)


def _encode(linear: F32) -> F32:
    """8-bit values of linear light, by gamma 2."""
    return np.asarray(255.0 * np.sqrt(np.clip(linear, 0.0, 1.0)), np.float32)


def _crop(image: U8, depth: DepthMap) -> U8:
    x0, y0, cells = (float(value) for value in depth.placing)
    rows, columns = depth.depth_m.shape
    top, left = max(0, int(y0)), max(0, int(x0))
    bottom, right = max(0, int(y0 + rows / cells)), max(0, int(x0 + columns / cells))
    return image[top:bottom, left:right]
