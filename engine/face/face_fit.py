"""The live face fit: 478 landmarks to head pose and 52 expressions, frame after frame."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine import quaternions
from engine.face.expression import ExpressionSolver
from engine.face.expression_network import default_network
from engine.face.expression_prior import default_prior
from engine.face.eyelids import close_lids
from engine.face.head_pose import (
    HeadPose,
    initial_pose,
    refine_pose,
    reprojection_rms,
)
from engine.face.landmark_embedding import LandmarkEmbedding, default_embedding
from engine.face.landmark_features import (
    Displaced,
    lateral_displacements,
    view_angles,
    view_direction,
)
from engine.face.neutral import NeutralFace
from engine.face.response import LandmarkResponse
from engine.face.smoothing import ExpressionFilter, HeadFilter
from engine.types import ARKIT_NAMES, F32, F64, Camera, FaceLandmarks

DEFAULT_INTERVAL_S = 1.0 / 30.0
LONGEST_INTERVAL_S = 0.5
RELAX_SECONDS = 0.3
FORGET_SECONDS = 1.5
"""A face away for longer is fitted from scratch, though still taken for the same person."""
STRANGER_SECONDS = 5.0
"""One away for longer may be anybody's: the neutral face is learned anew."""
EYES = (468, 473)
LIKE_SHAPES = np.array(
    [not name.startswith(("eyeBlink", "eyeLook", "jawOpen")) for name in ARKIT_NAMES]
)
"""Actions that a stranger's features may be mistaken for: low brows, a long upper lip. Lids that
meet and lips that part are neither."""
LARGEST_JUMP = 0.04
"""Pose residual, as a share of the face's width, above which the fit starts cold."""
RESIDUAL_SCALE = 0.05
FURTHEST_MM = 1e3
"""Landmarks further from a face than this, or nowhere at all, are none of it."""


@dataclass(frozen=True, slots=True)
class FaceFit:
    """One frame's face."""

    head: HeadPose
    expression: F32
    """(52,) in [0, 1], ordered as ARKIT_NAMES; its eyeLook actions turn the eyeballs."""
    confidence: float
    """In [0, 1]."""


@dataclass(frozen=True, slots=True)
class _Pose:
    rotation: F64
    translation: F64
    residual_px: float


class FaceFitter:
    """Fits one person's face in successive frames. Not thread-safe.

    >>> fitter = FaceFitter(rest_vertices_m, head_joint_m)
    >>> fit = fitter.fit(landmarks, camera)
    """

    def __init__(
        self,
        rest_vertices_m: F32,
        head_joint_m: F32,
        embedding: LandmarkEmbedding | None = None,
        *,
        smooth: bool = True,
        learned: bool = True,
    ) -> None:
        """Start with a stranger.

        Args:
            rest_vertices_m: (V, 3) the identity's rest pose; Anny's vertices come first.
            head_joint_m: (3,) the head joint in the same frame.
            embedding: the landmark network's calibration; the shipped one if left out.
            smooth: filter expressions and head pose over time.
            learned: let the trained network have its say beside least squares.
        """
        self._embedding = embedding or default_embedding()
        self._response = LandmarkResponse(self._embedding)
        network = default_network() if learned else None
        self._solver = ExpressionSolver(self._response, default_prior(), network)
        self._weights = self._embedding.pose_weights.astype(np.float64)
        self._model_m = self._embedding.neutral_m(rest_vertices_m, head_joint_m)
        self._neutral = NeutralFace(self._response, self._model_m)
        self._smooth = smooth
        self._expression_filter, self._head_filter = ExpressionFilter(), HeadFilter()
        self._pose: _Pose | None = None
        self._last: FaceFit | None = None
        self._away_s = 0.0
        self.strangers = 0
        """How often another face than the one before has turned out to be watched."""

    def set_identity(self, rest_vertices_m: F32, head_joint_m: F32) -> None:
        """Another body for the same person: what was learned of the face stays, at its size."""
        model = self._embedding.neutral_m(rest_vertices_m, head_joint_m)
        self._neutral.rescale(_eye_distance(model) / _eye_distance(self._model_m))
        self._model_m = model
        self._pose = None

    def reset(self) -> None:
        """Another person: forget everything."""
        self._neutral.restart(self._model_m)
        self._forget()

    def fit(
        self, face: FaceLandmarks, camera: Camera, interval_s: float = DEFAULT_INTERVAL_S
    ) -> FaceFit | None:
        """Fit a frame.

        Args:
            face: the landmarks.
            camera: that took them.
            interval_s: seconds since the frame before.

        Returns:
            The fit; landmarks that lead to none are a lost face.
        """
        seconds = _sensible(interval_s)
        points = np.ascontiguousarray(face.points_px, np.float64)
        pose = self._find_pose(points, camera)
        seen = self._compare(points, pose, camera)
        if not float(np.abs(seen.features).max()) < FURTHEST_MM:
            self._pose = None
            return self.lost(seconds)
        confidence = self._confidence(face, pose, points)
        expression = self._find_expression(seen, confidence, seconds)
        self._pose, self._away_s = pose, 0.0
        head = HeadPose(
            quaternions.from_matrix(pose.rotation).astype(np.float32),
            pose.translation.astype(np.float32),
            pose.residual_px,
        )
        self._last = self._report(head, expression, confidence, seconds)
        return self._last

    def lost(self, interval_s: float = DEFAULT_INTERVAL_S) -> FaceFit | None:
        """No face in this frame: the last one relaxes to neutral where it was.

        Returns:
            The relaxing face, or ``None`` if there never was one.
        """
        if self._last is None:
            return None
        seconds = _sensible(interval_s)
        self._away_s += seconds
        if self._away_s > FORGET_SECONDS:
            self._pose = None
        if self._away_s > STRANGER_SECONDS:
            self._neutral.restart(self._model_m)
        left = np.float32(np.exp(-seconds / RELAX_SECONDS))
        self._start_over()
        self._last = replace(
            self._last,
            expression=self._last.expression * left,
            confidence=self._last.confidence * float(left),
        )
        return self._last

    def _forget(self) -> None:
        self._pose = self._last = None
        self._away_s = 0.0
        self._start_over()

    def _start_over(self) -> None:
        """The next frame has none before it."""
        self._solver.reset()
        self._expression_filter.reset()
        self._head_filter.reset()

    def _find_pose(self, points: F64, camera: Camera) -> _Pose:
        """By Procrustes for a stranger; refined, from the last frame if that leads here, else."""
        if not self._neutral.is_warm:
            return self._place(points, camera)
        if self._pose is not None:
            pose = self._refine(points, self._pose, camera)
            if pose.residual_px < LARGEST_JUMP * _width_px(points):
                return pose
        return self._refine(points, self._place(points, camera), camera)

    def _place(self, points: F64, camera: Camera) -> _Pose:
        model, lens = self._neutral.landmarks_m, _lens(camera)
        rotation, translation = initial_pose(model, points, self._weights, camera)
        residual = reprojection_rms(model, points, self._weights, rotation, translation, lens)
        return _Pose(rotation, translation, residual)

    def _refine(self, points: F64, start: _Pose, camera: Camera) -> _Pose:
        return _Pose(
            *refine_pose(
                self._neutral.landmarks_m,
                points,
                self._weights,
                start.rotation,
                start.translation,
                _lens(camera),
            )
        )

    def _compare(self, points: F64, pose: _Pose, camera: Camera) -> Displaced:
        yaw, pitch = view_angles(view_direction(pose.rotation, pose.translation))
        displaced = lateral_displacements(
            self._neutral.landmarks_m, points, pose.rotation, pose.translation, _lens(camera)
        )
        seen = (1e3 * displaced.ravel()).astype(np.float32)
        return Displaced(displaced, seen - self._response.neutral_features(yaw, pitch), yaw, pitch)

    def _find_expression(self, seen: Displaced, confidence: float, seconds: float) -> F64:
        fit = self._solver.solve(
            seen.features, (seen.yaw, seen.pitch), self._neutral.taken, self._neutral.caution
        )
        expression = close_lids(fit.expression, self._neutral.landmarks_m, seen.displaced_m)
        expression[LIKE_SHAPES] *= self._neutral.trust
        self._neutral.learn(seen, fit, confidence, seconds)
        if self._neutral.is_strange:
            self._neutral.restart(self._model_m)
            self.strangers += 1
        return expression

    def _report(
        self, head: HeadPose, expression: F64, confidence: float, seconds: float
    ) -> FaceFit:
        actions = expression.astype(np.float32)
        if self._smooth:
            head = self._head_filter(head, seconds)
            actions = self._expression_filter(expression, seconds)
        return FaceFit(head, actions, confidence)

    @staticmethod
    def _confidence(face: FaceLandmarks, pose: _Pose, points: F64) -> float:
        """Presence, less where the landmarks are not a face seen from anywhere."""
        misfit = pose.residual_px / max(RESIDUAL_SCALE * _width_px(points), 1e-6)
        return float(np.clip(face.presence, 0.0, 1.0) * np.exp(-(misfit**2)))


def _sensible(interval_s: float) -> float:
    """A clock may jump either way; the fit does not."""
    return float(np.clip(interval_s, 1e-3, LONGEST_INTERVAL_S))


def _eye_distance(landmarks: F32) -> float:
    return float(np.linalg.norm(landmarks[EYES[0]] - landmarks[EYES[1]]))


def _width_px(points: F64) -> float:
    return float(np.ptp(points[:, :2], axis=0).max())


def _lens(camera: Camera) -> F64:
    return np.array([camera.focal_px, camera.cx, camera.cy])
