"""The body's least-squares problem for one person: set up once, measured and solved every frame."""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.body import body_targets as measured
from engine.body.body_targets import BODY_SEGMENTS, SEGMENTS, HeadPose, body_points
from engine.body.gauss_newton import (
    Residuals,
    Targets,
    allocate,
    forward_kinematics,
    linearize,
    pose,
    solve,
)
from engine.body.ground import SOLES
from engine.body.inverse_kinematics import ARM, LEG, limb_angles, torso_rotation, translation
from engine.body.joint_angles import COUPLINGS, SIDES, RestJoints, body_model
from engine.body.landmark_embedding import BODY_POINTS, LandmarkEmbedding
from engine.body.residuals import directions, empty_targets, lay_out, pull_angles
from engine.small_matrices import transform, turn_by
from engine.types import F32, F64, I32, Camera, Observation

COLD_ITERATIONS = 20
WARM_TOLERANCE = 2e-3
"""A tracked frame stops when a step gains less than this share of the cost."""
COLD_TOLERANCE = 1e-9
UPRIGHT_SIGMA = 0.6
UNSEEN_UPRIGHT_SIGMA = 0.12
"""Without hips, only this keeps a head and two shoulders from tilting a whole person."""
SEEN = 0.1
"""Trust from which on a landmark may seed a limb."""
UNBOUND = 1e3
"""So many frames after the last one, the last one says nothing."""
CLEARLY = 0.9
"""A new start must cost less than this share of the old pose to replace it."""
_UP = np.array([0.0, 1.0, 0.0])
_SOLES, _SOLE_ROWS = list(SOLES), np.array(SOLES, np.int32)
LIMBS = [
    (limb, side, [limb.landmarks[k] + s for k in range(3)])
    for limb in (ARM, LEG)
    for s, side in enumerate(SIDES)
]

_PAIRS = [(a, b) for a, b, _ in BODY_SEGMENTS]
_LIMB_SEGMENTS = [_PAIRS.index((r[k], r[k + 1])) for *_, r in LIMBS for k in (0, 1)]
_SEEN_WEIGHT = 9.0
"""Squared weight, per square radian, of a bone whose ends are at least half trusted."""


class BodyProblem:
    """Unknowns, residuals and workspace of one body shape."""

    def __init__(self, rest: RestJoints, parents: I32, embedding: LandmarkEmbedding) -> None:
        """Lay out the problem for a person's rest joints and landmarks."""
        points = body_points(embedding, rest.names.index("head"))
        self._rest = rest
        self._rest_points = rest.positions_m[points.bones] + points.offsets_m
        self.model = body_model(rest.names, rest.positions_m, parents)
        aims = [(rest.names.index("head"), axis) for axis in np.eye(3)]
        aims.append((rest.names.index("root"), _UP))
        self._residuals = lay_out(self.model, points, SEGMENTS, aims, COUPLINGS)
        self._targets = empty_targets(self.model, self._residuals)
        self._work = allocate(self.model.chain, self._residuals)
        self._other = np.zeros_like(self._work.rotations), np.zeros_like(self._work.positions_m)
        self._chest = rest.names.index("spine01")
        self.relax()

    @property
    def angles(self) -> F64:
        """(N,) the unknowns, in place: three of translation, three of the root, then joints."""
        return np.asarray(self._work.angles)

    @property
    def base(self) -> F64:
        """(3, 3) root rotation before the root's own three angles, in place."""
        return np.asarray(self._work.base)

    @property
    def rotations(self) -> F64:
        """(J, 3, 3) global joint rotations."""
        return np.asarray(self._work.rotations)

    @property
    def positions_m(self) -> F64:
        """(J, 3) global joint positions."""
        return np.asarray(self._work.positions_m)

    @property
    def landmarks_m(self) -> F64:
        """(33, 3) BlazePose's points on the present pose."""
        return np.asarray(self._work.points_m[:BODY_POINTS])

    def continue_from(self, other: BodyProblem) -> None:
        """Take over the pose of the same person's other shape."""
        self.angles[:], self.base[:] = other.angles, other.base
        self.pose()

    def relax(self) -> None:
        """A relaxed person standing upright in front of the camera."""
        self._work.angles[:] = self.model.column("habit")
        self._work.angles[:3] = 0.0, -float(self._rest.positions_m[0, 1]), -2.5
        self._work.base[:] = np.eye(3)
        self.pose()

    def pose(self) -> None:
        """Joints and landmarks of the present angles."""
        pose(self.model.chain, self._residuals, self._work)

    @property
    def root(self) -> F64:
        """(3, 3) the root's whole rotation."""
        return np.asarray(self._work.rotations[0])

    def posed(self, angles: F64, base: F64) -> F64:
        """(J, 3, 3) global rotations of another pose; the present one is kept."""
        work = self._work
        forward_kinematics(
            self.model.chain, angles, base, self._other[0], self._other[1], work.term_omegas
        )
        return self._other[0]

    @property
    def posed_joints_m(self) -> F64:
        """(J, 3) in the pose of the last :meth:`posed`."""
        return np.asarray(self._other[1])

    @property
    def posed_soles_m(self) -> F64:
        """(4, 3) of SOLES in the pose of the last :meth:`posed`."""
        return _points_at(self._residuals, self._other[0], self._other[1], _SOLE_ROWS)

    def expect(self, frames: float) -> None:
        """Priors around the present pose, ``frames`` thirtieths of a second later.

        The root's rotation is folded into its base, so that its three angles start from zero.
        """
        turn_by(self._work.angles[3:6], self._work.base)
        self._work.angles[3:6] = 0.0
        pull_angles(self._targets, self.model, self._work.angles, frames)

    def stand(self, places_m: F64, weights: F64) -> None:
        """Where the soles rest, for the frames to come.

        Args:
            places_m: (4, 3) of SOLES.
            weights: (4,) 1 / standard deviation in metres; 0 where one moves.
        """
        self._targets.places_m[_SOLES] = places_m
        self._targets.place_weights[_SOLES, 0] = weights

    def see_nothing(self, camera: Camera, head: HeadPose | None) -> None:
        """Only priors, and the head where the face's fit has it."""
        self._targets.camera[:] = camera.focal_px, camera.cx, camera.cy
        measured.clear(self._targets)
        self._finish(camera, head)

    def measure(self, seen: Observation, trust: F64, camera: Camera, head: HeadPose | None) -> None:
        """Fill the targets; pixels weigh what they are worth at the present pose's depth.

        Args:
            seen: has a pose.
            trust: (33,) of the pose's landmarks.
            camera: the pinhole camera.
            head: the head from the face's fit, if there is one.
        """
        assert seen.pose is not None
        targets = self._targets
        targets.camera[:] = camera.focal_px, camera.cx, camera.cy
        measured.clear(targets)
        weight = self._pixel_weight(camera)
        hands = measured.hands_of(seen)
        belief = {
            side: measured.hand_trust(seen, side, hand, trust, camera.focal_px / self.depth_m)
            for side, hand in hands.items()
        }
        measured.measure_pose(targets, self._residuals, seen.pose, trust, belief, weight)
        for side, hand in hands.items():
            measured.measure_palm(targets, side, hand, belief[side], weight)
        self._finish(camera, head)

    def _pixel_weight(self, camera: Camera) -> float:
        return measured.pixel_weight(camera, self.depth_m)

    @property
    def depth_m(self) -> float:
        """Of the chest from the camera."""
        return max(-float(self._work.positions_m[self._chest, 2]), 0.2)

    def _finish(self, camera: Camera, head: HeadPose | None) -> None:
        """The head from the face; a weak wish to stand upright."""
        self._targets.aim_directions[3] = _UP
        hips = float(self._targets.point_weights[[23, 24]].max())
        self._targets.aim_weights[3] = 1.0 / (UPRIGHT_SIGMA if hips > 0.0 else UNSEEN_UPRIGHT_SIGMA)
        if head is not None:
            measured.measure_head(self._targets, head, camera, self._pixel_weight(camera))

    def solve(self, iterations: int, tolerance: float = WARM_TOLERANCE) -> tuple[float, int]:
        """Minimise from the present pose; returns (cost, steps tried)."""
        cost, tried = solve(
            self.model.chain, self._residuals, self._targets, self._work, iterations, tolerance
        )
        return float(cost), int(tried)

    def start(self, seen: Observation, trust: F64, camera: Camera, head: HeadPose | None) -> int:
        """A pose from nothing: returns the steps tried.

        Torso by Procrustes, limbs by inverse kinematics, depth by least squares, then refinement.
        """
        assert seen.pose is not None
        world = seen.pose.world_m.astype(np.float64)
        self.relax()
        self._work.base[:] = torso_rotation(self._rest_points[:BODY_POINTS], world, trust)
        self._work.angles[:3] = 0.0
        self.pose()
        self._seed_limbs(world, trust)
        self.pose()
        points, px = self._work.points_m[:BODY_POINTS], seen.pose.points_px[:, :2]
        weights = np.maximum(trust, 1e-3)
        self._work.angles[:3] = translation(points, px.astype(np.float64), weights, camera)
        self.pose()
        self.expect(UNBOUND)
        self.measure(seen, trust, camera, head)
        return self.solve(COLD_ITERATIONS, COLD_TOLERANCE)[1]

    def _seed_limbs(self, world: F64, trust: F64) -> None:
        """Inverse kinematics for the limbs that are seen; others keep their angles."""
        angles = self._work.angles
        for limb, side, rows in LIMBS:
            if trust[rows].min() < SEEN:
                continue
            parent = self._work.rotations[self._rest.names.index(limb.carrier + side)]
            bones = np.diff(world[rows], axis=0)
            found = limb_angles(self.model, self._rest, limb, side, parent, bones)
            for name, value in found.items():
                n = self.model.index[name]
                angles[n] = np.clip(value, self._targets.lower[n], self._targets.upper[n])

    def reconsider(
        self, seen: Observation, trust: F64, camera: Camera, head: HeadPose | None
    ) -> tuple[int, bool]:
        """Start again from nothing; keep that only where it explains the frame clearly better.

        Both poses are refined without the pull of the last frame. Each is judged with pixels
        weighed at its own depth: the same landmark errors in metres cost both the same. Where
        neither refinement gains much the tracked pose stays as it was, or every vain try would be
        a jolt.

        Returns:
            The steps tried, and whether the new start was kept.
        """
        self.expect(UNBOUND)
        tracked, cost = self._kept(), self.solve(0)[0]
        refined_cost, tried = self.solve(COLD_ITERATIONS, COLD_TOLERANCE)
        refined = self._kept()
        more = self.start(seen, trust, camera, head)
        if self.solve(0)[0] < CLEARLY * refined_cost:
            return tried + more, True
        angles, base = refined if refined_cost < CLEARLY * cost else tracked
        self.angles[:], self.base[:] = angles, base
        self.pose()
        return tried + more, False

    def _kept(self) -> tuple[F64, F64]:
        return self.angles.copy(), self.base.copy()

    def measurements(self) -> Targets:
        """What :meth:`measure` or :meth:`see_nothing` filled in, as a copy."""
        return Targets._make(x.copy() if isinstance(x, np.ndarray) else x for x in self._targets)

    def slopes(
        self, targets: Targets, angles: F64, root: F64, hessian: F64, gradient: F64
    ) -> float:
        """Cost of other measurements at another pose, its gradient and Hessian's lower triangle.

        Args:
            targets: from :meth:`measurements`.
            angles: (N,), the root's three rotation angles 0.
            root: (3, 3).
            hessian: (N, N), overwritten.
            gradient: (N,), overwritten.
        """
        self._work.base[:] = root
        return float(
            linearize(
                self.model.chain, self._residuals, targets, self._work, angles, hessian, gradient
            )
        )

    def take_pose(self, angles: F64, root: F64) -> None:
        """Stand as given: (N,) angles, the root's 0, and (3, 3) the root."""
        self._work.angles[:], self._work.base[:] = angles, root
        self.pose()

    def disagreement(self) -> tuple[float, float]:
        """Angles in radians between fitted and seen segments.

        Returns:
            The weighted root mean square over all, and the largest of a limb's bone that is seen.
        """
        count = len(BODY_SEGMENTS)
        fitted = directions(self._work.points_m, self._residuals.segments[:count])
        weights = self._targets.segment_weights[:count] ** 2
        cosines = np.einsum("sk,sk->s", fitted, self._targets.segment_directions[:count])
        # For a unit vector |u - d|^2 = 2 (1 - cos).
        mean = (weights * 2.0 * (1.0 - cosines)).sum() / max(float(weights.sum()), 1e-9)
        seen = weights[_LIMB_SEGMENTS] > _SEEN_WEIGHT
        worst = np.where(seen, cosines[_LIMB_SEGMENTS], 1.0).min()
        return float(np.sqrt(mean)), float(np.arccos(np.clip(worst, -1.0, 1.0)))

    def distance_m(self, seen: Observation, trust: F64, camera: Camera) -> float:
        """Weighted median distance between landmarks and the present pose, at their depth.

        Args:
            seen: has a pose.
            trust: (33,) of its landmarks; nan where all are zero.
            camera: the pinhole camera.
        """
        assert seen.pose is not None
        lens = np.array([camera.focal_px, camera.cx, camera.cy])
        px = np.ascontiguousarray(seen.pose.points_px, np.float32)
        return float(_median_distance(self._work.points_m, px, trust, lens))


@njit(cache=True, nogil=True)
def _median_distance(points: F64, px: F32, trust: F64, lens: F64) -> float:
    apart = np.empty(len(px))
    for i in range(len(px)):
        depth = max(-points[i, 2], 0.05)
        u = lens[1] + lens[0] * points[i, 0] / depth - px[i, 0]
        v = lens[2] - lens[0] * points[i, 1] / depth - px[i, 1]
        apart[i] = np.sqrt(u * u + v * v) * depth / lens[0]
    half, below, last = 0.5 * trust.sum(), 0.0, np.nan
    if half <= 0.0:
        return last
    for i in np.argsort(apart):
        below, last = below + trust[i], apart[i]
        if below >= half:
            break
    return last


@njit(cache=True, nogil=True)
def _points_at(residuals: Residuals, rotations: F64, positions: F64, rows: I32) -> F64:
    """(len(rows), 3) of a pose whose joints are known."""
    out = np.empty((len(rows), 3))
    for n, p in enumerate(rows):
        bone = residuals.point_bones[p]
        transform(rotations[bone], residuals.point_offsets_m[p], out[n])
        out[n] += positions[bone]
    return out
