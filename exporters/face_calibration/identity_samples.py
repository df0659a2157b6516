"""Painted people with random faces, turned before a webcam, and the features read off them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from engine.avatar.anny import BodyModel
from engine.avatar.paint import Look, paint_texture
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.face.identity_evidence import gather
from engine.face.identity_views import QUIET, View
from engine.face.landmark_embedding import default_embedding
from engine.face.response import LandmarkResponse
from engine.fusion.copy_paste import build_topology, fuse
from engine.perception.face import FaceTracker
from engine.rendering.background import room
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import F64, U8, Camera, FaceShape, Identity, Phenotypes
from exporters.face_calibration.expressions import random_expression
from exporters.face_calibration.samples import (
    FACE_HEIGHT_M,
    HEAD,
    placed,
    random_phenotypes,
)

SIDE = 288
YAWS = np.radians(np.linspace(-36.0, 36.0, 8))
JITTER = np.radians((15.0, 5.0, 6.0))
"""Largest pitch, change of yaw, and roll."""
DISTANCES_M = (0.3, 0.9)
FACE_PX = (120.0, 185.0)
LOOKS = 16
"""Painting takes longer than all views of a person; skins are shared."""
TEXELS = 1024
QUIET_SHARE = 0.5
LEAST_VIEWS = 5
AVERAGE_BODIES = 0.6
"""Share of people whose body is the average one."""


@dataclass(frozen=True, slots=True)
class IdentitySamples:
    """P people as numbers."""

    coefficients: F64
    """(P, K) who they are."""
    features: F64
    """(P, F) what their views say, mm."""


def observe_identities(
    model: BodyModel, tracker: FaceTracker, people: int, seed: int
) -> IdentitySamples:
    """Render people from many sides and gather what the landmark network sees of each.

    Args:
        model: the baked body.
        tracker: unsmoothed.
        people: how many.
        seed: of everything random.
    """
    rng = np.random.default_rng([seed, 0x1D])
    fusion_map, embedding = build_topology(model), default_embedding()
    response, weights = LandmarkResponse(embedding), embedding.pose_weights.astype(np.float64)
    skins: list[U8] = []
    rows = []
    with OffscreenRenderer(SIDE, SIDE, samples=1) as renderer:
        for _ in range(people):
            face = rng.standard_normal(model.identity_count).astype(np.float32)
            own = rng.random() >= AVERAGE_BODIES
            phenotypes = random_phenotypes(rng) if own else Phenotypes()
            avatar = fuse(model, fusion_map, Identity(phenotypes=phenotypes, face=FaceShape(face)))
            if len(skins) < LOOKS:
                skins.append(paint_texture(avatar, Look.varied(seed * 1000 + len(skins)), TEXELS))
            renderer.set_texture(skins[int(rng.integers(len(skins)))])
            renderer.set_light(Light.varied(int(rng.integers(1 << 30))))
            renderer.set_background(room(int(rng.integers(1 << 30))))
            views = list(_views(avatar, renderer, tracker, rng))
            if len(views) < LEAST_VIEWS:
                continue
            rest = model.shape(phenotypes)
            head = rest.joints_m[model.joint_names.index(HEAD)]
            neutral = embedding.neutral_m(rest.vertices_m, head).astype(np.float64)
            rows.append((face, gather(views, neutral, response, weights).features))
    return IdentitySamples(np.array([r[0] for r in rows]), np.array([r[1] for r in rows]))


def _views(
    avatar: FusedAvatar,
    renderer: OffscreenRenderer,
    tracker: FaceTracker,
    rng: np.random.Generator,
) -> Iterator[View]:
    poser = Poser(avatar)
    for yaw in YAWS:
        expression = random_expression(rng) * rng.uniform(0.2, 0.8)
        if rng.random() < QUIET_SHARE:
            expression = np.zeros_like(expression)
        turn = np.array([0.0, yaw, 0.0]) + JITTER * rng.uniform(-1.0, 1.0, 3)
        distance, size = rng.uniform(*DISTANCES_M), rng.uniform(*FACE_PX)
        middle = (SIDE - 1) / 2
        camera = Camera(float(size / FACE_HEIGHT_M * distance), middle, middle, SIDE, SIDE)
        centre = np.array([*rng.uniform(-0.01, 0.01, 2), -distance])
        state, _, _ = placed(poser, turn, centre, expression, camera)
        picture = renderer.render(poser.pose(state), camera)
        cv2.GaussianBlur(picture, (3, 3), 0.6, dst=picture)
        tracker.reset()
        # The second look's region comes from landmarks, as in a video.
        if tracker.track(picture, None) and (face := tracker.track(picture, None)):
            weight = 1.0 / (1.0 + float(np.square(expression).sum()) / QUIET)
            lens = np.array([camera.focal_px, camera.cx, camera.cy])
            points = face.points_px.astype(np.float64)
            yield View(points, lens, float(turn[1]), weight, float(turn[0]), expression)
