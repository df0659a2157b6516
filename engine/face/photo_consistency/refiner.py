"""From what landmarks say of a face to what its pictures say: see :class:`PhotoRefiner`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from engine import quaternions
from engine.avatar.anny import BodyModel
from engine.face.head_pose import procrustes, refine_pose
from engine.face.identity_evidence import network_shape
from engine.face.identity_readout import Posterior
from engine.face.identity_views import View
from engine.face.landmark_embedding import LandmarkEmbedding
from engine.face.landmark_features import view_angles, view_direction
from engine.face.occlusion import depth_around_face
from engine.face.photo_consistency.alignment import Pose, Seen, normal_equations
from engine.face.photo_consistency.pictures import FacePicture, PictureBook
from engine.face.photo_consistency.skin_texels import SkinTexels
from engine.face.response import LandmarkResponse
from engine.fusion.normals import vertex_normals
from engine.types import F32, F64, U8, Camera, Phenotypes

FEWEST = 4
"""Pictures below which nothing is refined."""
LEAST_TURN = np.radians(20.0)
"""Between the outermost pictures: from one side no depth is seen."""
BLURS_PX = (2.0, 1.0, 0.7, 0.7, 0.7)
"""Each round's, from coarse to fine."""
STRIDES = (3, 3, 2, 2, 1)
"""Every which texel a round looks at: only the last step needs all of them."""
INDEPENDENT = 0.1
"""Share of the texels that count: neighbours see the same pixels and the same light."""
STEEPEST = 0.5
"""Cosine between normal and view ray below which skin is not looked at."""
DEPTH_SLACK_M = 0.012
EXPRESSION_DOUBT = 0.5
"""How much of what a fitted expression moves may be wrong."""
TURN_DEVIATION, SHIFT_DEVIATION_M = 0.05, 0.01
"""How far a head pose may be from the one that the landmarks tell, rad and metres."""
LARGEST_RMS = 1.6
"""Coefficients beyond belong to no face: something else was aligned."""


@dataclass(frozen=True, slots=True)
class _Start:
    """The pictures of a face and where the head is in each, by landmarks."""

    seen: list[Seen]
    poses: list[Pose]


class PhotoRefiner:
    """Keeps pictures of one person and refines their face. Not thread-safe.

    >>> refiner = PhotoRefiner(model, embedding, response)
    >>> refiner.observe(image, view, expression)
    >>> posterior = refiner.refine(by_landmarks, phenotypes)
    """

    def __init__(
        self, model: BodyModel, embedding: LandmarkEmbedding, response: LandmarkResponse
    ) -> None:
        """Start with a stranger.

        Args:
            model: whose identity basis the coefficients are of.
            embedding: the landmark network's calibration.
            response: of the network to directions.
        """
        self._model, self._embedding, self._response = model, embedding, response
        self._weights = embedding.pose_weights.astype(np.float64)
        self._head = model.joint_names.index("head")
        self._made: SkinTexels | None = None
        self._book = PictureBook()
        self._last: tuple[Phenotypes, Posterior] | None = None

    @property
    def _texels(self) -> SkinTexels:
        """Made for the first head that turns: 20 MB that most runs never need."""
        if self._made is None:
            self._made = SkinTexels.of(self._model)
        return self._made

    def reset(self) -> None:
        """Another person: forget the pictures."""
        self._book.clear()
        self._last = None

    def observe(self, image: U8, view: View, expression: F32) -> None:
        """Take in a picture; it is kept, small, if it is the best from its side.

        Args:
            image: (H, W, 3) RGB.
            view: of the face in it.
            expression: (52,) as fitted.
        """
        if self._book.offer(image, view, expression):
            self._last = None

    def refine(self, known: Posterior, phenotypes: Phenotypes) -> Posterior:
        """The face that pictures and landmarks agree on; some hundred milliseconds.

        What was found before is told again, for nothing, until a picture is new.

        Args:
            known: by landmarks; returned as it is where pictures are few, from one side, or of
                something else than a face.
            phenotypes: that the face is on top of.
        """
        pictures = self._book.pictures()
        if len(pictures) < FEWEST or np.ptp([p.view.yaw for p in pictures]) < LEAST_TURN:
            return known
        if self._last is None or self._last[0] != phenotypes:
            self._last = phenotypes, self._align(pictures, known, phenotypes)
        return self._last[1]

    def _align(
        self, pictures: Sequence[FacePicture], known: Posterior, phenotypes: Phenotypes
    ) -> Posterior:
        face = known.coefficients.astype(np.float32)
        rest = self._model.shape(phenotypes, face)
        vertices = rest.vertices_m - rest.joints_m[self._head]
        start = self._start(pictures, vertices)
        found = align(start.seen, start.poses, self._texels.at(vertices), self._texels, known)
        return found if np.sqrt(np.mean(found.coefficients**2)) < LARGEST_RMS else known

    def _start(self, pictures: Sequence[FacePicture], vertices_m: F32) -> _Start:
        neutral = self._embedding.neutral_m(vertices_m, np.zeros(3, np.float32))
        poses = [self._pose(picture.view, neutral.astype(np.float64)) for picture in pictures]
        normals = np.empty_like(vertices_m)
        vertex_normals(vertices_m, self._texels.faces, normals)
        at_rest = _usual_expression(pictures)
        seen = [
            Seen(
                picture=picture.contrast(),
                lens=picture.lens,
                weights=picture.view.weight * self._facing(picture, pose, vertices_m, normals),
                doubt_m=self._doubt(picture.expression - at_rest),
            )
            for picture, pose in zip(pictures, poses, strict=True)
        ]
        return _Start(seen, poses)

    def _pose(self, view: View, neutral_m: F64) -> Pose:
        fit = procrustes(
            neutral_m, network_shape(view.points_px, view.lens, self._weights), self._weights
        )
        rotation, translation = np.ascontiguousarray(fit.rotation), fit.translation / fit.scale
        yaw, pitch = view_angles(view_direction(rotation, translation))
        drift = 1e-3 * self._response.neutral_features(yaw, pitch).reshape(-1, 3)
        rotation, translation, _ = refine_pose(
            neutral_m + drift, view.points_px, self._weights, rotation, translation, view.lens
        )
        return Pose(rotation, translation)

    def _facing(self, picture: FacePicture, pose: Pose, vertices_m: F32, normals: F32) -> F32:
        """(N,) cosines to the view ray; 0 where hidden, too steep or beyond the picture."""
        rotation = pose.rotation.astype(np.float32)
        posed = vertices_m @ rotation.T + pose.translation.astype(np.float32)
        points, directions = self._texels.at(posed), self._texels.at(normals) @ rotation.T
        size = np.linalg.norm(points, axis=1) * np.linalg.norm(directions, axis=1)
        cosine = -(points * directions).sum(axis=1) / np.maximum(size, 1e-12)
        height, width = picture.grey.shape
        focal, cx, cy = (float(x) for x in picture.lens)
        camera = Camera(focal, cx, cy, width, height)
        depth = depth_around_face(posed, self._texels.faces, self._model.head_vertices, camera)
        if depth is None:
            return np.zeros(len(points), np.float32)
        x = cx + focal * points[:, 0] / -points[:, 2]
        y = cy - focal * points[:, 1] / -points[:, 2]
        column, row = np.rint((np.stack([x, y]) - depth.placing[:2, None]) * depth.placing[2])
        rows, columns = depth.depth_m.shape
        inside = (x >= 1) & (y >= 1) & (x < width - 2) & (y < height - 2)
        inside &= (row >= 0) & (column >= 0) & (row < rows) & (column < columns)
        nearest = depth.depth_m[(row * inside).astype(int), (column * inside).astype(int)]
        shown = inside & (cosine > STEEPEST) & (-points[:, 2] < nearest + DEPTH_SLACK_M)
        return np.where(shown, cosine, 0.0).astype(np.float32)

    def _doubt(self, expression: F32) -> F32:
        displaced = np.tensordot(expression, self._texels.actions_m, axes=1)
        return np.asarray(EXPRESSION_DOUBT * np.linalg.norm(displaced, axis=1), np.float32)


def align(
    seen: Sequence[Seen], poses: Sequence[Pose], start_m: F32, texels: SkinTexels, known: Posterior
) -> Posterior:
    """Gauss-Newton from coarse to fine, with what is known as the prior.

    Args:
        seen: the pictures.
        poses: of the head, near.
        start_m: (N, 3) the points of the known face, head axes.
        texels: how they move.
        known: the prior.
    """
    count = len(known.coefficients)
    coefficients, now, hessian = known.coefficients, list(poses), known.information
    for blur, stride in zip(BLURS_PX, STRIDES, strict=True):
        basis = np.ascontiguousarray(texels.basis_m[:, ::stride])
        moved = basis @ (coefficients - known.coefficients).astype(np.float32)
        points = start_m[::stride].astype(np.float64) + moved.T
        found = normal_equations([s.coarser(blur, stride) for s in seen], points, basis, now)
        share = stride * INDEPENDENT / (1.0 + blur**2)
        hessian, gradient = share * found.hessian, share * found.gradient
        hessian[:count, :count] += known.information
        gradient[:count] += known.information @ (coefficients - known.coefficients)
        _hold(hessian, gradient, count, now, poses)
        step = np.asarray(-np.linalg.solve(hessian, gradient), np.float64)
        coefficients = coefficients + step[:count]
        now = [stepped(pose, s) for pose, s in zip(now, step[count:].reshape(-1, 6), strict=True)]
    covariance = np.linalg.inv(hessian)[:count, :count]
    return Posterior(coefficients, np.linalg.inv(covariance))


def _hold(
    hessian: F64, gradient: F64, first: int, now: Iterable[Pose], start: Iterable[Pose]
) -> None:
    """Add the prior of the poses, in place."""
    stiffness = np.repeat([TURN_DEVIATION, SHIFT_DEVIATION_M], 3) ** -2.0
    for k, (pose, origin) in enumerate(zip(now, start, strict=True)):
        rows = np.arange(first + 6 * k, first + 6 * k + 6)
        turn = quaternions.to_rotation_vector(
            quaternions.from_matrix(pose.rotation @ origin.rotation.T)
        )
        strayed = np.concatenate([turn, pose.translation - origin.translation])
        hessian[rows, rows] += stiffness
        gradient[rows] += stiffness * strayed


def stepped(pose: Pose, step: F64) -> Pose:
    """A pose turned by ``step[:3]`` (camera axes, about the head joint), then moved."""
    turn = quaternions.to_matrix(quaternions.from_rotation_vector(step[:3]))
    return Pose(np.asarray(turn @ pose.rotation, np.float64), pose.translation + step[3:])


def _usual_expression(pictures: Sequence[FacePicture]) -> F32:
    """(52,) of the calmer half: a stranger's own face is fitted as a slight expression."""
    calm = sorted(pictures, key=lambda p: -p.view.weight)[: max(3, len(pictures) // 2)]
    return np.asarray(np.median([p.expression for p in calm], axis=0), np.float32)
