"""Registration of two surfaces: principal axes, then iterative closest points (SARS fusion (i)).

The start lines up the principal axes of the two inertia tensors; an axis has no sign, so the four
proper rotations are tried for some steps and the one whose surfaces fit best is kept. Refinement is
point-to-plane ICP (Chen and Medioni 1992): each source point is drawn to the tangent plane at its
closest point, which lets surfaces slide along each other. It is trimmed (Chetverikov et al. 2002),
and points whose closest point lies on the target's border, or faces another way, say nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine import quaternions
from engine.face.head_pose import Similarity
from engine.fusion.closest_point import SurfaceTree
from engine.fusion.stitching import boundary_edges
from engine.types import F32, F64, I32

IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))
PROPER_SIGNS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], np.float64)
"""The four ways to flip a right-handed set of axes into another."""
TRIAL_ITERATIONS = 6
ITERATIONS = 30
CONVERGED = 3e-4
"""A step that turns by less than this (rad) and moves by less than this share of the size ends."""
KEPT = 0.9
"""Share of the pairs, the closest, that count."""
ALIKE = 0.5
"""Cosine between two surfaces' normals below which a pair is none."""
SCALES = 1.6
"""A scale that leaves its start by more has collapsed, or never was near."""
SAMPLE = 2000
"""Points of each surface that look for partners."""
FEWEST_PAIRS = 12
DAMPING = 1e-9
ON_BORDER = 1e-6


@dataclass(frozen=True, slots=True)
class Registration:
    """How a source surface lies best on a target."""

    similarity: Similarity
    """Takes source coordinates to the target's."""
    residual: float
    """Root mean square distance to the tangent planes of the pairs that counted; infinite where
    there was nothing to go by."""
    share: float
    """In [0, 1]: of the points of both surfaces, how many had a partner."""


def apply(similarity: Similarity, points: F32 | F64) -> F64:
    """(N, 3) points taken by a similarity."""
    turned = np.asarray(points, np.float64) @ similarity.rotation.T
    return np.asarray(similarity.scale * turned + similarity.translation)


def inverse(similarity: Similarity) -> Similarity:
    """The similarity that undoes another."""
    rotation = similarity.rotation.T
    scale = 1.0 / similarity.scale
    return Similarity(scale, rotation, -scale * rotation @ similarity.translation)


def vertex_areas(vertices: F32 | F64, faces: I32) -> F64:
    """(V,) a third of the area of the triangles around each vertex."""
    a, b, c = np.moveaxis(np.asarray(vertices, np.float64)[faces], 1, 0)
    areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6.0
    total = np.zeros(len(vertices))
    np.add.at(total, faces, areas[:, None])
    return total


@dataclass(frozen=True, slots=True)
class PrincipalAxes:
    """Where a surface is and how it extends."""

    centre: F64
    """(3,)."""
    axes: F64
    """(3, 3) columns: right-handed, the longest extent first."""
    radius: float
    """Root mean square distance from the centre."""


def principal_axes(vertices: F32 | F64, faces: I32) -> PrincipalAxes:
    """Axes of the inertia tensor of a thin shell, so that dense triangles weigh no more.

    They are those of the covariance: the two tensors differ by a multiple of the identity.
    """
    weights = vertex_areas(vertices, faces)
    weights /= weights.sum()
    centre = weights @ vertices
    centred = vertices - centre
    _, axes = np.linalg.eigh(centred.T @ (weights[:, None] * centred))
    axes = axes[:, ::-1].copy()
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    return PrincipalAxes(centre, axes, float(np.sqrt(weights @ (centred**2).sum(axis=1))))


def register(
    source: SurfaceTree,
    target: SurfaceTree,
    *,
    scaled: bool = False,
    start: Similarity | None = None,
    kept: float = KEPT,
) -> Registration:
    """Lay a surface onto another.

    Pairs are made both ways, from either surface's points to the other: one way alone, a scaled
    source shrinks into whatever part of the target it resembles.

    Args:
        source: what moves.
        target: what stays; each surface may be open, and cover more than the other.
        scaled: also find an isotropic scale.
        start: near the answer; principal axes where there is none.
        kept: share of the closest pairs that count.
    """
    icp = _PointToPlane(_Side.of(source), _Side.of(target), scaled, kept)
    if start is None:
        trials = [icp.refine(one, TRIAL_ITERATIONS) for one in icp.axis_starts()]
        # Few partners may be close by chance, or because the source has shrunk to a point.
        start = min(trials, key=lambda one: one.residual / max(one.share, 1e-9)).similarity
    return icp.refine(start, ITERATIONS)


@dataclass(frozen=True, slots=True)
class _Side:
    """One surface: its search tree and the sample of points that look for partners."""

    tree: SurfaceTree
    axes: PrincipalAxes
    face_normals: F64
    is_border: NDArray[np.bool_]
    """(V,)."""
    points: F64
    """(M, 3)."""
    normals: F64
    """(M, 3)."""
    weights: F64
    """(M,) area."""

    @staticmethod
    def of(tree: SurfaceTree) -> _Side:
        areas = vertex_areas(tree.vertices, tree.faces)
        used = np.flatnonzero(areas > 0.0)
        if len(used) > SAMPLE:
            used = np.sort(np.random.default_rng(0).choice(used, SAMPLE, replace=False))
        is_border = np.zeros(len(tree.vertices), np.bool_)
        is_border[boundary_edges(tree.faces)] = True
        return _Side(
            tree,
            principal_axes(tree.vertices, tree.faces),
            tree.face_normals(),
            is_border,
            tree.vertices[used],
            vertex_directions(tree.vertices, tree.faces)[used],
            areas[used] / areas[used].sum(),
        )

    def partners(self, points: F64, normals: F64) -> tuple[F64, F64, F64, NDArray[np.bool_]]:
        """Closest points, the normals there, distances, and which of them mean the same place."""
        found = self.tree.closest(points)
        there = self.face_normals[found.triangles]
        inner = ~self.is_border[self.tree.faces[found.triangles]]
        good = (found.barycentric * inner).sum(axis=1) > ON_BORDER
        good &= (normals * there).sum(axis=1) > ALIKE
        return found.points, there, np.linalg.norm(points - found.points, axis=1), good


@dataclass(frozen=True, slots=True)
class _PointToPlane:
    source: _Side
    target: _Side
    scaled: bool
    kept: float

    def axis_starts(self) -> list[Similarity]:
        own, wanted = self.source.axes, self.target.axes
        scale = wanted.radius / own.radius if self.scaled else 1.0
        rotations = [(wanted.axes * signs) @ own.axes.T for signs in PROPER_SIGNS]
        return [Similarity(scale, r, wanted.centre - scale * r @ own.centre) for r in rotations]

    def refine(self, start: Similarity, iterations: int) -> Registration:
        found = Registration(start, np.inf, 0.0)
        for _ in range(iterations):
            pairs = self._pairs(found.similarity)
            if len(pairs.points) < FEWEST_PAIRS:
                return Registration(found.similarity, np.inf, pairs.share)
            step, residual = pairs.step(self.scaled)
            found = Registration(_after(step, found.similarity), residual, pairs.share)
            if not 1.0 / SCALES < found.similarity.scale / start.scale < SCALES:
                return Registration(start, np.inf, 0.0)
            turn = float(np.linalg.norm(step.rotation - np.eye(3)))
            moves = float(np.linalg.norm(apply(step, pairs.points) - pairs.points, axis=1).max())
            if turn < CONVERGED and moves < CONVERGED * self.target.axes.radius:
                break
        return found

    def _pairs(self, similarity: Similarity) -> _Pairs:
        """Both ways, the closest of them, in the target's coordinates."""
        back = inverse(similarity)
        moved = apply(similarity, self.source.points)
        turned = self.source.normals @ similarity.rotation.T
        ahead, normals, far, good = self.target.partners(moved, turned)
        behind, own_normals, near, reverse_good = self.source.partners(
            apply(back, self.target.points), self.target.normals @ back.rotation.T
        )
        points = np.concatenate([moved, apply(similarity, behind)])
        partners = np.concatenate([ahead, self.target.points])
        normals = np.concatenate([normals, own_normals @ similarity.rotation.T])
        distances = np.concatenate([far, similarity.scale * near])
        weights = np.concatenate([self.source.weights, self.target.weights])
        good = np.concatenate([good, reverse_good])
        share = float(good.mean())
        if good.any():
            good &= distances <= np.quantile(distances[good], self.kept)
        return _Pairs(points[good], partners[good], normals[good], weights[good], share)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """(N, 3) points that move, their partners, the planes' normals, and (N,) weights."""

    points: F64
    partners: F64
    normals: F64
    weights: F64
    share: float
    """Of all points, how many had a partner before the furthest were left out."""

    def step(self, scaled: bool) -> tuple[Similarity, float]:
        """Gauss-Newton on ``sum w (n . (s R p + t - q))^2``, linearised about the points' mean."""
        share = self.weights / self.weights.sum()
        centre = share @ self.points
        arms = self.points - centre
        size = float(np.sqrt(share @ (arms**2).sum(axis=1)))
        arms = arms / size
        columns = [np.cross(arms, self.normals), self.normals]
        if scaled:
            columns.append((arms * self.normals).sum(axis=1, keepdims=True))
        jacobian = np.hstack(columns)
        residual = ((self.points - self.partners) * self.normals).sum(axis=1) / size
        hessian = jacobian.T @ (share[:, None] * jacobian)
        # A sphere on a sphere may turn freely: damped, the least turn is taken.
        hessian += DAMPING * np.eye(len(hessian))
        step = np.linalg.solve(hessian, -jacobian.T @ (share * residual))
        rotation = _rotation(step[:3])
        scale = float(np.exp(step[6])) if scaled else 1.0
        translation = centre + size * step[3:6] - scale * rotation @ centre
        left = size * float(np.sqrt(share @ residual**2))
        return Similarity(scale, rotation, translation), left


def _rotation(vector: F64) -> F64:
    """(3, 3) of a rotation vector (3,), rad."""
    return np.asarray(quaternions.to_matrix(quaternions.from_rotation_vector(vector)), np.float64)


def _after(second: Similarity, first: Similarity) -> Similarity:
    """``second`` of what ``first`` yields."""
    return Similarity(
        second.scale * first.scale,
        second.rotation @ first.rotation,
        second.scale * second.rotation @ first.translation + second.translation,
    )


def vertex_directions(vertices: F64, faces: I32) -> F64:
    """(V, 3) unit normals, weighted by area."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    total = np.zeros_like(vertices)
    np.add.at(total, faces, np.cross(b - a, c - a)[:, None])
    lengths = np.linalg.norm(total, axis=1, keepdims=True)
    return np.asarray(total / np.where(lengths > 0.0, lengths, 1.0))
