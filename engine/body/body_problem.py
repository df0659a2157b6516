"""The body's least-squares problem for one person: set up once, measured and solved every frame."""

from __future__ import annotations

import numpy as np

from engine.body import body_targets as measured
from engine.body import quaternions
from engine.body.body_targets import BODY_SEGMENTS, SEGMENTS, HeadPose, body_points
from engine.body.gauss_newton import allocate, forward_kinematics, point_jacobians, solve
from engine.body.inverse_kinematics import ARM, LEG, limb_angles, torso_rotation, translation
from engine.body.joint_angles import COUPLINGS, SIDES, RestJoints, body_model
from engine.body.landmark_embedding import BODY_POINTS, LandmarkEmbedding
from engine.body.residuals import directions, empty_targets, lay_out, pull_angles
from engine.types import F64, I32, Camera, Observation

COLD_ITERATIONS = 20
MEND_ITERATIONS = 8
TOLERANCE = 2e-3
UPRIGHT_SIGMA = 0.6
SEEN = 0.1
"""Trust from which on a landmark may seed a limb."""
STUCK_COSINE = 0.4
"""A bone that points more than 66 degrees away from where it is seen is in a wrong minimum."""
_UP = np.array([0.0, 1.0, 0.0])
_PAIRS = [(a, b) for a, b, _ in BODY_SEGMENTS]
LIMBS = [
    (limb, side, [limb.landmarks[k] + s for k in range(3)])
    for limb in (ARM, LEG)
    for s, side in enumerate(SIDES)
]
_LIMB_SEGMENTS = [[_PAIRS.index((r[0], r[1])), _PAIRS.index((r[1], r[2]))] for *_, r in LIMBS]


class BodyProblem:
    """Unknowns, residuals and workspace of one body shape."""

    def __init__(self, rest: RestJoints, parents: I32, embedding: LandmarkEmbedding) -> None:
        """Lay out the problem for a person's rest joints and landmarks."""
        points = body_points(embedding)
        self._rest = rest
        self._rest_points = rest.positions_m[points.bones] + points.offsets_m
        self.model = body_model(rest.names, rest.positions_m, parents)
        aims = [(rest.names.index("head"), axis) for axis in np.eye(3)]
        aims.append((rest.names.index("root"), _UP))
        self._residuals = lay_out(self.model, points, SEGMENTS, aims, COUPLINGS)
        self._targets = empty_targets(self.model, self._residuals)
        self._work = allocate(self.model.chain, self._residuals)
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

    def relax(self) -> None:
        """A relaxed person standing upright in front of the camera."""
        self._work.angles[:] = self.model.column("habit")
        self._work.angles[:3] = 0.0, -float(self._rest.positions_m[0, 1]), -2.5
        self._work.base[:] = np.eye(3)
        self.pose()

    def pose(self) -> None:
        """Joints and landmarks of the present angles."""
        work = self._work
        forward_kinematics(
            self.model.chain, work.angles, work.base, work.rotations, work.positions_m,
            work.term_omegas,
        )  # fmt: skip
        point_jacobians(self.model.chain, self._residuals, work)

    def expect(self, frames: float) -> None:
        """Priors around the present pose, ``frames`` thirtieths of a second later.

        The root's rotation is folded into its base, so that its three angles start from zero.
        """
        turn = quaternions.from_rotation_vector(self._work.angles[3:6])
        self._work.base[:] = quaternions.to_matrix(turn) @ self._work.base
        self._work.angles[3:6] = 0.0
        pull_angles(self._targets, self.model, self._work.angles, frames)

    def see_nothing(self, head: HeadPose | None) -> None:
        """Only priors, and the head where the face's fit has it."""
        measured.clear(self._targets)
        self._aim(head)

    def measure(self, seen: Observation, trust: F64, camera: Camera, head: HeadPose | None) -> None:
        """Fill the targets. Segment lengths are the model's own in its present pose.

        Args:
            seen: has a pose.
            trust: (33,) of the pose's landmarks.
            camera: the pinhole camera.
            head: the head's rotation from the face's fit, if there is one.
        """
        assert seen.pose is not None
        targets, work = self._targets, self._work
        targets.camera[:] = camera.focal_px, camera.cx, camera.cy
        self.see_nothing(None)
        self.pose()
        depth = max(-float(work.positions_m[self._chest, 2]), 0.2)
        weight = measured.pixel_weight(camera, depth)
        hands = measured.hands_of(seen)
        belief = {
            side: measured.hand_trust(seen, side, hand, trust, camera.focal_px / depth)
            for side, hand in hands.items()
        }
        measured.measure_pose(targets, self._residuals, seen.pose, trust, belief, weight)
        for side, hand in hands.items():
            measured.measure_palm(targets, side, hand, belief[side], weight)
        _, targets.segment_lengths_m[:] = directions(work.points_m, self._residuals.segments)
        self._aim(head)

    def _aim(self, head: HeadPose | None) -> None:
        """Head rotation from the face; a weak wish to stand upright."""
        self._targets.aim_directions[3] = _UP
        self._targets.aim_weights[3] = 1.0 / UPRIGHT_SIGMA
        if head is not None:
            rotation = quaternions.to_matrix(np.asarray(head.rotation_xyzw, np.float64))
            turned = np.asarray(rotation, np.float64)
            measured.measure_head(self._targets, turned, head.confidence)

    def solve(self, iterations: int) -> tuple[float, int]:
        """Minimise from the present pose; returns (cost, steps tried)."""
        cost, tried = solve(
            self.model.chain, self._residuals, self._targets, self._work, iterations, TOLERANCE
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
        self._seed_limbs(world, trust, [True] * len(LIMBS))
        self.pose()
        points, px = self._work.points_m[:BODY_POINTS], seen.pose.points_px[:, :2]
        weights = np.maximum(trust, 1e-3)
        self._work.angles[:3] = translation(points, px.astype(np.float64), weights, camera)
        self.expect(1e3)
        self.measure(seen, trust, camera, head)
        return self.solve(COLD_ITERATIONS)[1]

    def _seed_limbs(self, world: F64, trust: F64, chosen: list[bool]) -> None:
        """Inverse kinematics for the chosen limbs that are seen; others keep their angles."""
        angles = self._work.angles
        for (limb, side, rows), wanted in zip(LIMBS, chosen, strict=True):
            if not wanted or trust[rows].min() < SEEN:
                continue
            parent = self._work.rotations[self._rest.names.index(limb.carrier + side)]
            bones = np.diff(world[rows], axis=0)
            found = limb_angles(self.model, self._rest, limb, side, parent, bones)
            for name, value in found.items():
                n = self.model.index[name]
                angles[n] = np.clip(value, self._targets.lower[n], self._targets.upper[n])
            for name in limb.ends:
                angles[self.model.index[name + side]] = 0.0

    def mend(self, seen: Observation, trust: F64, cost: float) -> int:
        """Set limbs anew that point far from where they are seen, if that explains more.

        Args:
            seen: has a pose.
            trust: (33,) of the pose's landmarks.
            cost: of the present pose.
        """
        assert seen.pose is not None
        stuck = self._stuck_limbs()
        if not any(stuck):
            return 0
        before = self._work.angles.copy()
        self._seed_limbs(seen.pose.world_m.astype(np.float64), trust, stuck)
        better, tried = self.solve(MEND_ITERATIONS)
        if better > cost:
            self._work.angles[:] = before
            self.pose()
        return tried

    def _stuck_limbs(self) -> list[bool]:
        point_jacobians(self.model.chain, self._residuals, self._work)
        fitted, _ = directions(self._work.points_m, self._residuals.segments)
        agreement = np.einsum("sk,sk->s", fitted, self._targets.segment_directions)
        wrong = (agreement < STUCK_COSINE) & (self._targets.segment_weights > 2.0)
        return [bool(wrong[rows].any()) for rows in _LIMB_SEGMENTS]

    def distance_m(self, seen: Observation, trust: F64, camera: Camera) -> float:
        """Weighted median distance between landmarks and the present pose, at their depth."""
        assert seen.pose is not None
        points = self._work.points_m[:BODY_POINTS]
        depth = np.maximum(-points[:, 2], 0.05)
        u = camera.cx + camera.focal_px * points[:, 0] / depth
        v = camera.cy - camera.focal_px * points[:, 1] / depth
        px = seen.pose.points_px
        apart = np.hypot(u - px[:, 0], v - px[:, 1]) * depth / camera.focal_px
        order = np.argsort(apart)
        total = np.cumsum(trust[order])
        if total[-1] < 0.5:
            return 0.0
        return float(apart[order][np.searchsorted(total, 0.5 * total[-1])])
