"""Damped Gauss-Newton over the angles of a kinematic chain: the numerical core of SMPLify.

Every joint turns by a product of factors; a factor is the exponential of a few axes, each
multiplied by one unknown angle: ``R_j = prod_f exp(sum_t axis_t q_t)``. One angle may drive
several joints (a spine that bends as one), and a joint may be driven by several angles. Then a
point x carried by joint b moves with angle q by (Featherstone, *Rigid Body Dynamics Algorithms*)

    dx / dq = sum over terms t of q on the way to b:  omega_t x (x - p_j(t)),

with ``omega_t = G_parent R_before J_l(phi) axis_t`` and ``J_l`` the left Jacobian of SO(3).

Residuals are sums of four kinds, each robustified by Cauchy's function:
points seen in the picture, points whose place is known, directions of segments between two points,
and directions fixed in a joint (a whole rotation is three of them). On top come quadratic priors on
single angles, linear couplings between two angles, and one-sided quadratic joint limits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from engine.small_matrices import exponential, multiply, solve_cholesky, transform
from engine.types import F64, I32

CAUCHY_SCALE = 3.0
"""Residuals beyond this many standard deviations lose influence."""


class Chain(NamedTuple):
    """A skeleton and what its unknown angles do. The first ``free`` angles translate the root."""

    parents: I32
    """(J,), -1 for the root; parents come first."""
    offsets_m: F64
    """(J, 3): rest position relative to the parent's; the root's own rest position."""
    factor_starts: I32
    """(J + 1,): factors of joint j."""
    term_starts: I32
    """(F + 1,): terms of factor f."""
    term_angles: I32
    """(T,): the unknown that drives a term."""
    term_axes: F64
    """(T, 3): axis in rest axes times its share of the angle."""
    free: int
    """3 when the root may move, else 0."""


class Residuals(NamedTuple):
    """What is measured, frame after frame the same list; unseen entries have weight 0."""

    point_bones: I32
    """(P,): the joint that carries a point."""
    point_offsets_m: F64
    """(P, 3): from the joint, in rest axes."""
    segments: I32
    """(S, 2): from point to point."""
    aim_bones: I32
    """(D,): the joint of a direction residual."""
    aim_axes: F64
    """(D, 3): the direction fixed in that joint."""
    point_active: I32
    """(P, 1 + N): how many, then which unknowns move a point."""
    segment_active: I32
    """(S, 1 + N)."""
    aim_active: I32
    """(D, 1 + N)."""
    coupled: I32
    """(C, 2): angle i wants to equal ``coupling_ratios`` times angle j."""
    coupling_ratios: F64
    """(C,)."""
    coupling_weights: F64
    """(C,): 1 / variance."""


class Targets(NamedTuple):
    """One frame's measurements for :class:`Residuals`; weights are 1 / standard deviation."""

    points_px: F64
    """(P, 2)."""
    point_weights: F64
    """(P,): per pixel."""
    places_m: F64
    """(P, 3): where points are known to be."""
    place_weights: F64
    """(P, 2): per metre, in all directions, and along ``up`` besides."""
    up: F64
    """(3,) unit."""
    segment_directions: F64
    """(S, 3) unit."""
    segment_weights: F64
    """(S,): per radian."""
    aim_directions: F64
    """(D, 3) unit."""
    aim_weights: F64
    """(D,): per radian."""
    angle_means: F64
    """(N,): where priors pull an unknown."""
    angle_weights: F64
    """(N,): 1 / variance."""
    lower: F64
    """(N,): joint limits."""
    upper: F64
    """(N,)."""
    limit_weight: float
    """1 / variance of exceeding a limit."""
    camera: F64
    """(3,): focal length, cx, cy, px."""


class Workspace(NamedTuple):
    """Everything a solve writes to, allocated once."""

    angles: F64
    """(N,): the solution."""
    base: F64
    """(3, 3): root rotation that the root's angles perturb from the left."""
    trial: F64
    rotations: F64
    """(J, 3, 3): global."""
    positions_m: F64
    """(J, 3): global."""
    term_omegas: F64
    points_m: F64
    jacobians: F64
    """(P, 3, N)."""
    difference: F64
    hessian: F64
    gradient: F64
    factor: F64
    trial_hessian: F64
    trial_gradient: F64
    step: F64


def allocate(chain: Chain, residuals: Residuals) -> Workspace:
    """Zeroed buffers for a chain of N unknowns, J joints and P points, the base upright."""
    n, joints, points = residuals.point_active.shape[1] - 1, len(chain.parents), 0
    points = len(residuals.point_bones)
    return Workspace(
        angles=np.zeros(n),
        base=np.eye(3),
        trial=np.zeros(n),
        rotations=np.zeros((joints, 3, 3)),
        positions_m=np.zeros((joints, 3)),
        term_omegas=np.zeros((len(chain.term_angles), 3)),
        points_m=np.zeros((points, 3)),
        jacobians=np.zeros((points, 3, n)),
        difference=np.zeros((3, n)),
        hessian=np.zeros((n, n)),
        gradient=np.zeros(n),
        factor=np.zeros((n, n)),
        trial_hessian=np.zeros((n, n)),
        trial_gradient=np.zeros(n),
        step=np.zeros(n),
    )


@njit(cache=True, nogil=True)
def forward_kinematics(
    chain: Chain, angles: F64, base: F64, rotations: F64, positions: F64, omegas: F64
) -> None:
    """Global joint rotations (J, 3, 3) and positions (J, 3), and each term's world axis (T, 3)."""
    phi, spun = np.empty(3), np.empty(3)
    turn, left, product = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for j in range(len(chain.parents)):
        parent, g = chain.parents[j], rotations[j]
        if parent < 0:
            g[:] = np.eye(3)
            for i in range(3):
                positions[j, i] = chain.offsets_m[j, i] + (angles[i] if chain.free else 0.0)
        else:
            g[:] = rotations[parent]
            transform(g, chain.offsets_m[j], positions[j])
            for i in range(3):
                positions[j, i] += positions[parent, i]
        for f in range(chain.factor_starts[j], chain.factor_starts[j + 1]):
            phi[:] = 0.0
            for t in range(chain.term_starts[f], chain.term_starts[f + 1]):
                for i in range(3):
                    phi[i] += chain.term_axes[t, i] * angles[chain.term_angles[t]]
            exponential(phi, turn, left)
            for t in range(chain.term_starts[f], chain.term_starts[f + 1]):
                transform(left, chain.term_axes[t], spun)
                transform(g, spun, omegas[t])
            multiply(g, turn, product)
            g[:] = product
        if parent < 0:
            multiply(g, base, product)
            g[:] = product


@njit(cache=True, nogil=True)
def _add_lever(chain: Chain, omegas: F64, j: int, lever: F64, out: F64) -> None:
    """Add ``omega x lever`` of every term of joint j to the columns of ``out`` (3, N)."""
    for f in range(chain.factor_starts[j], chain.factor_starts[j + 1]):
        for t in range(chain.term_starts[f], chain.term_starts[f + 1]):
            n, w = chain.term_angles[t], omegas[t]
            out[0, n] += w[1] * lever[2] - w[2] * lever[1]
            out[1, n] += w[2] * lever[0] - w[0] * lever[2]
            out[2, n] += w[0] * lever[1] - w[1] * lever[0]


@njit(cache=True, nogil=True)
def pose(chain: Chain, residuals: Residuals, work: Workspace) -> None:
    """Joints and points of the workspace's angles, without Jacobians."""
    rotations, positions = work.rotations, work.positions_m
    forward_kinematics(chain, work.angles, work.base, rotations, positions, work.term_omegas)
    for p in range(len(residuals.point_bones)):
        bone, point = residuals.point_bones[p], work.points_m[p]
        transform(rotations[bone], residuals.point_offsets_m[p], point)
        for i in range(3):
            point[i] += positions[bone, i]


@njit(cache=True, nogil=True)
def point_jacobians(chain: Chain, residuals: Residuals, work: Workspace) -> None:
    """Global points (P, 3) and their Jacobians (P, 3, N), from the kinematics in ``work``."""
    lever = np.empty(3)
    for p in range(len(residuals.point_bones)):
        j, x, out = residuals.point_bones[p], work.points_m[p], work.jacobians[p]
        transform(work.rotations[j], residuals.point_offsets_m[p], x)
        for i in range(3):
            x[i] += work.positions_m[j, i]
        out[:] = 0.0
        if chain.free:
            for i in range(3):
                out[i, i] = 1.0
        while j >= 0:
            for i in range(3):
                lever[i] = x[i] - work.positions_m[j, i]
            _add_lever(chain, work.term_omegas, j, lever, out)
            j = chain.parents[j]


@njit(cache=True, nogil=True)
def _accumulate(
    jacobian: F64, active: I32, information: F64, pull: F64, hessian: F64, gradient: F64
) -> None:
    """Add J^T A J and J^T b over the active unknowns (lower triangle), A (3, 3), b (3,)."""
    for a in range(1, active[0] + 1):
        m = active[a]
        x = jacobian[0, m]
        y = jacobian[1, m]
        z = jacobian[2, m]
        gradient[m] += x * pull[0] + y * pull[1] + z * pull[2]
        u = information[0, 0] * x + information[0, 1] * y + information[0, 2] * z
        v = information[1, 0] * x + information[1, 1] * y + information[1, 2] * z
        w = information[2, 0] * x + information[2, 1] * y + information[2, 2] * z
        for b in range(1, a + 1):
            n = active[b]
            hessian[m, n] += u * jacobian[0, n] + v * jacobian[1, n] + w * jacobian[2, n]


@njit(cache=True, nogil=True)
def _robust(squared: float) -> tuple[float, float]:
    """Cauchy's cost and weight of a squared residual in standard deviations."""
    c2 = CAUCHY_SCALE * CAUCHY_SCALE
    return 0.5 * c2 * np.log1p(squared / c2), 1.0 / (1.0 + squared / c2)


@njit(cache=True, nogil=True)
def _add_point(x: F64, px: F64, weight: float, camera: F64, information: F64, pull: F64) -> float:
    """Reprojection of one point: fills A and b, returns the robust cost."""
    f, depth = camera[0], -x[2] if x[2] < -0.05 else 0.05
    du = (camera[1] + f * x[0] / depth - px[0]) * weight
    dv = (camera[2] - f * x[1] / depth - px[1]) * weight
    s = f / depth * weight
    ux, uz = s, s * x[0] / depth
    vy, vz = -s, -s * x[1] / depth
    cost, k = _robust(du * du + dv * dv)
    information[:] = 0.0
    information[0, 0] = k * ux * ux
    information[1, 1] = k * vy * vy
    information[2, 2] = k * (uz * uz + vz * vz)
    information[0, 2] = information[2, 0] = k * ux * uz
    information[1, 2] = information[2, 1] = k * vy * vz
    pull[0] = k * ux * du
    pull[1] = k * vy * dv
    pull[2] = k * (uz * du + vz * dv)
    return cost


@njit(cache=True, nogil=True)
def _add_place(x: F64, place: F64, weights: F64, up: F64, information: F64, pull: F64) -> float:
    """A point that should be at a place, or at its height: fills A and b, returns the cost."""
    apart = x - place
    height = apart[0] * up[0] + apart[1] * up[1] + apart[2] * up[2]
    every, along = weights[0] * weights[0], weights[1] * weights[1]
    squared = apart[0] * apart[0] + apart[1] * apart[1] + apart[2] * apart[2]
    cost, k = _robust(every * squared + along * height * height)
    for i in range(3):
        pull[i] = k * (every * apart[i] + along * height * up[i])
        for j in range(3):
            information[i, j] = k * along * up[i] * up[j]
        information[i, i] += k * every
    return cost


@njit(cache=True, nogil=True)
def _add_direction(vector: F64, target: F64, weight: float, information: F64, pull: F64) -> float:
    """A vector that should point along the unit ``target``: fills A and b, returns the cost.

    With u = vector / |vector| the residual is u - target, and du = (1 - u u^T) dvector / |vector|.
    """
    length = max(np.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2), 1e-4)
    along, squared = 0.0, 0.0
    for i in range(3):
        u = vector[i] / length
        along += u * target[i]
        squared += (u - target[i]) ** 2
    cost, k = _robust(squared * weight * weight)
    scale = k * weight * weight / length
    for i in range(3):
        u = vector[i] / length
        pull[i] = scale * (u * along - target[i])
        for j in range(3):
            information[i, j] = -scale / length * u * vector[j] / length
        information[i, i] += scale / length
    return cost


@njit(cache=True, nogil=True)
def _add_angles(
    residuals: Residuals, targets: Targets, angles: F64, hessian: F64, gradient: F64
) -> float:
    """Priors, couplings and one-sided limits on the unknowns themselves."""
    cost = 0.0
    for n in range(len(angles)):
        w, d = targets.angle_weights[n], angles[n] - targets.angle_means[n]
        over = max(angles[n] - targets.upper[n], 0.0) + min(angles[n] - targets.lower[n], 0.0)
        limit = targets.limit_weight if over != 0.0 else 0.0
        hessian[n, n] += w + limit
        gradient[n] += w * d + limit * over
        cost += 0.5 * (w * d * d + limit * over * over)
    for c in range(len(residuals.coupled)):
        i, j = residuals.coupled[c, 0], residuals.coupled[c, 1]
        ratio, w = residuals.coupling_ratios[c], residuals.coupling_weights[c]
        d = angles[i] - ratio * angles[j]
        hessian[i, i] += w
        hessian[j, j] += w * ratio * ratio
        hessian[max(i, j), min(i, j)] -= w * ratio
        gradient[i] += w * d
        gradient[j] -= w * ratio * d
        cost += 0.5 * w * d * d
    return cost


@njit(cache=True, nogil=True)
def linearize(
    chain: Chain,
    residuals: Residuals,
    targets: Targets,
    work: Workspace,
    angles: F64,
    hessian: F64,
    gradient: F64,
) -> float:
    """Cost at ``angles``, its gradient (N,) and Gauss-Newton Hessian (N, N), lower triangle."""
    rotations, positions = work.rotations, work.positions_m
    forward_kinematics(chain, angles, work.base, rotations, positions, work.term_omegas)
    point_jacobians(chain, residuals, work)
    hessian[:] = 0.0
    gradient[:] = 0.0
    information, pull, vector = np.empty((3, 3)), np.empty(3), np.empty(3)
    cost = _add_angles(residuals, targets, angles, hessian, gradient)
    for p in range(len(residuals.point_bones)):
        if targets.point_weights[p] > 0.0:
            weight, px = targets.point_weights[p], targets.points_px[p]
            cost += _add_point(work.points_m[p], px, weight, targets.camera, information, pull)
            active, jacobian = residuals.point_active[p], work.jacobians[p]
            _accumulate(jacobian, active, information, pull, hessian, gradient)
        if targets.place_weights[p, 0] > 0.0 or targets.place_weights[p, 1] > 0.0:
            place, weights = targets.places_m[p], targets.place_weights[p]
            cost += _add_place(work.points_m[p], place, weights, targets.up, information, pull)
            active, jacobian = residuals.point_active[p], work.jacobians[p]
            _accumulate(jacobian, active, information, pull, hessian, gradient)
    for s in range(len(residuals.segments)):
        if targets.segment_weights[s] > 0.0:
            a, b = residuals.segments[s, 0], residuals.segments[s, 1]
            active = residuals.segment_active[s]
            for i in range(3):
                vector[i] = work.points_m[b, i] - work.points_m[a, i]
                for k in range(1, active[0] + 1):
                    n = active[k]
                    work.difference[i, n] = work.jacobians[b, i, n] - work.jacobians[a, i, n]
            weight, target = targets.segment_weights[s], targets.segment_directions[s]
            cost += _add_direction(vector, target, weight, information, pull)
            _accumulate(work.difference, active, information, pull, hessian, gradient)
    for d in range(len(residuals.aim_bones)):
        if targets.aim_weights[d] > 0.0:
            j, active = residuals.aim_bones[d], residuals.aim_active[d]
            transform(work.rotations[j], residuals.aim_axes[d], vector)
            work.difference[:] = 0.0
            while j >= 0:
                _add_lever(chain, work.term_omegas, j, vector, work.difference)
                j = chain.parents[j]
            weight, target = targets.aim_weights[d], targets.aim_directions[d]
            cost += _add_direction(vector, target, weight, information, pull)
            _accumulate(work.difference, active, information, pull, hessian, gradient)
    return cost


@njit(cache=True, nogil=True)
def solve(
    chain: Chain,
    residuals: Residuals,
    targets: Targets,
    work: Workspace,
    iterations: int,
    tolerance: float,
) -> tuple[float, int]:
    """Levenberg-Marquardt from ``work.angles``; leaves the solution, posed, in ``work``.

    Stops after ``iterations`` accepted or refused steps, or when a step gains less than the share
    ``tolerance`` of the cost. Returns (cost, steps tried).
    """
    damping, tried = 1e-4, 0
    cost = linearize(chain, residuals, targets, work, work.angles, work.hessian, work.gradient)
    while tried < iterations:
        tried += 1
        if not solve_cholesky(work.hessian, damping, work.factor, work.gradient, work.step):
            damping = damping * 10.0
            continue
        for n in range(len(work.step)):
            work.trial[n] = work.angles[n] + work.step[n]
        trial_cost = linearize(
            chain, residuals, targets, work, work.trial, work.trial_hessian, work.trial_gradient
        )
        if trial_cost < cost:
            gain = cost - trial_cost
            cost, damping = trial_cost, max(damping * 0.2, 1e-7)
            work.angles[:] = work.trial
            work.hessian[:] = work.trial_hessian
            work.gradient[:] = work.trial_gradient
            if gain < tolerance * cost:
                break
        else:
            damping = damping * 10.0
    pose(chain, residuals, work)
    return cost, tried
