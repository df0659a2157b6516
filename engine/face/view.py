"""One frame as the appearance is gathered from it, and how much it has to say."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engine.face.occlusion import DepthMap
from engine.types import (
    ARKIT_NAMES,
    F32,
    I32,
    U8,
    AvatarState,
    Camera,
    FaceLandmarks,
    Frame,
    FusedMesh,
    HandLandmarks,
    Observation,
)

LEAST_FACE_PX = 80.0
"""A face smaller than this shows no features worth painting on."""
CALM = 0.6
"""Sum of squared actions at which a face's look weighs a third."""
PROFILE, FACING = 0.55, 0.85
"""Cosine of the head's turn: from half a profile the landmarks are guesses."""
SHUT_AT, AGAPE_AT = 0.5, 0.25
"""Actions at which lids and lips show nothing of their looks at rest."""
COMPARED_SIDE = 160
"""Sharpness is compared among faces of at most this size, in pixels."""

_BLINKS = [ARKIT_NAMES.index("eyeBlinkLeft"), ARKIT_NAMES.index("eyeBlinkRight")]
_JAW = ARKIT_NAMES.index("jawOpen")
_SHAPES = np.array([not name.startswith("eyeLook") for name in ARKIT_NAMES])


@dataclass(frozen=True, slots=True)
class FaceView:
    """A frame, and the avatar posed for it."""

    image: U8
    """(H, W, 3) RGB."""
    mesh: FusedMesh
    """The avatar in this very frame."""
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

    @staticmethod
    def of(
        frame: Frame, seen: Observation, state: AvatarState, mesh: FusedMesh, rest: F32
    ) -> FaceView:
        """From what the engine knows of a frame.

        Args:
            frame: the picture.
            seen: its landmarks.
            state: fitted to them.
            mesh: posed by the state.
            rest: (V, 3) the posed avatar's rest vertices.
        """
        hands = (seen.left_hand, seen.right_hand)
        return FaceView(
            image=frame.image,
            mesh=mesh,
            camera=state.camera,
            expression=state.expression,
            rest_vertices_m=rest,
            landmarks_px=None if seen.face is None else seen.face.points_px,
            hands=tuple(hand for hand in hands if hand is not None),
            weight=0.0 if seen.face is None else state.face_confidence,
        )

    @property
    def shut(self) -> float:
        """How far the eyes are closed, in [0, 1]."""
        return float(np.clip(self.expression[_BLINKS].max() / SHUT_AT, 0.0, 1.0))

    @property
    def agape(self) -> float:
        """How far the mouth is open, in [0, 1]."""
        return float(np.clip(self.expression[_JAW] / AGAPE_AT, 0.0, 1.0))

    @property
    def calm(self) -> float:
        """In [0, 1]: 1 is a face at rest."""
        return calm(self.expression)


def face_width_px(face: FaceLandmarks) -> float:
    """The longer side of the box around a face's landmarks."""
    return float(np.ptp(face.points_px[:, :2], axis=0).max())


def calm(expression: F32) -> float:
    """In [0, 1]: how much a face shows what it is like at rest; looking around is no action."""
    actions = expression[_SHAPES]
    return math.exp(-float(actions @ actions) / CALM)


def facing(mesh: FusedMesh, face_vertices: I32) -> float:
    """In [0, 1]: 1 for a face turned to the camera, 0 from half a profile on."""
    normal = mesh.normals[face_vertices].mean(axis=0)
    towards = -mesh.vertices_m[face_vertices].mean(axis=0)
    length = float(np.linalg.norm(normal) * np.linalg.norm(towards))
    cosine = float(normal @ towards) / max(length, 1e-9)
    return float(np.clip((cosine - PROFILE) / (FACING - PROFILE), 0.0, 1.0))


def sharpness(image: U8, depth: DepthMap) -> float:
    """Standard deviation of the face's Laplacian in grey levels; 0 for a face too small.

    Args:
        image: (H, W, 3) RGB.
        depth: placed around the face.
    """
    x0, y0, cells = (float(value) for value in depth.placing)
    rows, columns = depth.depth_m.shape
    top, left = max(0, int(y0)), max(0, int(x0))
    crop = image[
        top : max(top, int(y0 + rows / cells)), left : max(left, int(x0 + columns / cells))
    ]
    if min(crop.shape[:2]) < LEAST_FACE_PX:
        return 0.0
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    scale = min(1.0, COMPARED_SIDE / max(grey.shape))
    grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).std())
