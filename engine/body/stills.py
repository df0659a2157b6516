"""SMPLify on a still: pose, shape and place of a parametric body from 2D joints.

    E = sum_i w_i rho(project(J_i) - j_i)  +  lambda_theta E_pose  +  lambda_beta |beta|^2
        + E_limits  (+ E_interpenetration)                        Bogo et al. 2016, eq. (1)

with rho Geman and McClure's function. The start is what costs: camera and turn come from the torso,
then priors are loosened in stages; where nothing else is known, the person is also tried turned
away, since 2D joints cannot tell front from back (their section 3.3). Nothing here is per frame:
the live fit is :mod:`engine.body.smplify`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine import quaternions
from engine.avatar.parametric_body import ParametricBody
from engine.body.parametric_jacobian import pose_with_derivatives
from engine.body.pose_priors import BODY_JOINTS, PosePrior, Spheres, limit_residuals
from engine.errors import AvatarError
from engine.types import F64, Camera

ACCURACY = 0.015
"""Standard deviation of a 2D joint, as a share of the person's height in the picture."""
OUTLIER = 0.1
"""Where a joint's influence begins to end, likewise."""
BETAS = 10
STAGES = ((10.0, 10.0), (3.0, 5.0), (1.0, 2.0), (0.3, 1.0))
"""Weights of pose and shape prior, loosened as in SMPLify."""
ITERATIONS = 12
TOLERANCE = 1e-4
OVERLAP_M = 0.01
"""Standard deviation of a depth by which two parts may lie in one another."""
CLEARLY = 0.8
"""A fit from the mean pose must cost less than this share of one that knew where to begin."""
FEWEST = 6
TORSO = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")


@dataclass(frozen=True, slots=True)
class Landmark:
    """A point of the body that 2D joints are compared with: a joint of the model or a vertex."""

    name: str
    joint: int = -1
    vertex: int = -1


@dataclass(frozen=True, slots=True)
class Start:
    """A pose to begin from."""

    name: str
    rotations: F64
    """(J, 3) axis-angle, the root's first; glTF axes of the camera."""
    betas: F64
    """(B,)."""
    translation_m: F64 | None = None
    """(3,) if it is known; else from the size of the torso."""


@dataclass(frozen=True, slots=True)
class StillFit:
    """The best pose found."""

    rotations: F64
    """(J, 3)."""
    betas: F64
    """(BETAS,)."""
    translation_m: F64
    """(3,) added to the posed body, camera space."""
    cost: float
    error_px: float
    """Mean distance of the 2D joints, weighted by confidence."""
    start: str
    """Which start led there."""


class StillFitter:
    """Fits one body model. Not for two threads at once; deterministic."""

    def __init__(
        self,
        body: ParametricBody,
        landmarks: Sequence[Landmark],
        prior: PosePrior,
        spheres: Spheres | None = None,
    ) -> None:
        """Say what is compared with what.

        Args:
            body: of SMPL's family: its first 22 joints are SMPL's.
            landmarks: K points in the order of the 2D joints.
            prior: of likely poses.
            spheres: of the body, where its parts must not lie in one another.
        """
        self._body, self._prior, self._spheres = body, prior, spheres
        self._landmarks = tuple(landmarks)
        self._vertices = np.array([k.vertex for k in landmarks if k.vertex >= 0], np.int32)
        self._is_vertex = np.array([k.vertex >= 0 for k in landmarks])
        self._joints = np.array([k.joint for k in landmarks if k.vertex < 0], np.int32)
        names = [k.name for k in landmarks]
        self._torso = [names.index(name) for name in TORSO if name in names]
        self._betas = min(BETAS, body.betas)

    def fit(
        self, points_px: F64, confidence: F64, camera: Camera, starts: Sequence[Start] = ()
    ) -> StillFit:
        """The likeliest pose that looks like this.

        Args:
            points_px: (K, 2) 2D joints; one that is not a number counts as not seen.
            confidence: (K,) in [0, 1]; 0 is not seen.
            camera: of the picture.
            starts: poses to begin from besides the mean pose, by those who have seen more than 2D
                joints, and so know front from back: only a clearly better fit replaces theirs.

        Raises:
            AvatarError: shapes do not fit, or too few joints are seen to tell a pose.
        """
        count = len(self._landmarks)
        if points_px.shape != (count, 2) or confidence.shape != (count,):
            raise AvatarError(
                f"expected {count} 2D joints with a confidence each, found {points_px.shape} and "
                f"{confidence.shape}"
            )
        whole = np.isfinite(points_px).all(axis=1) & np.isfinite(confidence)
        trust = np.where(whole, np.clip(np.nan_to_num(confidence), 0.0, 1.0), 0.0)
        seen = trust > 0.0
        if seen.sum() < FEWEST or sum(seen[k] for k in self._torso) < 3:
            raise AvatarError(
                f"expected {FEWEST} 2D joints or more with three of shoulders and hips, found "
                f"{int(seen.sum())}; a pose cannot be told from them"
            )
        pixels = np.where(whole[:, None], points_px, 0.0)
        height = float(np.linalg.norm(np.ptp(pixels[seen], axis=0)))
        sight = _Sight(pixels, np.sqrt(trust), max(height, 1.0), camera)
        blind = [self._from(start, sight) for start in self._blind_starts()]
        best = min(blind, key=lambda fit: fit.cost)
        if not starts:
            return best
        informed = min((self._from(start, sight) for start in starts), key=lambda fit: fit.cost)
        return best if best.cost < CLEARLY * informed.cost else informed

    def _blind_starts(self) -> list[Start]:
        """The mean pose, seen from the front and from behind."""
        j = len(self._body.parents)
        mean = np.zeros((j, 3))
        mean[1 : 1 + BODY_JOINTS] = self._prior.means[int(np.argmin(self._prior.offsets))].reshape(
            -1, 3
        )
        start = Start("mean", mean, np.zeros(self._betas))
        return [start, _turned_around(start)]

    def _from(self, start: Start, sight: _Sight) -> StillFit:
        unknowns = _Unknowns(start, self._betas)
        if start.translation_m is None:
            unknowns.place = self._first_place(unknowns, sight)
        else:
            unknowns.place = np.asarray(start.translation_m, np.float64).copy()
        self._solve(unknowns, sight, STAGES[0], torso_only=True)
        cost = np.inf
        for stage in STAGES:
            cost = self._solve(unknowns, sight, stage, torso_only=False)
        points, _, _ = self._points(unknowns)
        apart = np.linalg.norm(sight.project(points) - sight.pixels, axis=1)
        weight = sight.trust**2
        return StillFit(
            unknowns.rotations.copy(),
            unknowns.betas.copy(),
            unknowns.place.copy(),
            float(cost),
            float((weight * apart).sum() / weight.sum()),
            start.name,
        )

    def _first_place(self, unknowns: _Unknowns, sight: _Sight) -> F64:
        """Depth from the size of the torso (similar triangles), the rest from its middle."""
        points, _, _ = self._points(unknowns)
        rows = [k for k in self._torso if sight.trust[k] > 0.0]
        flat = points[rows, :2] - points[rows, :2].mean(axis=0)
        drawn = sight.pixels[rows] - sight.pixels[rows].mean(axis=0)
        size = float(np.linalg.norm(flat)) / max(float(np.linalg.norm(drawn)), 1.0)
        depth = float(np.clip(sight.camera.focal_px * size, 0.3, 100.0))
        middle, u = points[rows].mean(axis=0), sight.pixels[rows].mean(axis=0)
        scale = depth / sight.camera.focal_px
        there = [(u[0] - sight.camera.cx) * scale, -(u[1] - sight.camera.cy) * scale, -depth]
        return np.asarray(np.array(there) - middle, np.float64)

    def _points(self, unknowns: _Unknowns) -> tuple[F64, F64, tuple[F64, F64]]:
        """(K, 3) landmarks and their (K, 3, N) derivatives; the same of the J joints."""
        body = self._body
        shape = np.zeros(len(body.shape_dirs_m))
        shape[: self._betas] = unknowns.betas
        posed = pose_with_derivatives(
            body, self._vertices, shape, unknowns.rotations, unknowns.place
        )
        by_joint = unknowns.columns(posed.joints_by_pose, posed.joints_by_shape)
        count = len(self._landmarks)
        points, by = np.empty((count, 3)), np.empty((count, 3, by_joint.shape[2]))
        points[~self._is_vertex] = posed.joints_m[self._joints]
        by[~self._is_vertex] = by_joint[self._joints]
        if len(self._vertices):
            points[self._is_vertex] = posed.vertices_m
            by[self._is_vertex] = unknowns.columns(posed.vertices_by_pose, posed.vertices_by_shape)
        return points, by, (posed.joints_m, by_joint)

    def _solve(
        self, unknowns: _Unknowns, sight: _Sight, weights: tuple[float, float], torso_only: bool
    ) -> float:
        """Levenberg-Marquardt; returns the cost reached."""
        free = np.arange(unknowns.count) < 6 if torso_only else np.ones(unknowns.count, bool)
        damping = 1e-3
        cost, hessian, gradient = self._linearize(unknowns, sight, weights, torso_only)
        for _ in range(ITERATIONS):
            h, g = hessian[np.ix_(free, free)], gradient[free]
            step = np.zeros(unknowns.count)
            step[free] = -np.linalg.solve(h + damping * np.diag(np.diag(h) + 1e-6), g)
            trial = unknowns.moved(step)
            found, trial_hessian, trial_gradient = self._linearize(
                trial, sight, weights, torso_only
            )
            if found < cost:
                gained = (cost - found) / cost
                unknowns.take(trial)
                cost, hessian, gradient = found, trial_hessian, trial_gradient
                damping = max(damping * 0.3, 1e-7)
                if gained < TOLERANCE:
                    break
            else:
                damping *= 10.0
        return cost

    def _linearize(
        self, unknowns: _Unknowns, sight: _Sight, weights: tuple[float, float], torso_only: bool
    ) -> tuple[float, F64, F64]:
        points, by, joints = self._points(unknowns)
        trust = sight.trust
        if torso_only:
            trust = np.zeros_like(trust)
            trust[self._torso] = sight.trust[self._torso]
        cost, rows, jacobian = sight.reprojection(points, by, trust)
        residuals, jacobians = [rows], [jacobian]
        pose, shape = (float(np.sqrt(w)) for w in weights)
        theta, n = unknowns.theta, unknowns.count
        likely, likely_slopes, offset = self._prior.residuals(theta)
        limits, limit_slopes = limit_residuals(theta)
        cost += weights[0] * offset
        for found, slopes in ((pose * likely, pose * likely_slopes), (limits, limit_slopes)):
            block = np.zeros((len(found), n))
            block[:, 6 : 6 + len(theta)] = slopes
            residuals.append(found)
            jacobians.append(block)
        block = np.zeros((len(unknowns.betas), n))
        block[:, n - len(unknowns.betas) :] = shape * np.eye(len(unknowns.betas))
        residuals.append(shape * unknowns.betas)
        jacobians.append(block)
        if self._spheres is not None and not torso_only:
            depth, own = self._spheres.residuals(*joints)
            residuals.append(depth / OVERLAP_M)
            jacobians.append(own / OVERLAP_M)
        for found in residuals[1:]:
            cost += 0.5 * float(found @ found)
        r, j = np.concatenate(residuals), np.concatenate(jacobians)
        return cost, j.T @ j, j.T @ r


class _Unknowns:
    """Place, root, 21 joints and betas: 3 + 3 + 63 + B numbers; hands and face rest."""

    def __init__(self, start: Start, betas: int) -> None:
        self.place = np.zeros(3)
        self.rotations = np.array(start.rotations, np.float64)
        self.betas = np.zeros(betas)
        given = start.betas[:betas]
        self.betas[: len(given)] = given
        self.used = 1 + BODY_JOINTS
        self.count = 3 + 3 * self.used + betas

    @property
    def theta(self) -> F64:
        """(63,) joints after the root."""
        return self.rotations[1 : self.used].reshape(-1)

    def columns(self, by_pose: F64, by_shape: F64) -> F64:
        """(P, 3, N) derivatives of points by these unknowns."""
        count = len(by_pose)
        moved = np.broadcast_to(np.eye(3), (count, 3, 3))
        turned = by_pose[:, :, : self.used].reshape(count, 3, -1)
        return np.concatenate([moved, turned, by_shape[:, :, : len(self.betas)]], axis=2)

    def moved(self, step: F64) -> _Unknowns:
        """Others, a step away."""
        other = _Unknowns(Start("", self.rotations, self.betas), len(self.betas))
        other.place = self.place + step[:3]
        end = 3 + 3 * self.used
        other.rotations[: self.used] += step[3:end].reshape(-1, 3)
        other.betas += step[end:]
        return other

    def take(self, other: _Unknowns) -> None:
        """Become the other; a root past half a turn goes the short way round."""
        self.place, self.betas, self.rotations = other.place, other.betas, other.rotations
        angle = float(np.linalg.norm(self.rotations[0]))
        if angle > np.pi:
            self.rotations[0] *= 1.0 - 2.0 * np.pi / angle


@dataclass(frozen=True, slots=True)
class _Sight:
    """What is seen, and through which camera."""

    pixels: F64
    trust: F64
    """(K,) square roots of confidences."""
    height_px: float
    camera: Camera

    def project(self, points: F64) -> F64:
        """(K, 2) pixels."""
        scale = self.camera.focal_px / np.maximum(-points[:, 2], 0.05)
        return np.stack(
            [self.camera.cx + scale * points[:, 0], self.camera.cy - scale * points[:, 1]], axis=1
        )

    def reprojection(self, points: F64, by: F64, trust: F64) -> tuple[float, F64, F64]:
        """Robust cost, and weighted residuals (2K,) with their Jacobian (2K, N)."""
        sigma = ACCURACY * self.height_px
        limit = (OUTLIER / ACCURACY) ** 2
        depth = np.maximum(-points[:, 2], 0.05)
        scale = self.camera.focal_px / depth
        found = (self.project(points) - self.pixels) / sigma * trust[:, None]
        du = scale[:, None] * (by[:, 0] + (points[:, 0] / depth)[:, None] * by[:, 2])
        dv = -scale[:, None] * (by[:, 1] + (points[:, 1] / depth)[:, None] * by[:, 2])
        squared = (found**2).sum(axis=1)
        cost = 0.5 * float((limit * squared / (limit + squared)).sum())
        root = limit / (limit + squared)  # the square root of rho's weight
        factor = root * trust / sigma
        jacobian = np.stack([du * factor[:, None], dv * factor[:, None]], axis=1)
        return cost, (found * root[:, None]).reshape(-1), jacobian.reshape(-1, by.shape[2])


def _turned_around(start: Start) -> Start:
    """The same pose by somebody who turns their back."""
    half = quaternions.from_rotation_vector(np.array([0.0, np.pi, 0.0]))
    root = quaternions.from_rotation_vector(np.asarray(start.rotations[0], np.float64))
    rotations = np.array(start.rotations, np.float64)
    rotations[0] = quaternions.to_rotation_vector(quaternions.multiply(half, root))
    return Start(f"{start.name}, turned", rotations, start.betas)


def spheres_of(body: ParametricBody, bones: Sequence[tuple[int, int, int]]) -> Spheres:
    """Spheres along bones, as thick as the mean body is there.

    Args:
        body: of SMPL's family.
        bones: (start joint, end joint, how many spheres).
    """
    starts, ends, shares, radii = [], [], [], []
    template = body.template_m.astype(np.float64)
    joints = body.joint_template_m.astype(np.float64)
    for a, b, count in bones:
        near = template[np.argmax(body.weights, axis=1) == a]
        if not len(near):
            continue
        axis = joints[b] - joints[a]
        length = max(float(axis @ axis), 1e-9)
        along = (near - joints[a]) @ axis / length
        away = np.linalg.norm(near - joints[a] - along[:, None] * axis, axis=1)
        for share in (np.arange(count) + 0.5) / count:
            here = np.abs(along - share) < 0.5 / count
            radius = float(np.median(away[here] if here.any() else away))
            starts.append(a)
            ends.append(b)
            shares.append(float(share))
            radii.append(radius)
    s, e = np.array(starts, np.int32), np.array(ends, np.int32)
    f, r = np.array(shares), np.array(radii)
    centres = (1.0 - f)[:, None] * joints[s] + f[:, None] * joints[e]
    pairs = [
        (i, j)
        for i in range(len(s))
        for j in range(i)
        if not {s[i], e[i]} & {s[j], e[j]}
        and np.linalg.norm(centres[i] - centres[j]) > 1.1 * (r[i] + r[j])
    ]
    return Spheres(s, e, f, r, np.array(pairs, np.int32).reshape(-1, 2))


BONES: tuple[tuple[int, int, int], ...] = (
    (0, 6, 3), (6, 12, 3), (12, 15, 1),
    (1, 4, 4), (4, 7, 4), (2, 5, 4), (5, 8, 4),
    (16, 18, 3), (18, 20, 3), (17, 19, 3), (19, 21, 3),
)  # fmt: skip
"""Of SMPL's family: trunk, neck, legs, arms."""
