"""SMPLify with a warm start: joint angles of a known body from the landmarks of one picture.

Bogo et al., *Keep it SMPL* (2016), minimise reprojection error with pose priors from a mean pose
in many iterations. Here every frame starts from the last one's solution, depth comes from the
network's metric landmarks, and the Hessian is exact to first order, so a few steps suffice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine import quaternions
from engine.body.body_problem import BodyProblem
from engine.body.body_targets import HeadPose, certainty
from engine.body.gauss_newton import Targets
from engine.body.ground import SOLES, FootContacts
from engine.body.hands import HandFitter, Palm
from engine.body.joint_angles import SIDES, RestJoints
from engine.body.landmark_embedding import embed
from engine.body.local_rotations import local_rotations
from engine.body.planting import Leg
from engine.body.pose_filter import PoseFilter
from engine.body.stillness import Stillness
from engine.body.viewing_ray import in_camera_axes
from engine.types import F32, F64, I32, Camera, HandLandmarks, Observation, PoseLandmarks

WARM_ITERATIONS = 3
JUMP_M = 0.35
"""Landmarks further than this from where the last pose has them: somebody else, or a cut."""
POOR_M = 0.08
POOR_RAD = 0.24
POOR_BONE_RAD = 0.65
"""A fit this bad, in place, in all directions or in that of one bone, is tried from nothing."""
DOUBT_SECONDS = 0.06
"""How long a fit must be doubted before it is tried from nothing. The network misplaces a limb for
a frame or two and comes back; a new start would believe it. `sars eval multiview` gains 8 mm by it
from behind, and the slowest fits take 1 ms instead of 5 to 14."""
CUT = 1.3
"""A fit so many times as bad as is doubted, on the whole, shows another pose: no waiting."""
PATIENCE_FRAMES, MOST_PATIENCE = 6, 48
"""After a vain try, and after many, each of which doubles it."""
WORSE = 1.5
"""A fit so many times as bad as after the last vain try does not wait for the next one."""
FORGET_SECONDS = 1.5
"""After so long a loss the old pose is no start any more."""
HOLD_PACE = 0.3
"""How fast an unseen body sinks back to habit, relative to how fast a seen one may move."""
FADE_SECONDS = 0.3
LEAST_TRUST = 0.5
"""A pose whose landmarks are trusted less than this in total is not seen."""
_SOLES, _HIPS = list(SOLES), [23, 24]
ENOUGH_TRUST = 4.0
"""With fewer landmarks than so many, a fit is believed less the fewer there are."""


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


@dataclass(frozen=True, slots=True)
class BodyShape:
    """What a fitter needs to know of one person's body, with the workspaces to fit it."""

    problem: BodyProblem
    hands: tuple[HandFitter, HandFitter]
    sole_heights_m: F64
    """(4,) of the landmarks SOLES above the lowest vertex, standing."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How the fit stands after a frame, unfiltered."""

    angles: F64
    """(N,); the root's three rotation angles are 0."""
    root: F64
    """(3, 3)."""
    places_m: F64
    """(4, 3) of the soles that rest."""
    place_weights: F64
    """(4,) 0 where one moves."""


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
        self._legs = tuple(Leg.of(self._names, side) for side in SIDES)
        self._camera = camera
        self._contacts = FootContacts(np.zeros(len(SOLES)))
        self._stillness = Stillness()
        self._take(self.shape_of(joints_m, vertices_m))
        self._filter = PoseFilter(len(self._body.angles))
        self.reset()
        self._rehearse()

    def shape_of(self, joints_m: F32, vertices_m: F32) -> BodyShape:
        """Lay out the fit for another body: a frame's time. Any thread may call this.

        Args:
            joints_m: (J, 3) rest positions.
            vertices_m: (V, 3) rest vertices.

        Raises:
            ModelFileError: joints or vertices are not Anny's.
        """
        joints = np.asarray(joints_m, np.float64)
        rest = RestJoints(self._names, joints)
        embedding = embed(self._names, joints, np.asarray(vertices_m, np.float64))
        left = HandFitter(rest, self._parents, SIDES[0], embedding.left_hand)
        right = HandFitter(rest, self._parents, SIDES[1], embedding.right_hand)
        lowest = float(np.asarray(vertices_m)[:, 1].min())
        soles = joints[embedding.body.bones] + embedding.body.offsets_m
        heights = soles[list(SOLES), 1] - lowest
        return BodyShape(BodyProblem(rest, self._parents, embedding), (left, right), heights)

    @property
    def shape(self) -> BodyShape:
        """The body that is fitted now."""
        return BodyShape(self._body, self._hands, self._contacts.heights_m)

    def set_identity(self, shape: BodyShape) -> None:
        """Take over another body; the pose is kept.

        Args:
            shape: from :meth:`shape_of`; this fitter's alone from now on.
        """
        shape.problem.continue_from(self._body)
        for new, old in zip(shape.hands, self._hands, strict=True):
            new.continue_from(old)
        self._take(shape)

    def _take(self, shape: BodyShape) -> None:
        self._body, self._hands = shape.problem, shape.hands
        self._contacts.heights_m = shape.sole_heights_m

    def _rehearse(self) -> None:
        """Load every kernel now: the first frame should not pay for it."""
        points = self._body.landmarks_m.astype(np.float32)
        pose = PoseLandmarks(points, points, np.ones(len(points), np.float32), 1.0)
        hand = HandLandmarks(points[:21], points[:21], 1.0)
        head = HeadPose(np.array(quaternions.IDENTITY_XYZW))
        for index in range(2):
            self.fit(Observation(index, index, 64, 64, None, pose, hand, hand), head)
        self._legs[0].move_ankle(self._body.rotations, self._body.positions_m, np.zeros(3))
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next frame starts from nothing."""
        self._body.relax()
        self._filter.reset()
        self._contacts.reset()
        self._stillness.reset()
        for hand in self._hands:
            hand.reset()
        self._tracking = False
        self._confidence, self._lost_s = 0.0, 0.0
        self._clock_ns: int | None = None
        self._patience, self._wait, self._accepted = 0, PATIENCE_FRAMES // 2, 0.0
        self._doubted_s = 0.0

    def fit(
        self,
        observation: Observation,
        head: HeadPose | None = None,
        camera: Camera | None = None,
    ) -> BodyFit:
        """The pose that explains one frame.

        Args:
            observation: what the networks saw; nothing at all is a short loss.
            head: the head from the face's fit, if there is one.
            camera: of this picture; the fitter's own where none is given.
        """
        seconds = self._elapsed(observation)
        camera = camera or self._camera or Camera.from_size(observation.width, observation.height)
        observation = in_camera_axes(observation, camera)
        trust = _trust(observation)
        if trust is None:
            iterations, cold, residual = self._hold(camera, head, seconds), False, float("nan")
        else:
            iterations, cold, residual = self._follow(observation, trust, camera, head, seconds)
        both = (observation.left_hand, observation.right_hand)
        for hand, seen in zip(self._hands, both, strict=True):
            wrist = hand.rows[0]
            palm = Palm(self._body.rotations[wrist], self._body.positions_m[wrist])
            hand.fit(seen, palm, camera, seconds * 30.0, cold)
        return self._report(iterations, cold, residual, seconds)

    @property
    def standing(self) -> Standing:
        """After the last frame; copies."""
        angles, contacts = self._body.angles.copy(), self._contacts
        angles[3:6] = 0.0
        return Standing(
            angles, self._body.root.copy(), contacts.places_m.copy(), contacts.weights.copy()
        )

    @property
    def problem(self) -> BodyProblem:
        """What is solved for this person."""
        return self._body

    def measurements(
        self, observation: Observation, head: HeadPose | None, camera: Camera, at: Standing
    ) -> Targets:
        """A frame's measurements, weighed as at a known pose, for a fit of many frames.

        Args:
            observation: of the frame.
            head: from the face's fit.
            camera: of its picture.
            at: the pose at whose depth pixels are weighed; the present one becomes it.
        """
        observation = in_camera_axes(observation, camera)
        self._body.take_pose(at.angles, at.root)
        self._body.stand(at.places_m, at.place_weights)
        trust = _trust(observation)
        if trust is None:
            self._body.see_nothing(camera, head)
        else:
            self._body.measure(observation, trust, camera, head)
        return self._body.measurements()

    def rotations_of(self, angles: F64, root: F64) -> F32:
        """(J, 4) rotations relative to the parent of a body with fingers at rest."""
        found = local_rotations(self._parents, self._body.posed(angles, root))
        return found.astype(np.float32)

    @property
    def finger_rows(self) -> list[int]:
        """The joints that the hands' own fits move."""
        return [row for hand in self._hands for row in hand.rows[1:]]

    def _elapsed(self, observation: Observation) -> float:
        """Seconds since the last frame, 1/30 when unknown, at most a second."""
        last, self._clock_ns = self._clock_ns, observation.captured_at_ns
        if last is None:
            return 1.0 / 30.0
        return float(np.clip((observation.captured_at_ns - last) * 1e-9, 1e-3, 1.0))

    def _hold(self, camera: Camera, head: HeadPose | None, seconds: float) -> int:
        """Nobody seen: keep still, sink slowly towards habit, trust less and less."""
        self._lost_s += seconds
        self._confidence *= float(np.exp(-seconds / FADE_SECONDS))
        self._tracking = self._tracking and self._lost_s < FORGET_SECONDS
        self._body.expect(seconds * 30.0 * HOLD_PACE)
        self._body.see_nothing(camera, head)
        return self._body.solve(WARM_ITERATIONS)[1]

    def _follow(
        self,
        seen: Observation,
        trust: F64,
        camera: Camera,
        head: HeadPose | None,
        seconds: float,
    ) -> tuple[int, bool, float]:
        """Warm where the last pose is near, from nothing where it is not."""
        assert seen.pose is not None
        body = self._body
        self._lost_s = 0.0
        cold = not self._tracking or body.distance_m(seen, trust, camera) > JUMP_M
        if cold:
            self._stillness.reset()
            self._contacts.reset()
            body.stand(self._contacts.places_m, self._contacts.weights)
            iterations = body.start(seen, trust, camera, head)
        else:
            self._look_at_soles(seen.pose, trust, camera, seconds)
            body.stand(self._contacts.places_m, self._contacts.weights)
            metre = body.depth_m / camera.focal_px
            freedom = self._stillness.freedom(seen.pose.points_px, trust, metre, seconds)
            body.expect(seconds * 30.0 * freedom)
            body.measure(seen, trust, camera, head)
            iterations = body.solve(WARM_ITERATIONS)[1]
            self._patience = max(self._patience - 1, 0)
            if self._is_doubted(seen, trust, camera, seconds):
                more, cold = body.reconsider(seen, trust, camera, head)
                iterations += more
                self._accept(seen, trust, camera)
        if not np.isfinite(body.angles).all():
            body.relax()
            self._tracking = False
            return self._hold(camera, head, seconds), False, float("nan")
        self._contacts.settle(body.landmarks_m[_SOLES], seconds)
        residual = body.distance_m(seen, trust, camera)
        self._tracking = True
        visible = min(float(trust.sum()) / ENOUGH_TRUST, 1.0)
        quality = float(np.exp(-((residual / POOR_M) ** 2))) * visible * seen.pose.presence
        self._confidence += (1.0 if cold else 0.3) * (quality - self._confidence)
        return iterations, cold, residual

    def _look_at_soles(
        self, pose: PoseLandmarks, trust: F64, camera: Camera, seconds: float
    ) -> None:
        fitted, pixels = self._body.landmarks_m, pose.points_px[_SOLES, :2].astype(np.float64)
        hips_m = 0.5 * float((fitted[_HIPS, 2] - pose.world_m[_HIPS, 2]).sum())
        depths = pose.world_m[_SOLES, 2].astype(np.float64) + hips_m
        self._contacts.look(pixels, depths, trust[_SOLES], fitted[_SOLES], camera, seconds)

    def _is_doubted(self, seen: Observation, trust: F64, camera: Camera, seconds: float) -> bool:
        """Whether a fit has been doubtful for long enough, or is wrong on the whole."""
        if not self._is_doubtful(seen, trust, camera):
            self._doubted_s = 0.0
            return False
        waited_s, self._doubted_s = self._doubted_s, self._doubted_s + seconds
        return waited_s > DOUBT_SECONDS or self._body.disagreement()[0] > CUT * POOR_RAD

    def _is_doubtful(self, seen: Observation, trust: F64, camera: Camera) -> bool:
        """Whether a fit is bad enough to be tried from nothing; after a vain try only now and then.

        A person may stand in a way that the model cannot follow; that must not cost every frame.
        But what becomes worse than that is something else.
        """
        badness = self._badness(seen, trust, camera)
        limit = WORSE * self._accepted if self._patience > 0 else 1.0
        return badness > max(limit, 1.0)

    def _accept(self, seen: Observation, trust: F64, camera: Camera) -> None:
        """Live with what a new start came to: patience, if that is not good either."""
        self._accepted = self._badness(seen, trust, camera)
        vain = self._accepted > 1.0
        self._wait = min(2 * self._wait, MOST_PATIENCE) if vain else PATIENCE_FRAMES // 2
        self._patience = self._wait if vain else 0

    def _badness(self, seen: Observation, trust: F64, camera: Camera) -> float:
        """The worst of the fit's disagreements, each over its limit; more than 1 is doubtful."""
        mean, worst = self._body.disagreement()
        apart = self._body.distance_m(seen, trust, camera)
        return max(mean / POOR_RAD, worst / POOR_BONE_RAD, apart / POOR_M)

    def _report(self, iterations: int, cold: bool, residual: float, seconds: float) -> BodyFit:
        """The filtered pose; the fit itself goes on from the unfiltered one, so no lag adds up."""
        if cold:
            self._filter.reset()
        angles, root = self._filter(self._body.angles, self._body.root, seconds)
        rotations = local_rotations(self._parents, self._planted(angles, root, seconds))
        for hand in self._hands:
            rotations[hand.rows[1:]] = hand.smoothed(seconds)[1:]
        left, right = self._hands
        return BodyFit(
            rotations.astype(np.float32),
            angles[:3].astype(np.float32),
            self._confidence,
            left.confidence,
            right.confidence,
            residual,
            iterations,
            cold,
        )

    def _planted(self, angles: F64, root: F64, seconds: float) -> F64:
        """(J, 3, 3) global rotations of a filtered pose whose feet stand where the fit has them."""
        rotations = self._body.posed(angles, root)
        shifts = self._contacts.shifts(self._body.posed_soles_m, seconds)
        for leg, shift in zip(self._legs, shifts, strict=True):
            if shift.any():
                leg.move_ankle(rotations, self._body.posed_joints_m, shift)
        return rotations


def _trust(seen: Observation) -> F64 | None:
    """(33,) trust in the landmarks of the pose, ``None`` where there is hardly any."""
    if seen.pose is None:
        return None
    trust = certainty(seen.pose, seen.width, seen.height)
    return trust if float(trust.sum()) >= LEAST_TRUST else None
