from __future__ import annotations

import numpy as np
import pytest
from rigs import angle_between, obvious_transforms, random_state, synthetic_avatar

from engine import quaternions as q
from engine.body.kinematics import forward_kinematics, posed_joints


def transforms_of(avatar, rotations):
    out = np.full((len(avatar.parents), 3, 4), np.nan, np.float32)
    forward_kinematics(rotations.astype(np.float32), avatar.joints_m, avatar.parents, out)
    return out


def test_identity_is_the_rest_pose():
    avatar = synthetic_avatar()
    out = transforms_of(avatar, q.identity(len(avatar.parents)))
    np.testing.assert_allclose(out, np.tile(np.eye(3, 4), (len(out), 1, 1)), atol=1e-7)
    np.testing.assert_allclose(posed_joints(out, avatar.joints_m), avatar.joints_m, atol=1e-7)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_with_matrix_products(seed):
    avatar = synthetic_avatar(seed)
    rotations = random_state(len(avatar.parents), seed).rotations_xyzw
    expected = obvious_transforms(avatar.joints_m, avatar.parents, rotations)[:, :3]
    np.testing.assert_allclose(transforms_of(avatar, rotations), expected, atol=2e-6)


def test_the_root_turns_about_its_own_position():
    avatar = synthetic_avatar(1)
    rotations = q.identity(len(avatar.parents))
    rotations[0] = q.from_rotation_vector(np.array([0.3, -0.8, 0.2]))
    joints = posed_joints(transforms_of(avatar, rotations), avatar.joints_m)
    np.testing.assert_allclose(joints[0], avatar.joints_m[0], atol=1e-6)
    turned = q.rotate(rotations[:1], avatar.joints_m - avatar.joints_m[0]) + avatar.joints_m[0]
    np.testing.assert_allclose(joints, turned, atol=1e-6)


def test_velocity_of_a_joint_is_axis_cross_lever():
    """What the fits' Jacobians are made of holds for the kinematics that pose the mesh."""
    avatar = synthetic_avatar(2)
    rotations = random_state(len(avatar.parents), 2).rotations_xyzw.astype(np.float64)
    transforms = transforms_of(avatar, rotations)
    positions = posed_joints(transforms, avatar.joints_m)
    moved, step = 1, 1e-2
    descendants = [j for j in range(len(positions)) if _follows(avatar.parents, j, moved)]
    for axis in np.eye(3):
        ends = []
        for sign in (1, -1):
            turned = rotations.copy()
            turn = q.from_rotation_vector(sign * step * axis)
            turned[moved] = q.multiply(turn, rotations[moved])
            ends.append(posed_joints(transforms_of(avatar, turned), avatar.joints_m))
        measured = (ends[0] - ends[1]) / (2 * step)
        parent = avatar.parents[moved]
        global_axis = transforms[parent, :, :3] @ axis
        expected = np.zeros_like(measured)
        expected[descendants] = np.cross(global_axis, positions[descendants] - positions[moved])
        np.testing.assert_allclose(measured, expected, atol=1e-4)


def _follows(parents, joint, ancestor):
    while joint >= 0:
        if joint == ancestor:
            return True
        joint = parents[joint]
    return False


def rotations(count, seed=0, largest=np.pi):
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return axes * rng.uniform(0, largest, (count, 1))


def same(a, b, atol=1e-9):
    np.testing.assert_allclose(angle_between(a, b), 0, atol=atol)


def test_matrix_and_back():
    quaternions = q.from_rotation_vector(rotations(500))
    matrices = q.to_matrix(quaternions)
    np.testing.assert_allclose(
        matrices @ matrices.swapaxes(-1, -2), np.tile(np.eye(3), (500, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(matrices), 1)
    same(q.from_matrix(matrices), quaternions)


@pytest.mark.parametrize("axis", np.eye(3))
def test_half_turns_survive_the_matrix(axis):
    half = q.from_rotation_vector(np.pi * axis)
    same(q.from_matrix(q.to_matrix(half)), half)


def test_rotation_vector_and_back():
    vectors = rotations(500)
    np.testing.assert_allclose(
        q.to_rotation_vector(q.from_rotation_vector(vectors)), vectors, atol=1e-9
    )
    np.testing.assert_array_equal(q.to_rotation_vector(q.from_rotation_vector(np.zeros(3))), 0)
    tiny = np.array([1e-12, 0, 0])
    np.testing.assert_allclose(q.to_rotation_vector(q.from_rotation_vector(tiny)), tiny)


def test_products_compose_rotations():
    a, b = (q.from_rotation_vector(rotations(100, seed)) for seed in (1, 2))
    points = np.random.default_rng(3).normal(size=(100, 3))
    np.testing.assert_allclose(
        q.rotate(q.multiply(a, b), points), q.rotate(a, q.rotate(b, points)), atol=1e-12
    )
    np.testing.assert_allclose(
        q.rotate(a, points), np.einsum("nij,nj->ni", q.to_matrix(a), points), atol=1e-12
    )
    same(q.multiply(a, q.conjugate(a)), np.tile([0.0, 0, 0, 1], (100, 1)))


def test_slerp_runs_at_constant_speed_the_short_way():
    a = q.from_rotation_vector(rotations(50, 1))
    b = q.multiply(a, q.from_rotation_vector(rotations(50, 2, 3.0)))
    for target in (b, -b):
        quarter = q.slerp(a, target, 0.25)
        np.testing.assert_allclose(angle_between(a, quarter), angle_between(a, b) / 4, atol=1e-9)
        same(q.slerp(a, target, 1.0), b)


def test_between_vectors_is_the_smallest_turn():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(2, 200, 3))
    target[0] = -2 * source[0]
    turn = q.between_vectors(source, target)
    unit = target / np.linalg.norm(target, axis=1, keepdims=True)
    rotated = q.rotate(turn, source) / np.linalg.norm(source, axis=1, keepdims=True)
    np.testing.assert_allclose(rotated, unit, atol=1e-9)
    cosine = np.sum(unit * source, axis=1) / np.linalg.norm(source, axis=1)
    np.testing.assert_allclose(
        angle_between(turn, q.between_vectors(source, source)),
        np.arccos(np.clip(cosine, -1, 1)),
        atol=1e-6,
    )


def test_swing_twist_recomposes_and_separates():
    quaternions = q.from_rotation_vector(rotations(200, largest=3.0))
    axis = np.array([0.6, 0.0, 0.8])
    swing, twist = q.swing_twist(quaternions, axis)
    same(q.multiply(swing, twist), quaternions)
    np.testing.assert_allclose(np.cross(twist[:, :3], axis), 0, atol=1e-12)
    np.testing.assert_allclose(swing[:, :3] @ axis, 0, atol=1e-12)
