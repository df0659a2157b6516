from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from engine.small_matrices import exponential, multiply, solve_cholesky, transform


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
