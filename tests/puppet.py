"""A person whose pose is known, seen by perfect or noisy landmark networks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.avatar.anny import BodyModel
from engine.body.body_problem import BodyProblem
from engine.body.hands import HandFitter, Palm
from engine.body.joint_angles import SIDES, RestJoints
from engine.body.kinematics import forward_kinematics, posed_joints
from engine.body.landmark_embedding import embed
from engine.body.smplify import BodyFit, BodyFitter
from engine.body.viewing_ray import body_rotation, ray_rotation
from engine.face.landmark_embedding import default_embedding
from engine.types import (
    F32,
    Camera,
    FaceLandmarks,
    HandLandmarks,
    Observation,
    Phenotypes,
    PoseLandmarks,
)

WIDTH, HEIGHT = 640, 480
CAMERA = Camera.from_size(WIDTH, HEIGHT)
FRAME_NS = 33_333_333


@dataclass
class Noise:
    """Standard deviations of the networks' errors."""

    px: float = 0.0
    world_m: float = 0.0


class Puppet:
    """Poses the rig and reports what the networks would see."""

    def __init__(self, body: BodyModel, phenotypes: Phenotypes | None = None) -> None:
        self.body = body
        self.shape = body.shape(phenotypes or Phenotypes())
        joints = self.shape.joints_m.astype(np.float64)
        rest = RestJoints(body.joint_names, joints)
        embedding = embed(body.joint_names, joints, self.shape.vertices_m.astype(np.float64))
        self.problem = BodyProblem(rest, body.parents, embedding)
        sets = (embedding.left_hand, embedding.right_hand)
        self.hands = [
            HandFitter(rest, body.parents, side, points)
            for side, points in zip(SIDES, sets, strict=True)
        ]
        self.index = self.problem.model.index

    def fitter(self) -> BodyFitter:
        shape = self.shape
        return BodyFitter(
            self.body.joint_names, shape.joints_m, self.body.parents, shape.vertices_m, CAMERA
        )

    def natural(self, rng: np.random.Generator, amount: float = 0.6) -> None:
        """A random pose within the joint limits, somewhere in front of the camera."""
        model = self.problem.model
        angles = model.column("habit").copy()
        spread = np.where(np.isfinite(model.column("spread")), model.column("spread"), 0.0)
        angles += rng.normal(size=len(angles)) * spread * amount
        angles = np.clip(angles, model.column("lower") * 0.9, model.column("upper") * 0.9)
        angles[:3] = 0.0, -1.0, -3.0
        angles[:3] += rng.normal(size=3) * 0.1
        angles[3:6] = rng.normal(size=3) * np.array([0.1, 0.5, 0.1])
        self.problem.angles[:] = angles
        for hand in self.hands:
            own = hand.model.column("habit").copy()
            own += rng.normal(size=len(own)) * hand.model.column("spread") * amount
            hand.angles[:] = np.clip(own, hand.model.column("lower"), hand.model.column("upper"))

    def see(
        self, index: int, noise: Noise | None = None, rng: np.random.Generator | None = None
    ) -> Observation:
        """What perfect networks, or noisy ones, report of the present pose."""
        noise, rng = noise or Noise(), rng or np.random.default_rng(0)
        self.problem.pose()
        for hand in self.hands:
            wrist = hand.rows[0]
            hand.pose(Palm(self.problem.rotations[wrist], self.problem.positions_m[wrist]))
        points = self.problem.landmarks_m
        hips = points[23:25].mean(axis=0)
        x, y = project(points)[23:25, :2].mean(axis=0)
        world = (points - hips) @ body_rotation(CAMERA, x, y)
        pose = PoseLandmarks(
            project(points) + _jitter(rng, 33, noise.px),
            (world + _jitter(rng, 33, noise.world_m)).astype(np.float32),
            np.ones(33, np.float32),
            1.0,
        )
        left, right = (_hand(hand.landmarks_m, noise, rng) for hand in self.hands)
        return Observation(index, 10**9 + index * FRAME_NS, WIDTH, HEIGHT, None, pose, left, right)

    def face(self) -> FaceLandmarks:
        """What a perfect face network reports of the present pose: a straight face."""
        head, embedding = self.body.joint_names.index("head"), default_embedding()
        rotation, place = self.problem.rotations[head], self.problem.positions_m[head]
        neutral = embedding.neutral_m(self.shape.vertices_m, self.shape.joints_m[head])
        points = neutral @ rotation.T + place
        pixels = project(points)
        pixels[:, 2] = (place[2] - points[:, 2]) * CAMERA.focal_px / -place[2]
        return FaceLandmarks(pixels, 1.0)

    @property
    def joints_m(self) -> np.ndarray:
        """(J, 3) true joints, fingers included."""
        joints = self.problem.positions_m.copy()
        for hand in self.hands:
            joints[hand.rows] = hand.positions_m
        return joints

    def fitted_joints_m(self, fit: BodyFit) -> np.ndarray:
        """(J, 3) joints that a receiver of the fit would compute."""
        transforms = np.zeros((len(self.body.parents), 3, 4), np.float32)
        joints = self.shape.joints_m
        forward_kinematics(fit.rotations_xyzw, joints, self.body.parents, transforms)
        return posed_joints(transforms, joints) + fit.translation_m

    def joints(self, *names: str) -> list[int]:
        return [self.body.joint_names.index(name) for name in names]


def project(points: np.ndarray) -> F32:
    """(P, 3) pixels of points in camera space; z as the networks give it, not used."""
    depth = -points[:, 2]
    u = CAMERA.cx + CAMERA.focal_px * points[:, 0] / depth
    v = CAMERA.cy - CAMERA.focal_px * points[:, 1] / depth
    return np.stack([u, v, np.zeros_like(u)], axis=1).astype(np.float32)


def _jitter(rng: np.random.Generator, count: int, sigma: float) -> F32:
    return (rng.normal(size=(count, 3)) * sigma).astype(np.float32)


def _hand(points: np.ndarray, noise: Noise, rng: np.random.Generator) -> HandLandmarks:
    x, y = project(points)[:, :2].mean(axis=0)
    turned = (points - points.mean(axis=0)) @ ray_rotation(CAMERA, float(x), float(y))
    world = turned.astype(np.float32)
    return HandLandmarks(
        project(points) + _jitter(rng, 21, 0.5 * noise.px),
        world + _jitter(rng, 21, 0.2 * noise.world_m),
        1.0,
    )


def without(seen: Observation, *points: int) -> Observation:
    """The same frame with some body points not visible."""
    assert seen.pose is not None
    visibility = seen.pose.visibility.copy()
    visibility[list(points)] = 0.0
    px, world = seen.pose.points_px.copy(), seen.pose.world_m.copy()
    # What a network invents for them is far from the truth.
    px[list(points)] += 80.0
    world[list(points)] += 0.4
    return replace(
        seen, pose=replace(seen.pose, visibility=visibility, points_px=px, world_m=world)
    )
