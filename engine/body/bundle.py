"""All frames of a clip as one least-squares problem: the live residuals, and smooth poses.

    E = sum_t E_t(q_t)  +  1/2 sum_t |(q_t - q_t-1) / (sigma dt)|^2

E_t is a frame's own cost (:mod:`engine.body.body_problem`), q_t its angles; the root's rotation is
compared on the sphere. Frames are coupled only with their neighbours and angles only with
themselves, so the normal equations are block-tridiagonal with diagonal blocks beside: they are
eliminated frame by frame and back (Rauch, Tung and Striebel's smoother, iterated).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine.body.body_problem import BodyProblem
from engine.body.gauss_newton import Targets
from engine.small_matrices import logarithm, turn_by
from engine.types import F64

CALM = 0.25
"""Of the live fit's pace: how much less a pose may change when both sides in time are known."""
ITERATIONS = 10
TOLERANCE = 1e-4
ROOT = slice(3, 6)


@dataclass(frozen=True, slots=True)
class Poses:
    """T poses of one body."""

    angles: F64
    """(T, N); the root's three rotation angles are 0."""
    roots: F64
    """(T, 3, 3)."""


def bundle(
    problem: BodyProblem, frames: Sequence[Targets], start: Poses, seconds: F64, cuts: F64
) -> Poses:
    """The likeliest poses of all frames together.

    Args:
        problem: of the person; its present pose and targets are overwritten.
        frames: T measurements, whose priors are replaced by habit alone.
        start: where to begin.
        seconds: (T,) since the frame before; the first does not matter.
        cuts: (T,) True where a frame does not go on from the one before.
    """
    pace, habit, spread = (problem.model.column(name) for name in ("pace", "habit", "spread"))
    for targets in frames:
        targets.angle_means[:], targets.angle_weights[:] = habit, spread**-2
    steps = np.maximum(seconds * 30.0, 0.25)[:, None]
    ties = np.where(np.asarray(cuts, bool)[:, None], 0.0, (CALM * pace * steps) ** -2)
    ties[0] = 0.0
    system, poses, damping = _System(problem, frames, ties), start, 1e-4
    cost = system.linearize(poses)
    for _ in range(ITERATIONS):
        trial = _moved(poses, system.step(damping))
        found = system.cost(trial)
        if found < cost:
            gained, cost, poses = (cost - found) / cost, found, trial
            if gained < TOLERANCE:
                break
            system.linearize(poses)
            damping = max(damping * 0.2, 1e-7)
        else:
            damping *= 10.0
    return poses


class _System:
    """Slopes of every frame, and the step that they lead to."""

    def __init__(self, problem: BodyProblem, frames: Sequence[Targets], ties: F64) -> None:
        self._problem, self._frames, self._ties = problem, frames, ties
        count, n = ties.shape
        self._hessians, self._gradients = np.zeros((count, n, n)), np.zeros((count, n))
        self._spare = np.zeros((n, n)), np.zeros(n)

    def cost(self, poses: Poses) -> float:
        """Of all frames and the ties between them."""
        own = sum(
            self._problem.slopes(targets, poses.angles[t], poses.roots[t], *self._spare)
            for t, targets in enumerate(self._frames)
        )
        return own + 0.5 * float((self._ties * _differences(poses) ** 2).sum())

    def linearize(self, poses: Poses) -> float:
        """Keep the slopes at these poses; returns the cost."""
        cost = 0.0
        for t, targets in enumerate(self._frames):
            hessian, gradient = self._hessians[t], self._gradients[t]
            cost += self._problem.slopes(
                targets, poses.angles[t], poses.roots[t], hessian, gradient
            )
            hessian += np.tril(hessian, -1).T
        apart = _differences(poses)
        pull = self._ties * apart
        self._gradients += pull
        self._gradients[:-1] -= pull[1:]
        diagonal = np.einsum("tii->ti", self._hessians)
        diagonal += self._ties
        diagonal[:-1] += self._ties[1:]
        return cost + 0.5 * float((pull * apart).sum())

    def step(self, damping: float) -> F64:
        """(T, N) Gauss-Newton's, by eliminating every frame and substituting back."""
        count, n = self._ties.shape
        inverses, right = np.empty((count, n, n)), -self._gradients
        steps = np.empty((count, n))
        diagonal = np.arange(n)
        for t in range(count):
            block = self._hessians[t].copy()
            block[diagonal, diagonal] *= 1.0 + damping
            if t:
                tie = self._ties[t]
                block -= tie[:, None] * inverses[t - 1] * tie
                right[t] += tie * (inverses[t - 1] @ right[t - 1])
            inverses[t] = np.linalg.inv(block)
        steps[-1] = inverses[-1] @ right[-1]
        for t in range(count - 2, -1, -1):
            steps[t] = inverses[t] @ (right[t] + self._ties[t + 1] * steps[t + 1])
        return steps


def _differences(poses: Poses) -> F64:
    """(T, N) from the pose before, the root's rotation as a rotation vector; 0 for the first."""
    apart = np.zeros_like(poses.angles)
    apart[1:] = np.diff(poses.angles, axis=0)
    for t in range(1, len(apart)):
        logarithm(poses.roots[t] @ poses.roots[t - 1].T, apart[t, ROOT])
    return apart


def _moved(poses: Poses, steps: F64) -> Poses:
    angles, roots = poses.angles + steps, poses.roots.copy()
    for t in range(len(angles)):
        turn_by(angles[t, ROOT], roots[t])
    angles[:, ROOT] = 0.0
    return Poses(angles, roots)
