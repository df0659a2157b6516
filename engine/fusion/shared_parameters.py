"""Optimisation fusion, eqs (10)-(11): one head that the body's and the face's modules agree on.

Both share the parameters ``Theta = {phenotypes, face coefficients, placement}``. Minimised is

    sum_i w_i |s R f_i + t - v_i(Theta)|^2 + seam loss + shape prior + pose prior

over the face's vertices f_i, which the face's module gives in a scale and place of its own. The
first term is the face's evidence. The seam loss ``L_s``, the same distances over the seam S, makes
both agree where they are joined. The shape prior keeps the phenotypes near those that the body's
module found and the coefficients near the average face; the pose prior keeps the face's placement
near the rigid registration it starts from.

Everything is linear but the rotation and the phenotypes, and these are linear between two of
their anchors: Gauss-Newton with exact derivatives, a few steps.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np

from engine import quaternions
from engine.avatar.anny import BodyModel
from engine.face.head_pose import Similarity, procrustes
from engine.fusion.estimates import BodyEstimate, FaceEstimate
from engine.fusion.paste_region import PasteRegion
from engine.types import F32, F64, I32, FaceShape, Phenotypes

ITERATIONS = 8
CONVERGED = 1e-4
FACE_NOISE_M = 0.0015
"""Standard deviation of a sure face's vertices; an unsure one's is larger by up to this factor:"""
UNSURE = 4.0
SEAM_NOISE_M = 0.003
INDEPENDENT = 40
"""Vertices err together with their neighbours: so many of a face's count as independent."""
SCALE_DOUBT, TURN_DOUBT_RAD, MOVE_DOUBT_M = 0.03, 0.1, 0.02
"""Pose prior: how far the placement may go from the rigid registration."""
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
        start = np.array(astuple(body.phenotypes))
        doubts = np.array(astuple(body.doubts))
        own = np.zeros(len(self._own))
        people, mean = start.copy(), points.mean(axis=0)
        first = procrustes(points, self._head(people, own), weights)
        placement, moved = first, np.zeros(7)
        for _ in range(ITERATIONS):
            slopes = self._slopes(people)
            arms = placement.scale * (points - mean) @ placement.rotation.T
            left = arms + placement.rotation @ mean * placement.scale + placement.translation
            left -= self._head(people, own)
            jacobian = np.concatenate([-slopes, -self._own, _placement_slopes(arms)])
            prior = np.concatenate([
                (people - start) / doubts**2, own, moved / _PLACEMENT_DOUBTS**2,
            ])  # fmt: skip
            stiffness = np.concatenate([1 / doubts**2, np.ones_like(own), 1 / _PLACEMENT_DOUBTS**2])
            weighted = jacobian * np.repeat(weights, 3)
            hessian = weighted @ jacobian.T + np.diag(stiffness)
            step = np.linalg.solve(hessian, -(weighted @ left.reshape(-1) + prior))
            people = np.clip(people + step[:6], 0.0, 1.0)
            own = own + step[6:-7]
            moved = moved + step[-7:]
            placement = _placed(first, moved, mean)
            if np.abs(step).max() < CONVERGED:
                break
        seam = (left[self._on_seam] ** 2).sum(axis=1).mean() ** 0.5
        shape = FaceShape(own.astype(np.float32), face.confidence)
        return SharedParameters(Phenotypes(*map(float, people)), shape, placement, float(seam))

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


_PLACEMENT_DOUBTS = np.array([*[TURN_DOUBT_RAD] * 3, *[MOVE_DOUBT_M] * 3, SCALE_DOUBT])


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
