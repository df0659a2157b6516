"""Vertices of a parametric body from shape and pose: one pass over tiles that stay in the cache.

The pose correctives are the work: SMPL-X has 486 of them, 61 MB that every frame reads. They are
kept as 16-bit steps, half as much to read (the largest error, summed over all, is a micrometre or
two), tile by tile in the order in which they are used; correctives of a joint at rest are
skipped. Skinning follows while a tile is warm, over the joints that it hangs on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray

from engine.avatar.parametric_body import ParametricBody
from engine.errors import AvatarError
from engine.types import F32, I32

TILE = 256
"""Vertices. Its points, and four rows of correctives, stay in L1."""
STEPS = 32_767
FINEST_M = 4e-7
"""Rows whose steps are larger are held in two."""


@dataclass(frozen=True, slots=True)
class _Stepped:
    """Displacements in 16-bit steps, tile by tile."""

    rows: NDArray[np.int16]
    """(tiles, K, 3 TILE)."""
    steps_m: F32
    """(K,)."""
    owners: NDArray[np.intp]
    """(K,) the coefficient of each row."""

    def factors(self, coefficients: F32) -> tuple[F32, I32]:
        """(K,) metres per count, and which of them are not zero: a joint at rest costs nothing."""
        found = coefficients[self.owners] * self.steps_m
        return found, np.flatnonzero(found).astype(np.int32)


class BodyPoser:
    """Poses one body model. Not for two threads at once: results share its buffers."""

    def __init__(self, body: ParametricBody) -> None:
        """Lay the model out in tiles: once a model, a second for SMPL-X."""
        self.body = body
        v, j = len(body.template_m), len(body.parents)
        self._tiles = -(-v // TILE)
        self._template = self._tiled(body.template_m.reshape(1, -1))[:, 0]
        self._shapes = self._stepped(body.shape_dirs_m)
        self._correctives = self._stepped(body.pose_dirs_m)
        self._joints, self._starts, self._weights = self._hung(body.weights)
        self._used = np.zeros(len(body.shape_dirs_m), np.float32)
        self._shaped = self._template.copy()
        self._rest_joints = body.joint_template_m.copy()
        self._transforms = np.zeros((j, 3, 4), np.float32)
        self._local = np.zeros((j, 3, 3), np.float32)
        self._vertices = np.zeros((v, 3), np.float32)

    @property
    def rest_joints_m(self) -> F32:
        """(J, 3) of the shape set last."""
        return self._rest_joints

    @property
    def joints_m(self) -> F32:
        """(J, 3) posed, without translation, of the last :meth:`pose`."""
        rotated = np.einsum("jab,jb->ja", self._transforms[:, :, :3], self._rest_joints)
        return np.asarray(rotated + self._transforms[:, :, 3], np.float32)

    def shape(self, betas: F32, expression: F32 | None = None) -> None:
        """Set whose body is posed, ``T_mean + B_S``: eqs (4)-(5).

        Args:
            betas: (at most S,); those left out are 0.
            expression: (at most E,); likewise.

        Raises:
            AvatarError: more coefficients than the model has, or one that is not a number.
        """
        body = self.body
        room = len(body.shape_dirs_m) - body.betas
        given = 0 if expression is None else len(expression)
        if len(betas) > body.betas or given > room:
            raise AvatarError(
                f"{body.name} has {body.betas} betas and {room} expressions, "
                f"found {len(betas)} and {given}"
            )
        used = np.zeros(len(body.shape_dirs_m), np.float32)
        used[: len(betas)] = betas
        if expression is not None:
            used[body.betas : body.betas + given] = expression
        if not np.isfinite(used).all():
            raise AvatarError(f"expected finite shape coefficients for {body.name}")
        if np.array_equal(used, self._used):
            return  # the same person as before, as in nearly every frame
        self._used = used
        _add_rows(self._template, self._shapes.rows, *self._shapes.factors(used), self._shaped)
        self._rest_joints = body.joint_template_m + (used @ body.joint_dirs_m).reshape(-1, 3)

    def pose(self, rotations: F32, translation_m: F32) -> F32:
        """Pose the shape set last: eqs (6)-(8).

        Args:
            rotations: (J, 3) axis-angle relative to the parent.
            translation_m: (3,) added to every vertex.

        Returns:
            (V, 3), overwritten by the next call.

        Raises:
            AvatarError: the arrays have other shapes, or hold what is not a number.
        """
        if rotations.shape != self._rest_joints.shape or translation_m.shape != (3,):
            raise AvatarError(
                f"{self.body.name} takes rotations {self._rest_joints.shape} and a translation "
                f"(3,), found {rotations.shape} and {translation_m.shape}"
            )
        if not (np.isfinite(rotations).all() and np.isfinite(translation_m).all()):
            raise AvatarError(f"expected finite rotations and translation for {self.body.name}")
        _local_rotations(rotations.astype(np.float32), self._local)
        _chain(self._local, self._rest_joints, self.body.parents, self._transforms)
        features = (self._local[1:] - np.eye(3, dtype=np.float32)).ravel()
        _pose_tiles(
            self._shaped,
            self._correctives.rows,
            *self._correctives.factors(features),
            self._joints,
            self._starts,
            self._weights,
            self._transforms,
            translation_m.astype(np.float32),
            self._vertices,
        )
        return self._vertices

    def _tiled(self, rows: F32) -> F32:
        """(tiles, K, 3, TILE) of (K, 3V): the last tile padded with zeros."""
        count, v = len(rows), rows.shape[1] // 3
        padded = np.zeros((count, self._tiles * TILE, 3), np.float32)
        padded[:, :v] = rows.reshape(count, v, 3)
        tiles = padded.reshape(count, self._tiles, TILE, 3).transpose(1, 0, 3, 2)
        return np.ascontiguousarray(tiles)

    def _stepped(self, rows: F32) -> _Stepped:
        """Rows in 16-bit steps; of large ones a second row holds what the first rounds off."""
        owners, steps, tiles = [], [], []
        left, own = rows, np.arange(len(rows))
        while len(own):
            largest = np.abs(left).max(axis=1)
            step = np.where(largest > 0.0, largest, 1.0).astype(np.float32) / np.float32(STEPS)
            counts = np.rint(left / step[:, None])
            owners.append(own)
            steps.append(step)
            tiles.append(self._tiled(counts).astype(np.int16))
            coarse = (step > FINEST_M) & (largest > 0.0)
            left, own = (left - counts * step[:, None])[coarse], own[coarse]
        if not owners:
            return _Stepped(
                np.zeros((self._tiles, 0, 3 * TILE), np.int16),
                np.zeros(0, np.float32),
                np.zeros(0, np.intp),
            )
        owner = np.concatenate(owners)
        return _Stepped(
            np.concatenate(tiles, axis=1).reshape(self._tiles, len(owner), 3 * TILE),
            np.concatenate(steps),
            owner,
        )

    def _hung(self, weights: F32) -> tuple[I32, I32, F32]:
        """For each tile the joints that it hangs on, and their weights (slots, TILE)."""
        padded = np.zeros((self._tiles * TILE, weights.shape[1]), np.float32)
        padded[: len(weights)] = weights
        joints, starts, rows = [], [0], []
        for tile in padded.reshape(self._tiles, TILE, -1):
            own = np.flatnonzero(tile.any(axis=0))
            joints.append(own)
            starts.append(starts[-1] + len(own))
            rows.append(tile[:, own].T)
        return (
            np.concatenate(joints).astype(np.int32),
            np.array(starts, np.int32),
            np.ascontiguousarray(np.concatenate(rows)),
        )


@njit(cache=True, nogil=True, fastmath=True)
def _add(flat: F32, rows: NDArray[np.int16], factors: F32, active: I32) -> None:
    """``flat += sum_n factors[n] rows[n]`` over the active ones.

    Four at a time: a tile's points are loaded and stored once for all of them.
    """
    whole = len(active) - len(active) % 4
    for n in range(0, whole, 4):
        k0, k1, k2, k3 = active[n], active[n + 1], active[n + 2], active[n + 3]
        f0, f1, f2, f3 = factors[k0], factors[k1], factors[k2], factors[k3]
        row0, row1, row2, row3 = rows[k0], rows[k1], rows[k2], rows[k3]
        for i in range(3 * TILE):
            flat[i] += (f0 * np.float32(row0[i]) + f1 * np.float32(row1[i])) + (
                f2 * np.float32(row2[i]) + f3 * np.float32(row3[i])
            )
    for n in range(whole, len(active)):
        f, row = factors[active[n]], rows[active[n]]
        for i in range(3 * TILE):
            flat[i] += f * np.float32(row[i])


@njit(cache=True, nogil=True, fastmath=True, parallel=True)
def _add_rows(start: F32, rows: NDArray[np.int16], factors: F32, active: I32, out: F32) -> None:
    for tile in prange(start.shape[0]):
        out[tile] = start[tile]
        _add(out[tile].reshape(3 * TILE), rows[tile], factors, active)


@njit(cache=True, nogil=True)
def _local_rotations(rotations: F32, out: F32) -> None:
    """Rodrigues' formula, eq. (6); exactly the identity for a joint at rest."""
    for j in range(rotations.shape[0]):
        x, y, z = (
            np.float64(rotations[j, 0]),
            np.float64(rotations[j, 1]),
            np.float64(rotations[j, 2]),
        )
        squared = x * x + y * y + z * z
        angle = np.sqrt(squared)
        s = np.sin(angle) / angle if angle > 1e-8 else 1.0
        c = (1.0 - np.cos(angle)) / squared if angle > 1e-4 else 0.5 - squared / 24.0
        out[j, 0, 0], out[j, 1, 1], out[j, 2, 2] = (
            1.0 - c * (y * y + z * z),
            1.0 - c * (x * x + z * z),
            1.0 - c * (x * x + y * y),
        )
        out[j, 0, 1], out[j, 1, 0] = c * x * y - s * z, c * x * y + s * z
        out[j, 0, 2], out[j, 2, 0] = c * x * z + s * y, c * x * z - s * y
        out[j, 1, 2], out[j, 2, 1] = c * y * z - s * x, c * y * z + s * x


@njit(cache=True, nogil=True)
def _chain(local: F32, joints: F32, parents: I32, out: F32) -> None:
    """``G'_j``: rest to posed, as :func:`engine.body.kinematics.forward_kinematics`."""
    for j in range(parents.shape[0]):
        p = parents[j]
        for a in range(3):
            for b in range(3):
                if p < 0:
                    out[j, a, b] = local[j, a, b]
                else:
                    out[j, a, b] = (
                        out[p, a, 0] * local[j, 0, b]
                        + out[p, a, 1] * local[j, 1, b]
                        + out[p, a, 2] * local[j, 2, b]
                    )
        for a in range(3):
            # The joint's own posed place is where its parent takes it.
            if p < 0:
                place = joints[j, a]
            else:
                place = (
                    out[p, a, 0] * joints[j, 0]
                    + out[p, a, 1] * joints[j, 1]
                    + out[p, a, 2] * joints[j, 2]
                    + out[p, a, 3]
                )
            out[j, a, 3] = place - (
                out[j, a, 0] * joints[j, 0]
                + out[j, a, 1] * joints[j, 1]
                + out[j, a, 2] * joints[j, 2]
            )


@njit(cache=True, nogil=True, fastmath=True, parallel=True)
def _pose_tiles(
    shaped: F32,
    correctives: NDArray[np.int16],
    features: F32,
    active: I32,
    joints: I32,
    starts: I32,
    weights: F32,
    transforms: F32,
    translation: F32,
    out: F32,
) -> None:
    for tile in prange(shaped.shape[0]):
        points = shaped[tile].copy()
        _add(points.reshape(3 * TILE), correctives[tile], features, active)
        posed = np.zeros((3, TILE), np.float32)
        x, y, z = points[0], points[1], points[2]
        for slot in range(starts[tile], starts[tile + 1]):
            t, w = transforms[joints[slot]], weights[slot]
            for axis in range(3):
                a, b, c, d = t[axis, 0], t[axis, 1], t[axis, 2], t[axis, 3]
                target = posed[axis]
                for i in range(TILE):
                    target[i] += w[i] * (a * x[i] + b * y[i] + c * z[i] + d)
        first = tile * TILE
        for i in range(min(TILE, out.shape[0] - first)):
            for axis in range(3):
                out[first + i, axis] = posed[axis, i] + translation[axis]
