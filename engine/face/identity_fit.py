"""A person's own face from video: views are collected frame by frame and read out now and then.

Phenotypes are priors here: what is estimated is how a face differs from the one that age, gender
and the rest make. Size is not estimated, for one camera does not know it.
"""

from __future__ import annotations

import numpy as np

from engine.avatar.anny import BodyModel
from engine.errors import ModelFileError
from engine.face.head_pose import HeadPose
from engine.face.identity_evidence import Evidence, gather
from engine.face.identity_readout import IdentityReadout, Posterior, default_readout
from engine.face.identity_views import ViewBook, judge
from engine.face.landmark_embedding import LandmarkEmbedding, default_embedding
from engine.face.photo_consistency.refiner import PhotoRefiner
from engine.face.response import LandmarkResponse
from engine.types import F32, U8, Camera, FaceLandmarks, FaceShape, Phenotypes

ONE_VIEW = 1.0
"""Variance of a single view's features, where 1 is what many views of a person share."""
TURNED = 0.2
"""Standard deviation of the yaw (rad) at which a face has been seen from enough sides."""
FRONTAL_DOUBT = 2.0
"""How many times the variance features have that were seen from one side only."""
STRANGE = 1.5
"""Misfit, in usual ones, from which features are no face's that the model knows."""


class IdentityFitter:
    """Collects what frames say on one person's face. Not thread-safe.

    >>> fitter = IdentityFitter(model)
    >>> fitter.observe(landmarks, fit.head, fit.expression, camera, sharpness)
    >>> shape = fitter.estimate(phenotypes)
    """

    def __init__(
        self,
        model: BodyModel,
        embedding: LandmarkEmbedding | None = None,
        readout: IdentityReadout | None = None,
    ) -> None:
        """Start with a stranger.

        Args:
            model: whose identity basis the coefficients are of.
            embedding: the landmark network's calibration; the shipped one if left out.
            readout: from features to coefficients; the shipped one if left out.

        Raises:
            ModelFileError: the readout was calibrated for another identity basis.
        """
        self._model = model
        self._embedding = embedding or default_embedding()
        self._readout = readout or default_readout()
        known = len(self._readout.response)
        if known != model.identity_count:
            raise ModelFileError(
                f"the identity readout has {known} coefficients and the body model "
                f"{model.identity_count}; run `sars setup` to bake the body again"
            )
        self._response = LandmarkResponse(self._embedding)
        self._weights = self._embedding.pose_weights.astype(np.float64)
        self._head = model.joint_names.index("head")
        self._book = ViewBook()
        self._photos = PhotoRefiner(model, self._embedding, self._response)

    def reset(self) -> None:
        """Another person: forget everything."""
        self._book.clear()
        self._photos.reset()

    def observe(
        self,
        face: FaceLandmarks,
        head: HeadPose,
        expression: F32,
        camera: Camera,
        weight: float = 1.0,
        image: U8 | None = None,
    ) -> bool:
        """Take in a frame; costs some microseconds, with an image half a millisecond.

        Args:
            face: the landmarks.
            head: as fitted to them.
            expression: (52,) as fitted.
            camera: that took them.
            weight: in [0, 1]: sharpness, and what else the caller knows.
            image: (H, W, 3) RGB, where the caller has it: pictures from several sides show depth
                that landmarks do not. What is kept of it is a copy.

        Returns:
            Whether the frame shows a face well enough to tell its shape.
        """
        judged = judge(face, head, expression, camera, weight)
        if judged is None:
            return False
        self._book.offer(*judged)
        if image is not None:
            self._photos.observe(image, judged[0], expression)
        return True

    def estimate(self, phenotypes: Phenotypes) -> FaceShape:
        """The face on top of these phenotypes; of zeros and no confidence before any view.

        The confidence is what landmarks tell: pictures only make it truer. Takes some hundred
        milliseconds where there are new pictures from several sides.
        """
        views = self._book.views()
        if not views:
            return FaceShape(np.zeros(self._model.identity_count, np.float32))
        rest = self._model.shape(phenotypes)
        neutral = self._embedding.neutral_m(rest.vertices_m, rest.joints_m[self._head])
        evidence = gather(views, neutral.astype(np.float64), self._response, self._weights)
        known = read(self._readout, evidence)
        face = self._photos.refine(known, phenotypes).coefficients.astype(np.float32)
        by_landmarks = known.coefficients.astype(np.float32)
        return FaceShape(face, self._readout.confidence(known), by_landmarks)


def read(readout: IdentityReadout, evidence: Evidence) -> Posterior:
    """The posterior, in doubt of few views, of one-sided ones and of what is hardly a face."""
    turned = min(1.0, evidence.yaw_spread / TURNED)
    doubt = 1.0 + ONE_VIEW / max(evidence.views, 1e-3)
    doubt *= FRONTAL_DOUBT + (1.0 - FRONTAL_DOUBT) * turned
    first = readout.posterior(evidence.features, doubt)
    misfit = readout.misfit(evidence.features, first.coefficients) / readout.usual_misfit
    if misfit <= STRANGE:
        return first
    return readout.posterior(evidence.features, doubt * (misfit / STRANGE) ** 4)
