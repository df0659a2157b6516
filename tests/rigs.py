"""A small synthetic avatar with everything a real one has, for tests that need no model files."""

from __future__ import annotations

import numpy as np

from engine.avatar.topology import FusedAvatar, Region, Topology
from engine.quaternions import conjugate, from_rotation_vector, multiply
from engine.types import ARKIT_NAMES, F32, AvatarState, Camera

JOINTS = 6


def sphere(
    rings: int = 10, sectors: int = 12, radius: float = 0.3
) -> tuple[np.ndarray, np.ndarray]:
    """A closed, outward-facing sphere: vertices (V, 3) and triangles (F, 3)."""
    polar = np.pi * np.arange(1, rings) / rings
    around = 2 * np.pi * np.arange(sectors) / sectors
    grid = np.stack(
        [
            np.outer(np.sin(polar), np.sin(around)),
            np.outer(np.cos(polar), np.ones(sectors)),
            np.outer(np.sin(polar), np.cos(around)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = radius * np.concatenate([grid, [[0, 1, 0], [0, -1, 0]]])
    top, bottom = len(grid), len(grid) + 1
    faces = []
    for s in range(sectors):
        n = (s + 1) % sectors
        faces.append((top, s, n))
        last = (rings - 2) * sectors
        faces.append((bottom, last + n, last + s))
        for r in range(rings - 2):
            a, b = r * sectors + s, r * sectors + n
            c, d = a + sectors, b + sectors
            faces += [(a, c, b), (b, c, d)]
    return vertices.astype(np.float32), np.array(faces, np.int32)


def synthetic_avatar(seed: int = 0, influences: int = 5) -> FusedAvatar:
    """A sphere on a random joint tree with random skin, sparse expressions and a texture seam."""
    rng = np.random.default_rng(seed)
    vertices, faces = sphere()
    count = len(vertices)
    parents = np.array([-1, *(rng.integers(0, j) for j in range(1, JOINTS))], np.int32)
    weights = rng.random((count, influences)) * (rng.random((count, influences)) < 0.6)
    weights[:, 0] += 0.1
    joints = np.argsort(rng.random((count, JOINTS)), axis=1)[:, :influences]
    moved = rng.random((count, len(ARKIT_NAMES))) < 0.15
    morph_vertices, morph_actions = np.nonzero(moved)
    render_faces, render_vertices = faces.copy(), np.arange(count)
    # The last triangle has texture coordinates of its own.
    render_vertices = np.concatenate([render_vertices, faces[-1]])
    render_faces[-1] = [count, count + 1, count + 2]
    regions = np.where(vertices[:, 2] > 0.1, Region.FACE, Region.BODY).astype(np.uint8)
    return FusedAvatar(
        topology=Topology(
            faces=faces,
            regions=regions,
            seam_edges=faces[:4, :2].copy(),
            render_vertices=render_vertices.astype(np.int32),
            render_uvs=rng.random((count + 3, 2)).astype(np.float32),
            render_faces=render_faces,
        ),
        rest_vertices_m=vertices,
        joints_m=rng.normal(0, 0.2, (JOINTS, 3)).astype(np.float32),
        joint_names=tuple(f"joint{j}" for j in range(JOINTS)),
        parents=parents,
        skin_joints=joints.astype(np.int32),
        skin_weights=(weights / weights.sum(axis=1, keepdims=True)).astype(np.float32),
        morph_starts=np.concatenate([[0], np.cumsum(moved.sum(axis=1))]).astype(np.int32),
        morph_actions=morph_actions.astype(np.int32),
        morph_offsets_m=rng.normal(0, 0.01, (len(morph_vertices), 3)).astype(np.float32),
        texture=None,
        identity_version=3,
    )


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Radians, [0, pi], of the rotations that lead from quaternions ``a`` to ``b``."""
    difference = multiply(conjugate(a), b)
    sine = np.linalg.norm(difference[..., :3], axis=-1)
    return 2.0 * np.arctan2(sine, np.abs(difference[..., 3]))


def random_state(joints: int, seed: int = 0, spread: float = 0.6) -> AvatarState:
    """A random pose, expression and place."""
    rng = np.random.default_rng(seed)
    rotations = from_rotation_vector(rng.normal(0, spread, (joints, 3)))
    expression = rng.random(len(ARKIT_NAMES)) * (rng.random(len(ARKIT_NAMES)) < 0.7)
    return AvatarState(
        index=7,
        captured_at_ns=11,
        identity_version=0,
        rotations_xyzw=rotations.astype(np.float32),
        translation_m=rng.normal(0, 1, 3).astype(np.float32),
        expression=expression.astype(np.float32),
        camera=Camera.from_size(640, 480),
    )


def obvious_pose(avatar: FusedAvatar, state: AvatarState) -> np.ndarray:
    """Eqs (7)-(8) vertex by vertex in double precision: the slow twin of the kernels."""
    transforms = obvious_transforms(avatar.joints_m, avatar.parents, state.rotations_xyzw)
    posed = np.zeros(avatar.rest_vertices_m.shape)
    for v, rest in enumerate(avatar.rest_vertices_m):
        point = np.append(rest.astype(np.float64), 1.0)
        for n in range(avatar.morph_starts[v], avatar.morph_starts[v + 1]):
            activation = float(state.expression[avatar.morph_actions[n]])
            point[:3] += activation * avatar.morph_offsets_m[n]
        for joint, weight in zip(avatar.skin_joints[v], avatar.skin_weights[v], strict=True):
            posed[v] += float(weight) * (transforms[joint] @ point)[:3]
    return posed + state.translation_m


def obvious_transforms(joints_m: F32, parents: np.ndarray, rotations: F32) -> np.ndarray:
    """(J, 4, 4) by 4x4 products: move the joint to the origin, turn, move back, then the parent."""
    transforms = np.zeros((len(parents), 4, 4))
    for j, parent in enumerate(parents):
        x, y, z, w = rotations[j].astype(np.float64)
        turn, there, back = np.eye(4), np.eye(4), np.eye(4)
        turn[:3, :3] = np.eye(3) + 2 * w * _cross(x, y, z) + 2 * _cross(x, y, z) @ _cross(x, y, z)
        there[:3, 3], back[:3, 3] = joints_m[j], -joints_m[j]
        local = there @ turn @ back
        transforms[j] = transforms[parent] @ local if parent >= 0 else local
    return transforms


def _cross(x: float, y: float, z: float) -> np.ndarray:
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
