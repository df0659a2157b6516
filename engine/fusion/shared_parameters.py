"""Optimisation fusion, eqs (10)-(11): one head that the body's and the face's modules agree on.

Both share the parameters ``Theta = {phenotypes, face coefficients, placement}``. Minimised is

    sum_i w_i |s R f_i + t - v_i(Theta)|^2 + seam loss + shape prior + pose prior

over the face's vertices f_i, which the face's module gives in a scale and place of its own. The
first term is the face's evidence. The seam loss ``L_s``, the same distances over the seam S, makes
both agree where they are joined. The shape prior keeps the phenotypes near those that the body's
module found and the coefficients near the average face, or near those that the face's module
found on this very head; the pose prior keeps the face's placement near the rigid registration it
starts from.

Everything is linear but the rotation and the phenotypes, and these are linear between two of
their anchors: Gauss-Newton with exact derivatives, a few steps.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields

import numpy as np

from engine import quaternions
from engine.avatar.anny import BodyModel
from engine.face.head_pose import Similarity, procrustes
from engine.fusion.estimates import BodyEstimate, FaceEstimate
from engine.fusion.paste_region import PasteRegion
from engine.fusion.registration import apply
from engine.types import F32, F64, I32, FaceShape, Phenotypes

ITERATIONS = 8
CONVERGED = 1e-4
FACE_NOISE_M = 0.0015
"""Standard deviation of a sure face's vertices; an unsure one's is larger by up to this factor:"""
UNSURE = 4.0
SEAM_NOISE_M = 0.003
INDEPENDENT = 40
"""Vertices err together with their neighbours: so many of a face's count as independent."""
PLACEMENT_DOUBTS = np.array([0.1, 0.1, 0.1, 0.02, 0.02, 0.02, 0.03])
"""Pose prior: how far the placement may turn (rad), move (m) and grow from the registration."""
SHARED_DOUBTS = np.array([1e-3, 1e-3, 1e-3, 0.02, 0.02, 0.02, 1e-3])
"""Of a face in the body's own frame: only its floor is not the template's."""
PEOPLE, MOVES = len(fields(Phenotypes)), len(PLACEMENT_DOUBTS)
SLOPE_STEP = 0.01


@dataclass(frozen=True, slots=True)
class SharedParameters:
    """The minimiser Theta."""

    phenotypes: Phenotypes
    face: FaceShape
    placement: Similarity
    """Takes the face's own frame to the body's rest pose."""
    seam_m: float
    """Root mean square of what is left of the seam loss."""


class HeadSolver:
    """Solves for the shared parameters; holds the rows of the bases that the face needs."""

    def __init__(self, model: BodyModel, region: PasteRegion) -> None:
        """Gather the bases.

        Args:
            model: the body with its identity basis.
            region: its face.
        """
        self._model = model
        rows = region.skin
        columns = (3 * rows[:, None] + np.arange(3)).reshape(-1)
        fine = model.basis_fine[:, columns] * model.basis_fine_step_m
        self._rows = rows
        self._template = model.template_m[rows].astype(np.float64)
        self._shapes = np.concatenate([model.basis_coarse_m[:, columns], fine]).astype(np.float64)
        self._own = _own_basis(model, rows)
        self._on_seam = np.isin(rows, region.seam)

    def solve(
        self, body: BodyEstimate, face: FaceEstimate, trust: F32 | None = None
    ) -> SharedParameters:
        """Minimise from the body's phenotypes, the average face and the rigid registration.

        Args:
            body: its phenotypes with their doubts.
            face: its vertices.
            trust: (V,) in [0, 1], how much each vertex of the face counts; None for all alike.
        """
        points = face.vertices_m[self._rows].astype(np.float64)
        weights = self._weights(face.confidence, trust)
        prior = self._prior(body, face, points, weights)
        theta, mean = prior.mean.copy(), points.mean(axis=0)
        for _ in range(ITERATIONS):
            people, own, moved = _split(theta)
            placement = _placed(prior.placement, moved, mean)
            left = apply(placement, points) - self._head(people, own)
            arms = placement.scale * (points - mean) @ placement.rotation.T
            slopes = (-self._slopes(people), -self._own, _placement_slopes(arms))
            jacobian = np.concatenate(slopes)
            weighted = jacobian * np.repeat(weights, 3)
            gradient = weighted @ left.reshape(-1) + (theta - prior.mean) * prior.stiffness
            step = np.linalg.solve(weighted @ jacobian.T + np.diag(prior.stiffness), -gradient)
            theta = theta + step
            theta[:PEOPLE] = np.clip(theta[:PEOPLE], 0.0, 1.0)
            if np.abs(step).max() < CONVERGED:
                break
        people, own, moved = _split(theta)
        placement = _placed(prior.placement, moved, mean)
        left = (apply(placement, points) - self._head(people, own))[self._on_seam]
        shape = FaceShape(own.astype(np.float32), face.confidence)
        seam_m = float(np.sqrt((left**2).sum(axis=1).mean()))
        return SharedParameters(Phenotypes(*map(float, people)), shape, placement, seam_m)

    def _prior(self, body: BodyEstimate, face: FaceEstimate, points: F64, weights: F64) -> _Prior:
        people = np.array(astuple(body.phenotypes))
        if face.shared is None:
            own, doubts = np.zeros(len(self._own)), PLACEMENT_DOUBTS
            placement = procrustes(points, self._head(people, own), weights)
        else:
            own, doubts = face.shared.astype(np.float64), SHARED_DOUBTS
            shift = (self._head(people, own) - points).mean(axis=0)
            placement = Similarity(1.0, np.eye(3), shift)
        spread = np.concatenate([astuple(body.doubts), np.ones_like(own), doubts])
        mean = np.concatenate([people, own, np.zeros(len(doubts))])
        return _Prior(mean, 1.0 / spread**2, placement)

    def _weights(self, confidence: float, trust: F32 | None) -> F64:
        """(N,) inverse variances of the face's vertices, those on the seam for both terms."""
        noise = FACE_NOISE_M * (1.0 + (1.0 - confidence) * (UNSURE - 1.0))
        share = min(1.0, INDEPENDENT / len(self._rows))
        trusted = 1.0 if trust is None else trust[self._rows].astype(np.float64)
        seam = self._on_seam * min(1.0, INDEPENDENT / max(1, self._on_seam.sum()))
        return np.asarray(share * trusted / noise**2 + seam * trusted / SEAM_NOISE_M**2)

    def _head(self, people: F64, own: F64) -> F64:
        """(N, 3) the face that the shared parameters make."""
        coefficients = self._model.coefficients(Phenotypes(*people)).astype(np.float64)
        moved = coefficients @ self._shapes + own @ self._own
        return np.asarray(self._template + moved.reshape(-1, 3))

    def _slopes(self, people: F64) -> F64:
        """(6, 3N) derivatives by the phenotypes, exact on the side that the step looks to."""
        here = self._model.coefficients(Phenotypes(*people)).astype(np.float64)
        changes = []
        for index in range(len(people)):
            step = SLOPE_STEP if people[index] < 0.5 else -SLOPE_STEP
            beside = people.copy()
            beside[index] += step
            there = self._model.coefficients(Phenotypes(*beside)).astype(np.float64)
            changes.append((there - here) / step)
        return np.asarray(np.array(changes) @ self._shapes)


@dataclass(frozen=True, slots=True)
class _Prior:
    """Normal, over phenotypes, coefficients and what moves the placement."""

    mean: F64
    stiffness: F64
    """Inverse variances."""
    placement: Similarity
    """Which the moves start from."""


def _split(theta: F64) -> tuple[F64, F64, F64]:
    """Phenotypes, coefficients, and turn, move and logarithm of scale."""
    return theta[:PEOPLE], theta[PEOPLE:-MOVES], theta[-MOVES:]


def _own_basis(model: BodyModel, rows: I32) -> F64:
    """(I, 3N) of the identity basis; vertices that it does not move get zeros."""
    place = np.full(len(model.template_m), -1)
    place[model.head_vertices] = np.arange(len(model.head_vertices))
    known = place[rows] >= 0
    basis = np.zeros((model.identity_count, len(rows), 3))
    own = model.head_basis.reshape(model.identity_count, -1, 3)[:, place[rows][known]]
    basis[:, known] = own * model.head_basis_step_m
    return basis.reshape(model.identity_count, -1)


def _placement_slopes(arms: F64) -> F64:
    """(7, 3N) of ``exp(scale) R arms + t`` by a turn about the face's middle, a move, a scale."""
    x, y, z = arms.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    turns = [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
    moves = [(one, zero, zero), (zero, one, zero), (zero, zero, one)]
    columns = [np.stack(c, axis=1).reshape(-1) for c in (*turns, *moves, (x, y, z))]
    return np.array(columns)


def _placed(first: Similarity, moved: F64, mean: F64) -> Similarity:
    """A placement turned, moved and scaled about the face's middle."""
    turn = quaternions.to_matrix(quaternions.from_rotation_vector(moved[:3]))
    scale = first.scale * float(np.exp(moved[6]))
    rotation = np.asarray(turn, np.float64) @ first.rotation
    middle = first.scale * first.rotation @ mean + first.translation + moved[3:6]
    return Similarity(scale, rotation, middle - scale * rotation @ mean)
