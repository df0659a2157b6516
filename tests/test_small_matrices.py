from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.small_matrices import (
    exponential,
    logarithm,
    multiply,
    nearest_rotation,
    rotation_of,
    solve_cholesky,
    transform,
    turn_by,
)


@pytest.mark.parametrize("length", [0.0, 1e-9, 1e-6, 0.5, 3.1, 6.0])
def test_exponential_is_scipys_and_its_jacobian_is_its_derivative(length: float) -> None:
    vector = length * np.array([0.36, -0.8, 0.48])
    rotation, left = np.empty((3, 3)), np.empty((3, 3))
    exponential(vector, rotation, left)
    np.testing.assert_allclose(rotation, Rotation.from_rotvec(vector).as_matrix(), atol=1e-12)
    h = 1e-6
    for k, step in enumerate(np.eye(3) * h):
        turn = Rotation.from_rotvec(vector + step) * Rotation.from_rotvec(vector - step).inv()
        np.testing.assert_allclose(left[:, k], turn.as_rotvec() / (2 * h), atol=1e-8)


def test_products_are_numpys() -> None:
    rng = np.random.default_rng(0)
    a, b, x = rng.normal(size=(3, 3)), rng.normal(size=(3, 3)), rng.normal(size=3)
    product, turned = np.empty((3, 3)), np.empty(3)
    multiply(a, b, product)
    transform(a.T, x, turned)
    np.testing.assert_allclose(product, a @ b, atol=1e-12)
    np.testing.assert_allclose(turned, a.T @ x, atol=1e-12)


def test_cholesky_steps_downhill_and_refuses_what_is_not_positive() -> None:
    rng = np.random.default_rng(1)
    square = rng.normal(size=(6, 6))
    hessian, gradient = square @ square.T + np.eye(6), rng.normal(size=6)
    factor, step = np.empty((6, 6)), np.empty(6)
    assert solve_cholesky(hessian, 0.5, factor, gradient, step)
    damped = hessian + 0.5 * np.diag(np.diag(hessian))
    np.testing.assert_allclose(step, np.linalg.solve(damped, -gradient), rtol=1e-6)
    assert not solve_cholesky(-hessian, 0.5, factor, gradient, step)


@pytest.mark.parametrize("length", [0.0, 1e-9, 0.5, np.pi - 1e-6])
def test_logarithm_undoes_the_exponential(length: float) -> None:
    vector, found = length * np.array([0.36, -0.8, 0.48]), np.empty(3)
    logarithm(Rotation.from_rotvec(vector).as_matrix(), found)
    np.testing.assert_allclose(found, vector, atol=1e-8)


def test_turns_are_scipys() -> None:
    start, turn = Rotation.random(2, random_state=3)
    turned, matrix = start.as_matrix(), np.empty((3, 3))
    turn_by(turn.as_rotvec(), turned)
    np.testing.assert_allclose(turned, (turn * start).as_matrix(), atol=1e-12)
    rotation_of(turn.as_quat(), matrix)
    np.testing.assert_allclose(matrix, turn.as_matrix(), atol=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_the_nearest_rotation_is_scipys_and_never_mirrors(seed: int) -> None:
    rng, found = np.random.default_rng(seed), np.empty((3, 3))
    points = rng.normal(size=(5, 3)) * [1.0, 1.0, 1e-3 if seed % 2 else 1.0]
    turned = points @ Rotation.random(random_state=seed).as_matrix().T
    turned += rng.normal(0.0, 0.05, turned.shape)
    for target in (turned, -turned):
        nearest_rotation(points.T @ target, found)
        assert np.linalg.det(found) == pytest.approx(1.0)
        expected, _ = Rotation.align_vectors(target, points)
        np.testing.assert_allclose(found, expected.as_matrix(), atol=1e-6)
