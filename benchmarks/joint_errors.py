"""Errors of joints over a clip: MPJPE, PA-MPJPE, acceleration error and lag."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.similarity import aligned
from engine.types import F64

LONGEST_LAG_FRAMES = 6


@dataclass(frozen=True, slots=True)
class JointErrors:
    """What a clip's joints amount to."""

    pa_mpjpe_mm: float
    """Mean distance after Procrustes in every frame, scale included."""
    mpjpe_mm: float
    """Mean distance about the middle of the hips, in the camera's axes, at the found size."""
    jitter_mm: float
    """Mean length of the difference of accelerations, millimetres per frame squared."""
    lag_ms: float | None
    """By which the found motion is late; None where nothing moves."""
    frames: int

    def numbers(self) -> dict[str, float | int | None]:
        """For a table and for JSON."""
        lag = None if self.lag_ms is None else round(self.lag_ms, 1)
        return {
            "pa_mpjpe_mm": round(self.pa_mpjpe_mm, 2),
            "mpjpe_mm": round(self.mpjpe_mm, 2),
            "jitter_mm": round(self.jitter_mm, 2),
            "lag_ms": lag,
            "frames": self.frames,
        }


def joint_errors(found: F64, true: F64, hips: tuple[int, int], fps: float) -> JointErrors:
    """Compare a clip's joints with the truth.

    Args:
        found: (N, J, 3) metres.
        true: (N, J, 3) metres, the same axes.
        hips: which two joints have the root between them.
        fps: frames per second.
    """
    found, true = (p - p[:, list(hips)].mean(axis=1, keepdims=True) for p in (found, true))
    seen = np.ones(found.shape[:2], bool)
    lag = lag_frames(found, true, seen) if len(found) > 2 * LONGEST_LAG_FRAMES + 1 else None
    return JointErrors(
        pa_mpjpe_mm=float(procrustes_errors_mm(found, true).mean()),
        mpjpe_mm=1e3 * float(np.linalg.norm(found - true, axis=2).mean()),
        jitter_mm=acceleration_error_mm(found, true),
        lag_ms=None if lag is None else lag * 1e3 / fps,
        frames=len(found),
    )


def procrustes_errors_mm(found: F64, true: F64) -> F64:
    """(N, J) distances after aligning each frame by rotation, translation and scale."""
    moved = np.array([aligned(a, b, scaled=True) for a, b in zip(found, true, strict=True)])
    return np.asarray(1e3 * np.linalg.norm(moved - true, axis=2))


def acceleration_error_mm(found: F64, true: F64) -> float:
    """Mean length of the difference of accelerations, mm per frame squared; 0 if too short."""
    if len(found) < 3:
        return 0.0
    return 1e3 * float(np.linalg.norm(np.diff(found - true, 2, axis=0), axis=-1).mean())


def root_mean_square_step_mm(joints: F64) -> float:
    """By which joints (N, J, 3) of somebody who rests move from frame to frame."""
    steps = 1e3 * np.linalg.norm(np.diff(joints, axis=0), axis=2)
    return float(np.sqrt((steps**2).mean()))


def lag_frames(found: F64, true: F64, seen: np.ndarray) -> float | None:
    """Frames, sub-frame, by which the found velocities are late; ``None`` where nothing moves.

    The shift against the true velocities that correlates best: velocities, because a constant
    bias or a slow drift of depth says nothing about time.

    Args:
        found: (N, J, 3).
        true: (N, J, 3).
        seen: (N, J) which joints count.
    """
    moves, true_moves = np.diff(found, axis=0), np.diff(true, axis=0)
    lags = np.arange(-LONGEST_LAG_FRAMES, LONGEST_LAG_FRAMES + 1)
    middle = slice(LONGEST_LAG_FRAMES, len(true_moves) - LONGEST_LAG_FRAMES)
    visible = seen[1:][middle]
    own = _no_longer_than(true_moves[seen[1:]], moves[middle][visible])
    shifted = [np.roll(true_moves, lag, axis=0)[middle][visible] for lag in lags]
    # Over the truth's size: a shift that brings faster motion into view is no likelier for it.
    likeness = [float((own * s).sum() / max(float(np.linalg.norm(s)), 1e-12)) for s in shifted]
    best = int(np.argmax(likeness))
    if likeness[best] <= 0.0:
        return None
    if best in (0, len(lags) - 1):
        return float(lags[best])
    before, at, after = likeness[best - 1 : best + 2]
    return float(lags[best]) + 0.5 * (before - after) / (before - 2 * at + after)


def _no_longer_than(true: F64, moves: F64) -> F64:
    """Moves (N, 3) cut to the longest true one: one jump must not outvote all the rest."""
    longest = float(np.linalg.norm(true, axis=1).max(initial=0.0))
    lengths = np.linalg.norm(moves, axis=1, keepdims=True)
    return np.asarray(moves * np.minimum(1.0, longest / np.maximum(lengths, 1e-12)))
