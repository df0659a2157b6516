"""What poses of SMPL's family are likely: SMPLify's priors (Bogo et al. 2016, section 3.2).

Each prior gives residuals and their Jacobian, so that half the sum of squares is its cost:

    pose            min over k of (theta - mu_k)^T Sigma_k^-1 (theta - mu_k) / 2 - log(weight_k)
    joint limits    exp of elbows and knees that bend the wrong way
    shape           |beta|^2 / 2

The shipped mixture was learned from openly licensed motion by ``exporters.train_pose_prior``; a
user's own ``gmm_08.pkl`` has the same layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from engine.avatar.array_file import open_arrays
from engine.errors import ModelFileError
from engine.types import F64, I32

FILE_NAME = "pose_prior.npz"
BODY_JOINTS = 21
"""Joints after the root that all of SMPL's family have: up to the wrists."""
MOST_COMPONENTS = 64
_MAX_BYTES = 16 << 20
_LIMITED = ((18, 1, 1.0), (19, 1, -1.0), (4, 0, -1.0), (5, 0, -1.0))
"""(joint, axis, sign): left and right elbow, left and right knee; the way they cannot bend."""
LIMIT_SHARPNESS, LIMIT_AT_STRAIGHT = 3.0, 0.5


@dataclass(frozen=True, slots=True)
class PosePrior:
    """A mixture of K Gaussians over the axis-angle of D / 3 joints after the root."""

    means: F64
    """(K, D)."""
    whiteners: F64
    """(K, D, D): ``W^T W`` is the inverse covariance."""
    offsets: F64
    """(K,) cost at the mean, from weight and determinant; the smallest is 0."""

    @classmethod
    def of(cls, means: F64, covariances: F64, weights: F64) -> PosePrior:
        """From the numbers of a mixture; dimensions beyond the wrists are left out.

        Raises:
            ModelFileError: shapes that do not belong together, or covariances that are none.
        """
        k, d = means.shape if means.ndim == 2 else (0, 0)
        right = covariances.shape == (k, d, d) and weights.shape == (k,)
        if not (0 < k <= MOST_COMPONENTS and d >= 3 * BODY_JOINTS and right):
            raise ModelFileError(
                f"expected a pose prior of K means (K, {3 * BODY_JOINTS} or more), covariances and "
                f"weights, found {means.shape}, {covariances.shape} and {weights.shape}"
            )
        used = 3 * BODY_JOINTS
        means, covariances = means[:, :used], covariances[:, :used, :used]
        finite = all(np.isfinite(a).all() for a in (means, covariances, weights))
        if not finite or weights.min() <= 0.0:
            raise ModelFileError("expected a pose prior of finite numbers and positive weights")
        try:
            factors = np.linalg.cholesky(covariances)
        except np.linalg.LinAlgError as error:
            raise ModelFileError("expected covariances that are positive definite") from error
        halves = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        offsets = halves - np.log(weights / weights.sum())
        whiteners = np.linalg.solve(factors, np.broadcast_to(np.eye(used), factors.shape))
        return cls(means, whiteners, offsets - offsets.min())

    def residuals(self, theta: F64) -> tuple[F64, F64, float]:
        """(D,) residuals, (D, D) Jacobian and the constant cost of the nearest component."""
        apart = np.einsum("kij,kj->ki", self.whiteners, theta - self.means)
        best = int(np.argmin(0.5 * (apart**2).sum(axis=1) + self.offsets))
        return apart[best], self.whiteners[best], float(self.offsets[best])


@cache
def shipped_prior() -> PosePrior:
    """The mixture that comes with the engine."""
    with resources.as_file(resources.files(__package__).joinpath(FILE_NAME)) as path:
        return read_prior(path)


def read_prior(path: Path) -> PosePrior:
    """From an ``.npz`` of ``means``, ``covars`` and ``weights``.

    Raises:
        ModelFileError: it is missing, damaged or holds no mixture.
    """
    with open_arrays(path, _MAX_BYTES, "name a pose prior's .npz") as file:
        return PosePrior.of(
            *(file.read(n).astype(np.float64) for n in ("means", "covars", "weights"))
        )


def limit_residuals(theta: F64) -> tuple[F64, F64]:
    """(4,) residuals and their (4, D) Jacobian: elbows and knees bent against their hinge.

    Args:
        theta: (D,) axis-angle of the joints after the root.
    """
    rows = np.array([3 * (joint - 1) + axis for joint, axis, _ in _LIMITED], np.int32)
    signs = LIMIT_SHARPNESS * np.array([sign for *_, sign in _LIMITED])
    # A wrong bend of a radian is wrong enough; beyond it the slope stays finite.
    found = LIMIT_AT_STRAIGHT * np.exp(np.minimum(signs * theta[rows], LIMIT_SHARPNESS))
    jacobian = np.zeros((len(rows), len(theta)))
    jacobian[np.arange(len(rows)), rows] = signs * found
    return found, jacobian


@dataclass(frozen=True, slots=True)
class Spheres:
    """A body as spheres along its bones, for parts that must not lie in one another."""

    starts: I32
    """(N,) joint at a bone's start."""
    ends: I32
    """(N,) joint at its end."""
    shares: F64
    """(N,) where on the bone."""
    radii_m: F64
    """(N,)."""
    pairs: I32
    """(P, 2) that are compared: not of one bone or its neighbours, and apart at rest."""

    def residuals(self, joints_m: F64, joints_by: F64) -> tuple[F64, F64]:
        """(P',) depths in metres of the pairs that overlap, and their (P', N) Jacobian.

        Args:
            joints_m: (J, 3) posed.
            joints_by: (J, 3, N) derivatives by the unknowns.
        """
        a, b = self.shares[:, None], 1.0 - self.shares[:, None]
        centres = b * joints_m[self.starts] + a * joints_m[self.ends]
        i, j = self.pairs.T
        apart = centres[i] - centres[j]
        distance = np.maximum(np.linalg.norm(apart, axis=1), 1e-6)
        depth = self.radii_m[i] + self.radii_m[j] - distance
        hit = np.flatnonzero(depth > 0.0)
        i, j, direction = i[hit], j[hit], apart[hit] / distance[hit, None]
        moved = b[..., None] * joints_by[self.starts] + a[..., None] * joints_by[self.ends]
        return depth[hit], -np.einsum("pc,pcn->pn", direction, moved[i] - moved[j])
