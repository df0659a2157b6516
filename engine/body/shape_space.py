"""The shapes that a fit may give a body: a few independent directions, each of unit variance.

SMPL's betas are that by construction. Anny's coefficients are not (six phenotypes make 136 of
them, far from independent), so theirs are the principal components over drawn phenotypes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from engine.avatar.anny import BodyModel
from engine.avatar.parametric_body import ParametricBody
from engine.types import F32, F64, I32, Phenotypes

BETAS = 16
DRAWN, COMPONENTS, SEED = 600, 40, 0
LEAST_SHARE = 1e-5
"""Of the first component's variance: what moves less is not worth a parameter."""


@dataclass(frozen=True, slots=True)
class ShapeSpace:
    """``betas = mean + z components`` with z drawn from N(0, 1)."""

    mean: F64
    """(S,)."""
    components: F64
    """(K, S)."""

    def betas(self, z: F64) -> F32:
        """(S,) of (K,)."""
        return np.asarray(self.mean + z @ self.components, np.float32)


def betas_space(body: ParametricBody) -> ShapeSpace:
    """The first betas of a model of SMPL's family."""
    return ShapeSpace(np.zeros(body.betas), np.eye(body.betas)[:BETAS])


def anny_space(model: BodyModel) -> ShapeSpace:
    """Anny's: how people of all phenotypes but children's differ."""
    rng = np.random.default_rng(SEED)
    drawn = np.array([model.coefficients(_anybody(rng)) for _ in range(DRAWN)], np.float64)
    mean = drawn.mean(axis=0)
    _, spread, rows = np.linalg.svd(drawn - mean, full_matrices=False)
    spread /= np.sqrt(DRAWN - 1)
    kept = int((spread[:COMPONENTS] ** 2 > LEAST_SHARE * spread[0] ** 2).sum())
    return ShapeSpace(mean, spread[:kept, None] * rows[:kept])


def _anybody(rng: np.random.Generator) -> Phenotypes:
    gender, muscle, weight, height, proportions = map(float, rng.uniform(0, 1, 5))
    age = float(rng.uniform(0.5, 1.0))
    return Phenotypes(gender, age, muscle, weight, height, proportions)


def confined(body: ParametricBody, space: ShapeSpace, rows: I32) -> ParametricBody:
    """Some vertices of a body whose shapes are the space's components: what a fit computes with."""
    columns = (3 * rows[:, None] + np.arange(3)).ravel()
    dirs, joints = body.shape_dirs_m[: body.betas], body.joint_dirs_m[: body.betas]
    mean = body.template_m[rows] + (space.mean @ dirs[:, columns]).reshape(-1, 3)
    places = body.joint_template_m + (space.mean @ joints).reshape(-1, 3)
    return replace(
        body,
        template_m=mean.astype(np.float32),
        shape_dirs_m=(space.components @ dirs[:, columns]).astype(np.float32),
        betas=len(space.components),
        pose_dirs_m=np.ascontiguousarray(body.pose_dirs_m[:, columns]),
        joint_template_m=places.astype(np.float32),
        joint_dirs_m=(space.components @ joints).astype(np.float32),
        weights=body.weights[rows],
        faces=np.zeros((0, 3), np.int32),
        hands=None,
    )
