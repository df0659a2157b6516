"""What the body's and the face's modules know of one person before fusion."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.avatar.anny import BodyModel
from engine.face.head_pose import HeadPose
from engine.types import F32, FaceLandmarks, FaceShape, Identity, Phenotypes

IRISES = (468, 473)
"""Their centres among the face's landmarks, the right one first."""
DOUBTS = Phenotypes(gender=0.15, age=0.06, muscle=0.2, weight=0.15, height=0.1, proportions=0.2)
"""Standard deviations of the phenotypes that the body's module finds."""


@dataclass(frozen=True, slots=True)
class FaceView:
    """How well the body's view shows the face; for body-driven weighting."""

    rotation_xyzw: F32
    """(4,) the head's rotation in camera space: identity when it faces the camera."""
    interocular_px: float
    """How far apart the eyes are in the picture."""
    confidence: float = 1.0
    """In [0, 1]: of the landmarks that were read there."""

    @staticmethod
    def of(head: HeadPose, face: FaceLandmarks, confidence: float) -> FaceView:
        """As a face was found in a picture."""
        eyes = face.points_px[list(IRISES), :2]
        distance = float(np.linalg.norm(eyes[0] - eyes[1]))
        return FaceView(head.rotation_xyzw, distance, confidence)


@dataclass(frozen=True, slots=True)
class BodyEstimate:
    """The body's module: its head has the phenotypes' average face."""

    phenotypes: Phenotypes
    doubts: Phenotypes = DOUBTS
    view: FaceView | None = None
    """None: the face was seen evenly from all sides."""


@dataclass(frozen=True, slots=True)
class FaceEstimate:
    """The face's module: a face in its own scale and place, in the body model's topology."""

    vertices_m: F32
    """(V, 3) a whole body's vertices, of which only the face is meant; any frame, any scale."""
    eyes_m: F32
    """(2, 3) the left and right eye's joint, in the same frame."""
    confidence: float = 1.0
    """In [0, 1], as :class:`engine.types.FaceShape` has it."""
    alpha: F32 | None = None
    """Coefficients of the face's own model, where that is grafted as it is; see ``graft.py``."""

    shared: F32 | None = None
    """(I,) coefficients on the body's own head, where both modules used that one: the face lies in
    the body's frame already, and these are what the face's own evidence and prior led to."""

    @staticmethod
    def of(model: BodyModel, phenotypes: Phenotypes, face: FaceShape) -> FaceEstimate:
        """The face that coefficients make on a head of these phenotypes.

        Raises:
            AvatarError: the coefficients are another model's.
        """
        rest = model.shape(phenotypes, face.coefficients)
        eyes = [model.joint_names.index(name) for name in ("eye.L", "eye.R")]
        return FaceEstimate(rest.vertices_m, rest.joints_m[eyes], face.confidence)


def estimates_of(model: BodyModel, identity: Identity) -> tuple[BodyEstimate, FaceEstimate]:
    """What a published identity says to each module; both were found on one head, in one frame.

    Raises:
        AvatarError: the identity's face was made for another model.
    """
    shape = identity.face or FaceShape(np.zeros(model.identity_count, np.float32))
    face = FaceEstimate.of(model, identity.phenotypes, shape)
    return BodyEstimate(identity.phenotypes), replace(face, shared=shape.coefficients)
