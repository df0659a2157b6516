"""Fingers from the 21 hand landmarks, in the frame of a palm whose pose is already known.

The palm itself belongs to the body's fit, where wrist, forearm and arm agree on it. What is left
are 21 finger angles below a fixed wrist; every finger is its own small problem, solved together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.body.gauss_newton import allocate, forward_kinematics, pose, solve
from engine.body.hand_targets import PALM, palm_rotation, palm_shift, turned_directions
from engine.body.joint_angles import AngleModel, RestJoints, hand_joints, hand_model
from engine.body.landmark_embedding import PointSet
from engine.body.local_rotations import local_rotations
from engine.body.pose_filter import FINGER_HZ, FINGER_SLOPE, TangentFilter
from engine.body.residuals import empty_targets, lay_out, pull_angles
from engine.types import F64, I32, Camera, HandLandmarks

_PALM_ROWS = list(PALM)
BONES = tuple((4 * f + k, 4 * f + k + 1) for f in range(5) for k in (1, 2, 3))
"""Finger bones by landmark: thumb first, each from its knuckle to its tip."""
POINT_SIGMA_M = 0.006
DIRECTION_SIGMA = 0.2
RELAX_SECONDS = 0.5
BELIEVE_SECONDS = 0.05
"""How long confidence takes to rise where a hand is seen,"""
FADE_SECONDS = 0.09
"""and to fall where it is not."""


@dataclass(frozen=True, slots=True)
class Palm:
    """Where the body's fit has put a wrist."""

    rotation: F64
    """(3, 3) global."""
    position_m: F64
    """(3,) of the wrist joint."""


class HandFitter:
    """Finger angles of one hand, frame after frame."""

    def __init__(self, rest: RestJoints, parents: I32, side: str, points: PointSet) -> None:
        """One hand of a person.

        Args:
            rest: rest positions of all joints.
            parents: (J,).
            side: ".L" or ".R".
            points: the 21 landmarks, by bone of the whole skeleton.
        """
        self.rows = hand_joints(rest.names, side)
        self._model = hand_model(rest, parents, self.rows, side)
        local = np.array([self.rows.index(int(bone)) for bone in points.bones], np.int32)
        own = PointSet(local, points.offsets_m)
        self._residuals = lay_out(self._model, own, BONES, (), ())
        self._targets = empty_targets(self._model, self._residuals)
        self._work = allocate(self._model.chain, self._residuals)
        self._rest_points = _rest_points(self._model, own)
        count = len(self._model.angles)
        self._filter = TangentFilter(
            np.full(count, FINGER_HZ), np.full(count, FINGER_SLOPE), steady=False
        )
        self._smooth = np.zeros(count)
        self._other = np.zeros_like(self._work.rotations), np.zeros_like(self._work.positions_m)
        self.confidence = 0.0
        self.reset()

    def reset(self) -> None:
        """Relaxed fingers, nothing seen."""
        self._work.angles[:] = self._model.column("habit")
        self._smooth[:] = self._work.angles
        self._filter.reset()
        self.confidence = 0.0

    def continue_from(self, other: HandFitter) -> None:
        """Take over the pose of the same hand on another body shape."""
        self._work.angles[:] = other.angles
        self._smooth[:] = other._smooth
        self.confidence = other.confidence

    @property
    def angles(self) -> F64:
        """(21,) finger angles, radians."""
        return np.asarray(self._work.angles)

    @property
    def parents(self) -> I32:
        """(20,) of the hand's own chain, the wrist first."""
        return self._model.chain.parents

    @property
    def positions_m(self) -> F64:
        """(20, 3) global positions of wrist and finger joints."""
        return np.asarray(self._work.positions_m)

    @property
    def landmarks_m(self) -> F64:
        """(21, 3) MediaPipe's points on the present pose."""
        return np.asarray(self._work.points_m)

    def pose(self, palm: Palm) -> None:
        """Joints and landmarks of the present angles below a palm."""
        work, chain = self._work, self._model.chain
        work.base[:] = palm.rotation
        chain.offsets_m[0] = palm.position_m
        pose(chain, self._residuals, work)

    @property
    def model(self) -> AngleModel:
        """The chain and its 21 angles."""
        return self._model

    def fit(
        self, hand: HandLandmarks | None, palm: Palm, camera: Camera, frames: float, cold: bool
    ) -> None:
        """Follow one frame; without a hand, relax.

        Args:
            hand: what was seen.
            palm: the wrist as the body's fit has it.
            camera: the pinhole camera.
            frames: time since the last frame in thirtieths of a second.
            cold: whether the last angles mean nothing; then they are not filtered either.
        """
        self._work.base[:] = palm.rotation
        self._model.chain.offsets_m[0] = palm.position_m
        fresh = cold or self.confidence < 0.05
        pull_angles(self._targets, self._model, self._work.angles, 1e6 if fresh else frames)
        if hand is None:
            self._relax(frames)
        else:
            self._measure(hand, palm, camera)
            share = 1.0 - np.exp(-frames / (30.0 * BELIEVE_SECONDS))
            self.confidence += float(share) * (hand.presence - self.confidence)
        iterations = 12 if fresh and hand is not None else 3
        solve(
            self._model.chain, self._residuals, self._targets, self._work, iterations, 1e-3
        )  # fmt: skip
        if not np.isfinite(self._work.angles).all():
            self.reset()
        elif cold:
            self._smooth[:] = self._work.angles
            self._filter.reset()

    def smoothed(self, seconds: float) -> F64:
        """(20, 4) rotations relative to the parent, filtered; the wrist's is its global one."""
        error = self._work.angles - self._smooth
        self._smooth += self._filter.correction(error, seconds)
        rotations, positions = self._other
        omegas, base = self._work.term_omegas, self._work.base
        forward_kinematics(self._model.chain, self._smooth, base, rotations, positions, omegas)
        return local_rotations(self.parents, rotations)

    def _relax(self, frames: float) -> None:
        """Let fingers fall towards their habit with a time constant of half a second."""
        self.confidence *= float(np.exp(-frames / (30.0 * FADE_SECONDS)))
        self._targets.point_weights[:] = 0.0
        self._targets.segment_weights[:] = 0.0
        share = 1.0 - np.exp(-frames / (30.0 * RELAX_SECONDS))
        angles = self._work.angles
        self._targets.angle_means[:] = angles + share * (self._model.column("habit") - angles)

    def _measure(self, hand: HandLandmarks, palm: Palm, camera: Camera) -> None:
        """Directions in the palm's frame, pixels relative to the palm's own."""
        targets, rest = self._targets, self._rest_points
        targets.camera[:] = camera.focal_px, camera.cx, camera.cy
        world, px = (np.ascontiguousarray(a, np.float64) for a in (hand.world_m, hand.points_px))
        turn = palm_rotation(world, rest, palm.rotation)
        turned_directions(world, self._residuals.segments, turn, targets.segment_directions)
        targets.segment_weights[:] = 1.0 / DIRECTION_SIGMA
        depth = max(-float(palm.position_m[2]), 0.1)
        shift = palm_shift(px, rest, palm.rotation, palm.position_m, targets.camera)
        np.add(px[:, :2], shift, out=targets.points_px)
        targets.point_weights[:] = depth / (camera.focal_px * POINT_SIGMA_M)
        targets.point_weights[_PALM_ROWS] = 0.0


def _rest_points(model: AngleModel, points: PointSet) -> F64:
    """(21, 3) landmarks at rest relative to the wrist joint."""
    places = np.zeros((len(model.chain.parents), 3))
    for joint in range(1, len(places)):
        places[joint] = places[model.chain.parents[joint]] + model.chain.offsets_m[joint]
    return np.asarray(places[points.bones] + points.offsets_m)
