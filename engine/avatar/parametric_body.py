"""Linear parametric bodies: SMPL, SMPL+H, SMPL-X and Anny behind one interface.

    M(beta, theta) = W(T(beta, theta), J(beta), theta, w)                       SARS eqs (4)-(8)
    T = T_mean + B_S(beta) + B_P(theta)

(Loper et al., *SMPL* 2015; Romero et al., *Embodied Hands* 2017; Pavlakos et al., *SMPL-X* 2019;
Bregier et al., *Anny* 2025, which has no B_P.) Rotations are axis-angle relative to the parent,
identity is the rest pose, everything is in the model's own axes and metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.avatar.anny import BodyModel
from engine.avatar.topology import FusedAvatar
from engine.errors import ModelFileError
from engine.types import ARKIT_NAMES, F32, I32

MAX_VERTICES, MAX_JOINTS, MAX_SHAPES = 200_000, 512, 2_000


@dataclass(frozen=True, slots=True)
class HandPoses:
    """The official principal components of one hand's 15 joints."""

    mean: F32
    """(45,) axis-angle of the relaxed hand."""
    components: F32
    """(P, 45) rows."""

    def pose(self, weights: F32, *, flat: bool = False) -> F32:
        """(15, 3) axis-angle of component weights (P' <= P,); ``flat`` leaves the mean out."""
        moved = weights @ self.components[: len(weights)]
        return np.asarray((moved if flat else moved + self.mean).reshape(15, 3), np.float32)


@dataclass(frozen=True, slots=True)
class ParametricBody:
    """V vertices, J joints, S shapes of identity, E of expression."""

    name: str
    template_m: F32
    """(V, 3) mean body at rest."""
    shape_dirs_m: F32
    """(S + E, 3V): what one unit of each beta, then of each expression, moves; x y z of vertex 0
    first."""
    betas: int
    """S."""
    pose_dirs_m: F32
    """(9 (J - 1), 3V): what each entry of ``R_j - 1`` moves, row-major, joint 1 first; (0, 3V)
    where the model has no pose correctives."""
    joint_template_m: F32
    """(J, 3) joints of the mean body."""
    joint_dirs_m: F32
    """(S + E, 3J): how they move with the shapes."""
    parents: I32
    """(J,), -1 for the root; parents come before children."""
    weights: F32
    """(V, J) rows sum to 1."""
    faces: I32
    """(F, 3)."""
    hands: tuple[HandPoses, HandPoses] | None = field(default=None)
    """Left and right, where the model has them."""
    joint_names: tuple[str, ...] = ()
    """(J,) the model's own, where they are known; see :mod:`engine.avatar.joint_names`."""

    def __post_init__(self) -> None:
        """Check every shape and index once, so that no kernel has to.

        Raises:
            ModelFileError: what was expected, and what was found.
        """
        v, j, k = len(self.template_m), len(self.joint_template_m), len(self.shape_dirs_m)
        if not (0 < v <= MAX_VERTICES and 0 < j <= MAX_JOINTS and k <= MAX_SHAPES):
            raise ModelFileError(f"{self.name}: {v} vertices, {j} joints, {k} shapes are no body's")
        correctives = 0 if len(self.pose_dirs_m) == 0 else 9 * (j - 1)
        expected = {
            "template_m": (v, 3),
            "shape_dirs_m": (k, 3 * v),
            "pose_dirs_m": (correctives, 3 * v),
            "joint_template_m": (j, 3),
            "joint_dirs_m": (k, 3 * j),
            "parents": (j,),
            "weights": (v, j),
            "faces": (len(self.faces), 3),
        }
        for name, shape in expected.items():
            array = getattr(self, name)
            if array.shape != shape:
                raise ModelFileError(
                    f"{self.name}: expected {name} of shape {shape}, found {array.shape}"
                )
            if not np.isfinite(array).all():
                raise ModelFileError(f"{self.name}: {name} holds numbers that are not finite")
        if self.joint_names and len(self.joint_names) != j:
            raise ModelFileError(f"{self.name}: {len(self.joint_names)} names of {j} joints")
        if not 0 <= self.betas <= k:
            raise ModelFileError(f"{self.name}: {self.betas} betas of {k} shapes")
        is_tree = self.parents[0] == -1 and (self.parents[1:] >= 0).all()
        if not (is_tree and (self.parents < np.arange(j)).all()):
            raise ModelFileError(f"{self.name}: the joints are not a tree in order")
        if self.faces.size and not 0 <= self.faces.min() <= self.faces.max() < v:
            raise ModelFileError(f"{self.name}: faces point outside of 0..{v - 1}")
        if np.abs(self.weights.sum(axis=1) - 1.0).max() > 1e-3 or self.weights.min() < -1e-6:
            raise ModelFileError(f"{self.name}: skinning weights do not sum to 1")


def anny_as_body(model: BodyModel) -> ParametricBody:
    """Anny behind the same interface: betas are the coefficients of its basis.

    ``model.coefficients(phenotypes)`` gives them. Expressions are the 52 ARKit actions. The body
    stands where the template stands; ``BodyModel.shape`` also puts its lowest vertex on the floor.
    """
    fine = model.basis_fine.astype(np.float32) * np.float32(model.basis_fine_step_m)
    v, j = len(model.template_m), len(model.template_joints_m)
    actions = np.zeros((len(ARKIT_NAMES), v, 3), np.float32)
    owners = np.repeat(np.arange(v), np.diff(model.morph_starts))
    actions[model.morph_actions, owners] = model.morph_offsets_m
    weights = np.zeros((v, j), np.float32)
    np.add.at(weights, (np.arange(v)[:, None], model.skin_joints), model.skin_weights)
    still = np.zeros((len(ARKIT_NAMES), 3 * j), np.float32)
    basis = np.vstack([model.basis_coarse_m, fine])
    return ParametricBody(
        name="anny",
        template_m=model.template_m,
        shape_dirs_m=np.vstack([basis, actions.reshape(len(ARKIT_NAMES), 3 * v)]),
        betas=len(basis),
        pose_dirs_m=np.zeros((0, 3 * v), np.float32),
        joint_template_m=model.template_joints_m,
        joint_dirs_m=np.vstack([model.joint_basis_m, still]),
        parents=model.parents,
        weights=weights,
        faces=model.faces,
        joint_names=model.joint_names,
    )


def avatar_as_body(avatar: FusedAvatar) -> ParametricBody:
    """A person's own avatar behind the same interface: one shape, no expressions."""
    v, j = len(avatar.rest_vertices_m), len(avatar.joints_m)
    weights = np.zeros((v, j), np.float32)
    np.add.at(weights, (np.arange(v)[:, None], avatar.skin_joints), avatar.skin_weights)
    return ParametricBody(
        name="avatar",
        template_m=avatar.rest_vertices_m,
        shape_dirs_m=np.zeros((0, 3 * v), np.float32),
        betas=0,
        pose_dirs_m=np.zeros((0, 3 * v), np.float32),
        joint_template_m=avatar.joints_m,
        joint_dirs_m=np.zeros((0, 3 * j), np.float32),
        parents=avatar.parents,
        weights=weights,
        faces=avatar.topology.faces,
        joint_names=avatar.joint_names,
    )
