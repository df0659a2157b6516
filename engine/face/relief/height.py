"""Heights from slopes: a screened, weighted Poisson problem on the texels.

Minimises ``sum g' C g - 2 b' g + screen h^2 + stiffness (laplace h)^2`` with g the forward
differences of h: least squares on the evidence (C, b), with broad shapes left to the morphable
model (``screen``) and roughness that no camera resolves forbidden (``stiffness``). Conjugate
gradients without a matrix; the kernel gives the interpreter back and returns every few rounds.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from engine.face.relief.evidence import SlopeEvidence
from engine.types import F32

ROUNDS = 160
ROUNDS_PER_CALL = 8
TOLERANCE = 1e-3
"""Of the right-hand side's norm."""


def solve_height(
    evidence: SlopeEvidence, screen: F32, stiffness: float, start: F32 | None = None
) -> F32:
    """(H, W) heights in millimetres.

    Args:
        evidence: per texel; zero precision where nothing is known.
        screen: (H, W) > 0 per square millimetre; large values pin the height to 0.
        stiffness: per square millimetre.
        start: (H, W) first guess, the last solution for instance.
    """
    precision = np.ascontiguousarray(evidence.precision, np.float32)
    target = np.zeros(screen.shape, np.float32)
    _divergence(np.ascontiguousarray(evidence.moment, np.float32), target)
    height = np.zeros_like(target) if start is None else np.asarray(start, np.float32).copy()
    scratch = np.zeros((3, *target.shape), np.float32)
    diagonal = _diagonal(precision, screen, np.float32(stiffness))
    applied, residual, direction = (np.zeros_like(target) for _ in range(3))
    _apply(precision, screen, np.float32(stiffness), height, scratch, applied)
    residual[:] = target - applied
    direction[:] = residual / diagonal
    power = float((residual * direction).sum(dtype=np.float64))
    goal = TOLERANCE**2 * max(float((target * target / diagonal).sum(dtype=np.float64)), 1e-12)
    for _ in range(0, ROUNDS, ROUNDS_PER_CALL):
        if power <= goal:
            break
        power = _descend(
            precision, screen, np.float32(stiffness), diagonal, height, residual, direction,
            scratch, applied, power, ROUNDS_PER_CALL,
        )  # fmt: skip
    return height


def differences(height: F32) -> F32:
    """(H, W, 2) forward differences along u and v: the slopes that evidence speaks of."""
    slopes = np.zeros((*height.shape, 2), np.float32)
    slopes[:-1, :-1, 0] = height[:-1, 1:] - height[:-1, :-1]
    slopes[:-1, :-1, 1] = height[1:, :-1] - height[:-1, :-1]
    return slopes


def _diagonal(precision: F32, screen: F32, stiffness: np.float32) -> F32:
    """Of the normal matrix: Jacobi's preconditioner."""
    diagonal = screen + 20.0 * stiffness
    uu, uv, vv = precision[..., 0], precision[..., 1], precision[..., 2]
    diagonal += uu + 2.0 * uv + vv
    diagonal[:, 1:] += uu[:, :-1]
    diagonal[1:] += vv[:-1]
    return np.ascontiguousarray(np.maximum(diagonal, 1e-6), np.float32)


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _divergence(moment, out):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """``out = D' b``: the transpose of forward differences along u and v."""
    height, width = out.shape
    out[:] = np.float32(0.0)
    for y in range(height - 1):
        for x in range(width - 1):
            bu, bv = moment[y, x, 0], moment[y, x, 1]
            out[y, x] -= bu + bv
            out[y, x + 1] += bu
            out[y + 1, x] += bv


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _apply(  # type: ignore[no-untyped-def]
    precision, screen, stiffness, h, scratch, out
):  # pragma: no cover - compiled
    """``out = (D' C D + screen + stiffness L' L) h``."""
    height, width = h.shape
    for y in range(height):
        for x in range(width):
            out[y, x] = screen[y, x] * h[y, x]
    for y in range(height - 1):
        for x in range(width - 1):
            gu, gv = h[y, x + 1] - h[y, x], h[y + 1, x] - h[y, x]
            uv = precision[y, x, 1]
            fu = precision[y, x, 0] * gu + uv * gv
            fv = uv * gu + precision[y, x, 2] * gv
            out[y, x] -= fu + fv
            out[y, x + 1] += fu
            out[y + 1, x] += fv
    curved = scratch[0]
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            curved[y, x] = stiffness * (
                h[y, x - 1] + h[y, x + 1] + h[y - 1, x] + h[y + 1, x] - np.float32(4.0) * h[y, x]
            )
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            c = curved[y, x]
            out[y, x] -= np.float32(4.0) * c
            out[y, x - 1] += c
            out[y, x + 1] += c
            out[y - 1, x] += c
            out[y + 1, x] += c


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _descend(  # type: ignore[no-untyped-def]
    precision, screen, stiffness, diagonal, h, residual, direction, scratch, applied, power, rounds
):  # pragma: no cover - compiled
    """Some rounds of preconditioned conjugate gradients, in place; the new residual's power."""
    height, width = h.shape
    for _ in range(rounds):
        _apply(precision, screen, stiffness, direction, scratch, applied)
        curvature = 0.0
        for y in range(height):
            for x in range(width):
                curvature += direction[y, x] * applied[y, x]
        if curvature <= 0.0:
            return 0.0
        step = np.float32(power / curvature)
        fresh = 0.0
        for y in range(height):
            for x in range(width):
                h[y, x] += step * direction[y, x]
                residual[y, x] -= step * applied[y, x]
                fresh += residual[y, x] * residual[y, x] / diagonal[y, x]
        share = np.float32(fresh / max(power, 1e-30))
        for y in range(height):
            for x in range(width):
                direction[y, x] = residual[y, x] / diagonal[y, x] + share * direction[y, x]
        power = fresh
        if power <= 1e-20:
            break
    return power
