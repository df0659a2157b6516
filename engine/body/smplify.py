"""SMPLify with a warm start: joint angles of a known body from the landmarks of one picture.

Bogo et al., *Keep it SMPL* (2016), minimise reprojection error with pose priors from a mean pose
in many iterations. Here every frame starts from the last one's solution, depth comes from the
network's metric landmarks, and the Hessian is exact to first order, so a few steps suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.body import body_targets as measured
from engine.body import quaternions
from engine.body.body_targets import SEGMENTS, HeadPose, body_points
from engine.body.gauss_newton import allocate, forward_kinematics, point_jacobians, solve
from engine.body.hands import HandFitter, Palm
from engine.body.inverse_kinematics import limb_angles, torso_rotation, translation
from engine.body.joint_angles import COUPLINGS, AngleModel, RestJoints, body_model, hand_model
from engine.body.landmark_embedding import BODY_POINTS, LandmarkEmbedding, PointSet, embed
from engine.body.local_rotations import local_rotations
from engine.body.residuals import directions, empty_targets, lay_out, pull_angles
from engine.types import F32, F64, I32, Camera, Observation

WARM_ITERATIONS = 3
COLD_ITERATIONS = 20
TOLERANCE = 2e-3
JUMP_M = 0.35
"""Landmarks further than this from where the last pose has them: somebody else, or a cut."""
POOR_M = 0.08
"""A fit this bad is tried again from nothing."""
FORGET_SECONDS = 1.5
"""After so long a loss the old pose is no start any more."""
UPRIGHT_SIGMA = 0.6
_UP = np.array([0.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True)
class BodyFit:
    """One frame's pose."""

    rotations_xyzw: F32
    """(104, 4) relative to the parent, avatar axes, identity at rest: as AvatarState's."""
    translation_m: F32
    """(3,) added to every posed vertex."""
    body_confidence: float
    left_hand_confidence: float
    right_hand_confidence: float
    residual_m: float
    """Weighted median distance of landmarks from the fit, at the body's depth; nan if unseen."""
    iterations: int
    cold: bool
    """Whether the pose was found from nothing."""


class BodyFitter:
    """Fits one person, frame after frame. Not thread-safe; deterministic."""

    def __init__(
        self,
        joint_names: Sequence[str],
        joints_m: F32,
        parents: I32,
        vertices_m: F32,
        camera: Camera | None = None,
    ) -> None:
        """A fitter for Anny's skeleton.

        Args:
            joint_names: J names in Anny's order.
            joints_m: (J, 3) rest positions, glTF axes.
            parents: (J,), -1 for the root.
            vertices_m: (V, 3) rest vertices in Anny's order.
            camera: the camera; by default one for each picture's size.

        Raises:
            ModelFileError: joints or vertices are not Anny's.
        """
        self._names, self._parents = tuple(joint_names), np.asarray(parents, np.int32)
        self._camera = camera
        self._clock_ns: int | None = None
        self._lost_s = 0.0
        self._tracking = False
        self._confidence = 0.0
        self._velocity = np.zeros(0)
        self.set_identity(joints_m, vertices_m)

    def set_identity(self, joints_m: F32, vertices_m: F32) -> None:
        """Take over another body shape; the pose is kept.

        Args:
            joints_m: (J, 3) rest positions.
            vertices_m: (V, 3) rest vertices.
        """
        joints = np.asarray(joints_m, np.float64)
        self._rest = RestJoints(self._names, joints)
        self._rest_joints = joints
        embedding = embed(self._names, joints, np.asarray(vertices_m, np.float64))
        points = body_points(embedding)
        self._rest_points = joints[points.bones] + points.offsets_m
        old = getattr(self, "_work", None)
        self._model = body_model(self._names, joints, self._parents)
        aims = [(self._names.index("head"), axis) for axis in np.eye(3)]
        aims.append((self._names.index("root"), _UP))
        self._residuals = lay_out(self._model, points, SEGMENTS, aims, COUPLINGS)
        self._targets = empty_targets(self._model, self._residuals)
        self._work = allocate(self._model.chain, self._residuals)
        self._set_hands(joints, embedding)
        if old is None:
            self.reset()
        else:
            self._work.angles[:], self._work.base[:] = old.angles, old.base

    def _set_hands(self, joints: F64, embedding: LandmarkEmbedding) -> None:
        previous = getattr(self, "_hands", ())
        sides = ((".L", embedding.left_hand), (".R", embedding.right_hand))
        self._hands = [_hand_fitter(self._names, joints, self._parents, *side) for side in sides]
        for new, old in zip(self._hands, previous, strict=False):
            new.angles[:] = old.angles
        own = [
            [n for n in self._names if n.endswith(s) and n.startswith(("wrist", "finger", "meta"))]
            for s, _ in sides
        ]
        self._hand_rows = [[self._names.index(name) for name in names] for names in own]

    def reset(self) -> None:
        """Forget everything: the next frame starts from nothing."""
        self._work.angles[:] = self._model.column("habit")
        self._work.angles[:3] = 0.0, -float(self._rest_joints[0, 1]), -2.5
        self._work.base[:] = np.eye(3)
        self._tracking, self._confidence, self._lost_s = False, 0.0, 0.0
        self._clock_ns = None
        for hand in self._hands:
            hand.reset()

    def fit(self, observation: Observation, head: HeadPose | None = None) -> BodyFit:
        """The pose that explains one frame.

        Args:
            observation: what the networks saw; nothing at all is a short loss.
            head: the head's rotation from the face's fit, if there is one.
        """
        seconds = self._elapsed(observation)
        camera = self._camera or Camera.from_size(observation.width, observation.height)
        self._targets.camera[:] = camera.focal_px, camera.cx, camera.cy
        if observation.pose is None:
            iterations, cold, residual = self._hold(head, seconds), False, float("nan")
        else:
            iterations, cold, residual = self._follow(observation, camera, head, seconds)
        for hand, rows, seen in zip(
            self._hands,
            self._hand_rows,
            (observation.left_hand, observation.right_hand),
            strict=True,
        ):
            wrist = rows[0]
            palm = Palm(self._work.rotations[wrist], self._work.positions_m[wrist])
            hand.fit(seen, palm, camera, seconds * 30.0, cold)
        return self._report(iterations, cold, residual)

    def _elapsed(self, observation: Observation) -> float:
        """Seconds since the last frame, 1/30 when unknown, at most a second."""
        last, self._clock_ns = self._clock_ns, observation.captured_at_ns
        if last is None:
            return 1.0 / 30.0
        return float(np.clip((observation.captured_at_ns - last) * 1e-9, 1e-3, 1.0))

    def _hold(self, head: HeadPose | None, seconds: float) -> int:
        """Nobody seen: keep still, sink slowly towards habit, trust less and less."""
        self._lost_s += seconds
        self._confidence *= float(np.exp(-seconds / 0.3))
        self._tracking = self._tracking and self._lost_s < FORGET_SECONDS
        measured.clear(self._targets)
        self._aim(head)
        self._rebase()
        pull_angles(self._targets, self._model, self._work.angles, seconds * 30.0 * 0.3)
        return self._solve(WARM_ITERATIONS)

    def _follow(
        self, seen: Observation, camera: Camera, head: HeadPose | None, seconds: float
    ) -> tuple[int, bool, float]:
        """Warm where the last pose is near, from nothing where it is not."""
        assert seen.pose is not None
        trust = measured.certainty(seen.pose, seen.width, seen.height)
        self._lost_s = 0.0
        cold = not self._tracking
        if not cold:
            cold = self._distance(seen, trust, camera) > JUMP_M
        if not cold:
            self._rebase()
            pull_angles(self._targets, self._model, self._work.angles, seconds * 30.0)
            self._measure(seen, camera, head, trust)
            iterations = self._solve(WARM_ITERATIONS)
            residual = self._distance(seen, trust, camera)
            if residual > POOR_M:
                cold = self._retry(seen, camera, head, trust, residual)
        else:
            iterations = self._start(seen, camera, head, trust)
        residual = self._distance(seen, trust, camera)
        self._tracking = True
        quality = float(np.exp(-((residual / POOR_M) ** 2))) * seen.pose.presence
        self._confidence += 0.5 * (quality - self._confidence) if not cold else quality * 0.5
        self._confidence = min(self._confidence, 1.0)
        return iterations, cold, residual

    def _retry(
        self, seen: Observation, camera: Camera, head: HeadPose | None, trust: F64, residual: float
    ) -> bool:
        """Start again from nothing; keep it only where it explains the picture clearly better."""
        angles, base = self._work.angles.copy(), self._work.base.copy()
        self._start(seen, camera, head, trust)
        if self._distance(seen, trust, camera) < 0.7 * residual:
            return True
        self._work.angles[:], self._work.base[:] = angles, base
        self._pose()
        return False

    def _start(
        self, seen: Observation, camera: Camera, head: HeadPose | None, trust: F64
    ) -> int:
        """Torso by Procrustes, limbs by inverse kinematics, depth by least squares, then refine."""
        assert seen.pose is not None
        world = seen.pose.world_m.astype(np.float64)
        torso = torso_rotation(self._rest_points[:BODY_POINTS], world, trust)
        angles = self._model.column("habit")
        found = limb_angles(self._model, self._rest, torso, world, trust)
        for name, value in found.items():
            angles[self._model.index[name]] = value
        np.clip(angles, self._targets.lower, self._targets.upper, out=angles)
        angles[:6] = 0.0
        self._work.angles[:], self._work.base[:] = angles, torso
        self._pose()
        points, px = self._work.points_m[:BODY_POINTS], seen.pose.points_px[:, :2]
        weights = np.maximum(trust, 1e-3)
        angles[:3] = translation(points, px.astype(np.float64), weights, camera)
        self._work.angles[:] = angles
        pull_angles(self._targets, self._model, angles, 1e3)
        self._measure(seen, camera, head, trust)
        return self._solve(COLD_ITERATIONS)

    def _measure(
        self, seen: Observation, camera: Camera, head: HeadPose | None, trust: F64
    ) -> None:
        """Fill the targets; lengths are the model's own in its present pose."""
        targets, work = self._targets, self._work
        measured.clear(targets)
        self._pose()
        depth = float(-work.positions_m[self._names.index("spine01"), 2])
        weight = measured.pixel_weight(camera, depth)
        measured.measure_pose(targets, self._residuals, seen, trust, weight)
        for side, hand in measured.palms(seen):
            measured.measure_palm(targets, side, hand, weight)
        _, targets.segment_lengths_m[:] = directions(work.points_m, self._residuals.segments)
        self._aim(head)

    def _aim(self, head: HeadPose | None) -> None:
        """Head rotation from the face; a weak wish to stand upright."""
        self._targets.aim_directions[3] = _UP
        self._targets.aim_weights[3] = 1.0 / UPRIGHT_SIGMA
        if head is not None:
            rotation = quaternions.to_matrix(np.asarray(head.rotation_xyzw, np.float64))
            measured.measure_head(self._targets, rotation, head.confidence)

    def _rebase(self) -> None:
        """Fold the root's three angles into its base, so that they start from zero again."""
        turn = quaternions.from_rotation_vector(self._work.angles[3:6])
        self._work.base[:] = quaternions.to_matrix(turn) @ self._work.base
        self._work.angles[3:6] = 0.0

    def _solve(self, iterations: int) -> int:
        _, tried = solve(
            self._model.chain, self._residuals, self._targets, self._work, iterations, TOLERANCE
        )
        return int(tried)

    def _pose(self) -> None:
        """Joints and landmarks of the present angles."""
        work = self._work
        forward_kinematics(
            self._model.chain, work.angles, work.base, work.rotations, work.positions_m,
            work.term_omegas,
        )  # fmt: skip
        point_jacobians(self._model.chain, self._residuals, work)

    def _distance(self, seen: Observation, trust: F64, camera: Camera) -> float:
        """Weighted median distance in metres between landmarks and the present pose."""
        assert seen.pose is not None
        self._pose()
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

    def _report(self, iterations: int, cold: bool, residual: float) -> BodyFit:
        rotations = local_rotations(self._parents, self._work.rotations)
        for hand, rows in zip(self._hands, self._hand_rows, strict=True):
            chain_parents = hand.parents
            rotations[rows[1:]] = local_rotations(chain_parents, hand.rotations)[1:]
        return BodyFit(
            rotations.astype(np.float32),
            self._work.angles[:3].astype(np.float32),
            self._confidence,
            self._hands[0].confidence,
            self._hands[1].confidence,
            residual,
            iterations,
            cold,
        )


def _hand_fitter(
    names: tuple[str, ...], joints: F64, parents: I32, side: str, points: PointSet
) -> HandFitter:
    own = [n for n in names if n.endswith(side) and n.startswith(("wrist", "finger", "meta"))]
    rows = [names.index(name) for name in own]
    local = np.array([rows.index(int(bone)) for bone in points.bones], np.int32)
    model: AngleModel = hand_model(names, joints, parents, side)
    return HandFitter(model, PointSet(local, points.offsets_m))
