"""What crosses a room's door: one frozen dataclass per thing, shapes and units in its fields.

Space is glTF's: right-handed, Y up, metres, quaternions xyzw. The camera sits at the origin and
looks down -Z, so a person in front of it has negative z, and a person who faces the camera faces
+Z with the person's own left hand towards +X (the right-hand side of an unmirrored picture).
Pixels are OpenCV's: x right, y down, the centre of the top-left pixel is (0, 0).
"Left" and "right" are always the person's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from engine.avatar.topology import Topology

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
U8: TypeAlias = NDArray[np.uint8]
I32: TypeAlias = NDArray[np.int32]

JOINT_COUNT = 104
"""Joints of the Anny skeleton, in Anny's own order (parents before children)."""

ARKIT_NAMES: tuple[str, ...] = (
    "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight",
    "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft",
    "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft",
    "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper",
    "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft", "mouthSmileRight",
    "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The 52 ARKit expression names, in Anny's order: index i of every ``expression`` array."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture from a source."""

    image: U8
    """(H, W, 3) RGB."""
    captured_at_ns: int
    """``time.monotonic_ns()`` when the picture was taken: the one clock of the whole path."""
    index: int


@dataclass(frozen=True, slots=True)
class Camera:
    """A pinhole camera at the origin of glTF space looking down -Z.

    ``u = cx + f * x / -z`` and ``v = cy - f * y / -z``.
    """

    focal_px: float
    cx: float
    cy: float
    width: int
    height: int

    @staticmethod
    def of_view(width: int, height: int, field_of_view_deg: float | None) -> Camera:
        """A camera whose longer side spans this angle; the usual webcam's where it is not known."""
        if field_of_view_deg is None:
            return Camera.from_size(width, height)
        focal = max(width, height) / (2.0 * np.tan(np.radians(field_of_view_deg) / 2.0))
        return Camera(float(focal), (width - 1) / 2.0, (height - 1) / 2.0, width, height)

    @staticmethod
    def from_size(width: int, height: int, vertical_fov_deg: float | None = None) -> Camera:
        """A camera with the principal point in the middle.

        Without a field of view the longer side is taken to span 60 degrees, a usual webcam.
        """
        if vertical_fov_deg is None:
            focal = max(width, height) / (2.0 * np.tan(np.radians(60.0) / 2.0))
        else:
            focal = height / (2.0 * np.tan(np.radians(vertical_fov_deg) / 2.0))
        return Camera(float(focal), (width - 1) / 2.0, (height - 1) / 2.0, width, height)


@dataclass(frozen=True, slots=True)
class FaceLandmarks:
    """478 face points: MediaPipe's canonical order, the last ten are the irises (468 right eye)."""

    points_px: F32
    """(478, 3): x, y in frame pixels; z in pixels of the same scale, smaller is nearer."""
    presence: float
    """Probability in [0, 1] that a face is there."""


@dataclass(frozen=True, slots=True)
class PoseLandmarks:
    """33 body points in BlazePose's order."""

    points_px: F32
    """(33, 3): x, y in frame pixels; z in pixels relative to the hips, smaller is nearer."""
    world_m: F32
    """(33, 3): metres, origin between the hips, glTF axes (converted once in perception)."""
    visibility: F32
    """(33,) in [0, 1]."""
    presence: float


@dataclass(frozen=True, slots=True)
class HandLandmarks:
    """21 hand points in MediaPipe's order (0 wrist, 4 thumb tip, ... 20 little finger tip)."""

    points_px: F32
    """(21, 3) as for the face; z relative to the wrist."""
    world_m: F32
    """(21, 3): metres, origin at the hand's centre, glTF axes."""
    presence: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What the networks saw in one frame. What is not seen is ``None``, never zeros."""

    index: int
    captured_at_ns: int
    width: int
    height: int
    face: FaceLandmarks | None = None
    pose: PoseLandmarks | None = None
    left_hand: HandLandmarks | None = None
    right_hand: HandLandmarks | None = None


@dataclass(frozen=True, slots=True)
class Semantics:
    """SARS module 1: what the slow loop reads off the face."""

    age_years: float
    age_class: int
    """One of the paper's ten classes: 0 is 0-9 years, ... 9 is 90 and older."""
    female_probability: float
    confidence: float


@dataclass(frozen=True, slots=True)
class Phenotypes:
    """Anny's shape parameters, each in [0, 1]; 0.5 is the average.

    ``age``: 0 baby, 1/3 child, 2/3 young adult, 1 old. ``gender``: 0 male, 1 female.
    """

    gender: float = 0.5
    age: float = 0.67
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    proportions: float = 0.5


@dataclass(frozen=True, slots=True)
class FaceShape:
    """A person's own face, on top of what their phenotypes say: alpha of eqs (1)-(2)."""

    coefficients: F32
    """(K,) in standard deviations of the head's identity basis."""
    confidence: float = 0.0
    """In [0, 1]: how much of what can be known of a face the evidence has decided."""
    by_landmarks: F32 | None = None
    """(K,) what landmarks alone say, where pictures have made the coefficients truer: people are
    recognised by it, for pictures are not always there. None: the same."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the avatar is: constant until the slow loop publishes a better one."""

    version: int = 0
    phenotypes: Phenotypes = field(default_factory=Phenotypes)
    semantics: Semantics | None = None
    confidence: float = 0.0
    """Of the semantics."""
    face: FaceShape | None = None
    """None: the phenotypes' average face."""
    detail_m: F32 | None = None
    """(V,) how far each vertex of the fused avatar stands out along its rest normal: wrinkles and
    what else no basis holds. None: smooth."""
    texture: U8 | None = None
    """(H, W, 3) RGB albedo in the topology's UV space. None: the painted default."""


@dataclass(frozen=True, slots=True)
class AvatarState:
    """One frame's pose and expression. Posing a FusedAvatar with it gives the mesh."""

    index: int
    captured_at_ns: int
    identity_version: int
    rotations_xyzw: F32
    """(104, 4) unit quaternions: each joint's rotation relative to its parent, in avatar axes,
    identity in Anny's rest pose (as SMPL's theta)."""
    translation_m: F32
    """(3,): added to every posed vertex; the root joint rotates about its own rest position."""
    expression: F32
    """(52,) in [0, 1], ordered as ARKIT_NAMES."""
    camera: Camera
    body_confidence: float = 0.0
    face_confidence: float = 0.0
    left_hand_confidence: float = 0.0
    right_hand_confidence: float = 0.0


@dataclass(frozen=True, slots=True)
class FusedMesh:
    """The posed fused avatar: what a viewer draws."""

    index: int
    captured_at_ns: int
    vertices_m: F32
    """(V, 3) in camera space."""
    normals: F32
    """(V, 3) unit."""
    topology: Topology
