"""Measure where the pose network sees its points on Anny: the OFFSETS of ``embed_landmarks``.

    python -m exporters.calibrate_landmarks [PEOPLE] [FRAMES]

Needs a finished `sars setup` and OpenGL.

Painted performers of different shapes act in front of a camera; the pose network reads each
picture; for each landmark the offset in its carrying bone is found that best reprojects, by
reweighted linear least squares. Both sides are averaged. Prints a table to paste.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from engine import quaternions
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.body.kinematics import forward_kinematics
from engine.body.landmark_embedding import PointSet, embed
from engine.inference.store import ModelStore
from engine.perception.body import BodyTracker
from engine.perception.networks import Networks
from engine.rendering.background import room
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.sources.motion.script import ScriptedMotion
from engine.sources.motion.skeleton import Skeleton
from engine.sources.performer import Performer, PerformerOptions, person
from engine.types import F32, F64, AvatarState, Camera, PoseLandmarks

PEOPLE, FRAMES = 6, 24
SEEN = 0.8
OUTLIER_M = 0.02
RIDGE = 0.02
"""Share of an equation's weight per view that pulls a coordinate nobody shows towards zero."""
MAX_TURN_DEGREES = 75.0
GOLDEN_ANGLE = 2.39996
PAIRS = {
    "eye_inner": (1, 4), "eye": (2, 5), "eye_outer": (3, 6), "ear": (7, 8), "mouth": (9, 10),
    "shoulder": (11, 12), "elbow": (13, 14), "wrist": (15, 16), "pinky": (17, 18),
    "index": (19, 20), "thumb": (21, 22), "hip": (23, 24), "knee": (25, 26), "ankle": (27, 28),
    "heel": (29, 30), "foot_index": (31, 32),
}  # fmt: skip
MIRROR = np.array([-1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class View:
    """One landmark in one picture: two linear equations for its offset."""

    jacobian: F64
    """(2, 3) metres across the picture per metre of offset."""
    residual_m: F64
    """(2,) seen minus drawn, at the landmark's depth."""


def main() -> None:
    """Read the arguments; print the offsets, metres, left side, and how many views made each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("people", type=int, nargs="?", default=PEOPLE)
    parser.add_argument("frames", type=int, nargs="?", default=FRAMES, help="of each of them")
    given = parser.parse_args()
    views: list[list[View]] = [[] for _ in range(33)]
    networks = Networks(ModelStore.default())
    for seed in range(1, given.people + 1):
        for landmark, view in _views(networks, seed, given.frames):
            views[landmark].append(view)
    for name, (left, right) in PAIRS.items():
        offset = 0.5 * (solve_offset(views[left]) + MIRROR * solve_offset(views[right]))
        counts = len(views[left]), len(views[right])
        print(f'    "{name}": ({offset[0]:.3f}, {offset[1]:.3f}, {offset[2]:.3f}),  # {counts}')


def solve_offset(views: list[View]) -> F64:
    """(3,) offset in the bone's rest axes; zero where hardly anything was seen."""
    if len(views) < 8:
        return np.zeros(3)
    matrix = np.concatenate([view.jacobian for view in views])
    right = np.concatenate([view.residual_m for view in views])
    weights, offset = np.ones(len(right)), np.zeros(3)
    for _ in range(10):
        weighted = matrix * weights[:, None]
        offset = np.linalg.solve(
            matrix.T @ weighted + RIDGE * len(views) * np.eye(3), weighted.T @ right
        )
        weights = 1.0 / (1.0 + ((right - matrix @ offset) / OUTLIER_M) ** 2)
    return offset


def _views(networks: Networks, seed: int, frames: int) -> Iterator[tuple[int, View]]:
    avatar = person(seed)
    # Two pictures a second of a scripted act: poses apart enough to be different evidence.
    options = PerformerOptions(framing="full", seed=seed, frames=frames, fps=2.0)
    performer = Performer(avatar, ScriptedMotion(Skeleton.of(avatar), seed, full=True), options)
    shape = avatar.joint_names, avatar.joints_m, avatar.rest_vertices_m
    anatomy = embed(*shape, calibrated=False).body
    poser = Poser(avatar)
    with OffscreenRenderer(*performer.size) as renderer:
        renderer.set_texture(avatar.texture)
        renderer.set_light(Light.varied(seed))
        renderer.set_background(room(seed))
        for index in range(frames):
            state = turned(performer.truth(index).state, index)
            picture = renderer.render(poser.pose(state), performer.camera)
            seen = BodyTracker(networks).track(picture)
            if seen is not None:
                yield from _equations(avatar, anatomy, state, seen)


def turned(state: AvatarState, index: int) -> AvatarState:
    """The same pose seen from another side: depth is read from how points shift with the turn."""
    angle = np.radians(MAX_TURN_DEGREES) * np.sin(GOLDEN_ANGLE * index)
    yaw = quaternions.from_rotation_vector(np.array([0.0, angle, 0.0]))
    rotations = state.rotations_xyzw.copy()
    rotations[0] = quaternions.multiply(yaw, rotations[0].astype(np.float64))
    return replace(state, rotations_xyzw=rotations)


def _equations(
    avatar: FusedAvatar, points: PointSet, state: AvatarState, seen: PoseLandmarks
) -> Iterator[tuple[int, View]]:
    transforms: F32 = np.zeros((len(avatar.parents), 3, 4), np.float32)
    forward_kinematics(state.rotations_xyzw, avatar.joints_m, avatar.parents, transforms)
    for landmark, bone in enumerate(points.bones):
        if seen.visibility[landmark] < SEEN:
            continue
        turn, shift = transforms[bone, :, :3], transforms[bone, :, 3]
        rest = avatar.joints_m[bone] + points.offsets_m[landmark]
        place = turn @ rest + shift + state.translation_m
        yield landmark, _view(place, turn, state.camera, seen.points_px[landmark, :2])


def _view(place: F64, turn: F32, camera: Camera, px: F32) -> View:
    depth = -place[2]
    drawn = np.array(
        [
            camera.cx + camera.focal_px * place[0] / depth,
            camera.cy - camera.focal_px * place[1] / depth,
        ]
    )
    across = turn[0] + place[0] / depth * turn[2]
    down = -turn[1] - place[1] / depth * turn[2]
    residual = (px - drawn) * depth / camera.focal_px
    return View(np.stack([across, down]).astype(np.float64), residual)


if __name__ == "__main__":
    main()
