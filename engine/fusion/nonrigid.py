"""Non-rigid registration: a template surface warped onto another one, for dense correspondence.

The displacement of the template is a Gaussian process (Lüthi et al. 2018, *Gaussian process
morphable models*): smooth at a given width, and regressed on pairs of points, first on landmarks
alone, then on closest points at ever smaller widths, each field composed with the one before. So
large features find each other before small ones choose between neighbours. Dense systems of some
hundred points need no sparse solver.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.face.head_pose import procrustes
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.registration import apply, vertex_areas, vertex_directions
from engine.fusion.stitching import boundary_edges
from engine.types import F64

LANDMARK_WIDTH = 0.6
"""Width of the first field, in root mean square radii of the landmarks."""
WIDTHS = ((0.5, 300), (0.25, 600), (0.12, 1200), (0.06, 2000))
"""Widths of the later fields, in the same unit, and how many template points are paired."""
CARRIED = 3
"""How many of these widths there are landmarks for."""
ROUNDS = 4
"""Fields of each width."""
STEEPNESS = 0.15
"""Standard deviation of a field over its width: folds would need about one."""
LANDMARK_NOISE = 0.01
PAIR_NOISE = 0.015
FURTHEST = 0.12
"""Pairs further apart, at the widest field, are none; less in proportion to the width."""
ALIKE = 0.6
"""Cosine between normals below which a pair is none."""


@dataclass(frozen=True, slots=True)
class LandmarkPairs:
    """Places known to be the same on both surfaces."""

    template: F64
    """(L, 3), at least four, not all in a plane."""
    target: F64
    """(L, 3)."""


def warp(template: SurfaceTree, target: SurfaceTree, landmarks: LandmarkPairs) -> F64:
    """The template's vertices moved onto the target.

    Args:
        template: may reach beyond the target; what has no partner there moves with what has.
        target: any topology, may be open.
        landmarks: the start, and soft constraints to the end.

    Returns:
        (V, 3) in the target's coordinates, one for each vertex of the template.
    """
    weights = np.ones(len(landmarks.template))
    start = procrustes(landmarks.template, landmarks.target, weights)
    marks = apply(start, landmarks.template)
    vertices = apply(start, template.vertices)
    radius = float(np.sqrt(((landmarks.target - landmarks.target.mean(axis=0)) ** 2).sum(1).mean()))
    field = _Field.regress(
        marks, landmarks.target - marks, LANDMARK_WIDTH * radius, LANDMARK_NOISE * radius
    )
    vertices, marks = field.move(vertices), field.move(marks)
    pairing = _Pairing(template, target)
    for width, count in WIDTHS:
        for seed in range(ROUNDS):
            rows, partners = pairing.pairs(
                vertices, count, seed, FURTHEST * radius * width / WIDTHS[0][0]
            )
            field = _Field.regress(
                np.concatenate([marks, vertices[rows]]),
                np.concatenate([landmarks.target - marks, partners - vertices[rows]]),
                width * radius,
                PAIR_NOISE * radius,
            )
            vertices, marks = field.move(vertices), field.move(marks)
    return vertices


def carry(points: F64, landmarks: LandmarkPairs) -> F64:
    """(N, 3) points moved as landmarks around them are, by ever narrower fields.

    Enough, and far quicker than :func:`warp`, where landmarks lie dense.
    """
    centred = landmarks.target - landmarks.target.mean(axis=0)
    radius = float(np.sqrt((centred**2).sum(axis=1).mean()))
    moved, marks = points, landmarks.template
    for width in (LANDMARK_WIDTH, *(width for width, _ in WIDTHS[:CARRIED])):
        shift, noise = landmarks.target - marks, LANDMARK_NOISE * radius
        field = _Field.regress(marks, shift, width * radius, noise)
        moved, marks = field.move(moved), field.move(marks)
    return moved


@dataclass(frozen=True, slots=True)
class _Field:
    """A smooth displacement field ``u(x) = sum_i k(x, c_i) w_i`` with a Gaussian kernel."""

    centres: F64
    """(M, 3)."""
    weights: F64
    """(M, 3)."""
    width: float

    @staticmethod
    def regress(points: F64, displacements: F64, width: float, noise: float) -> _Field:
        """The field's mean, given noisy displacements (M, 3) at points (M, 3)."""
        share = (noise / (STEEPNESS * width)) ** 2
        covariance = _gaussian(points, points, width) + share * np.eye(len(points))
        weights = np.asarray(np.linalg.solve(covariance, displacements), np.float64)
        return _Field(points, weights, width)

    def move(self, points: F64) -> F64:
        return points + _gaussian(points, self.centres, self.width) @ self.weights


def _gaussian(one: F64, other: F64, width: float) -> F64:
    squared = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1) - 2.0 * one @ other.T
    return np.asarray(np.exp(np.minimum(-squared / (2.0 * width**2), 0.0)))


class _Pairing:
    """Finds for points of the moving template the points of the target that they mean."""

    def __init__(self, template: SurfaceTree, target: SurfaceTree) -> None:
        self._faces = template.faces
        areas = vertex_areas(template.vertices, template.faces)
        self._chances = areas / areas.sum()
        self._target = target
        self._normals = target.face_normals()
        self._is_border: NDArray[np.bool_] = np.zeros(len(target.vertices), np.bool_)
        self._is_border[boundary_edges(target.faces)] = True

    def pairs(
        self, vertices: F64, count: int, seed: int, furthest: float
    ) -> tuple[NDArray[np.intp], F64]:
        """Rows (M,) of the template's vertices, spread by area, and their partners (M, 3)."""
        rng = np.random.default_rng(seed)
        count = min(count, int((self._chances > 0.0).sum()))
        rows = rng.choice(len(vertices), count, replace=False, p=self._chances)
        found = self._target.closest(vertices[rows])
        directions = vertex_directions(vertices, self._faces)[rows]
        good = (directions * self._normals[found.triangles]).sum(axis=1) > ALIKE
        good &= np.linalg.norm(found.points - vertices[rows], axis=1) < furthest
        inner = ~self._is_border[self._target.faces[found.triangles]]
        good &= (found.barycentric * inner).sum(axis=1) > 0.0
        return rows[good], found.points[good]
