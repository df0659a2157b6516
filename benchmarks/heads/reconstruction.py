"""The engine's own way from a film to a head: face fit, identity from many views, rest mesh."""

from __future__ import annotations

from benchmarks.heads.filming import CAMERA, FPS
from benchmarks.heads.harness import Estimator, Heads
from benchmarks.heads.sitting import Sitting
from engine.face.face_fit import FaceFitter
from engine.face.identity_fit import IdentityFitter
from engine.types import F32, FaceShape, Phenotypes


def identity_estimator(heads: Heads, phenotypes: Phenotypes | None = None) -> Estimator:
    """What the slow loop would know of a person after the film.

    Args:
        heads: whose body model.
        phenotypes: on which the face is estimated; the average person's, as for the baseline.
            Drawn people have no age that a network could read.
    """
    known, model = phenotypes or Phenotypes(), heads.anny

    def estimate(sitting: Sitting) -> F32:
        face = face_of(sitting, heads, known)
        return model.shape(known, face.coefficients).vertices_m

    return estimate


def face_of(sitting: Sitting, heads: Heads, phenotypes: Phenotypes) -> FaceShape:
    """The face that the engine's two fitters find, frame after frame, in one film."""
    rest = heads.anny.shape(phenotypes)
    head = heads.anny.joint_names.index("head")
    fitter = FaceFitter(rest.vertices_m, rest.joints_m[head])
    identity = IdentityFitter(heads.anny)
    for landmarks, picture in zip(sitting.frames(), sitting.pictures, strict=True):
        if landmarks is None:
            fitter.lost(1.0 / FPS)
        elif fit := fitter.fit(landmarks, CAMERA, 1.0 / FPS):
            identity.observe(landmarks, fit.head, fit.expression, CAMERA, image=picture)
    return identity.estimate(phenotypes)
