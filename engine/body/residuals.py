"""Lay out what a fit measures: which unknowns move which point, segment and direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit

from engine.body.gauss_newton import Chain, Residuals, Targets
from engine.body.joint_angles import AngleModel
from engine.body.landmark_embedding import PointSet
from engine.types import F64, I32

Coupling = tuple[str, float, str, float]
"""(angle, ratio, other angle, standard deviation in degrees)."""

LIMIT_WEIGHT = 1.0 / np.radians(2.0) ** 2


def lay_out(
    model: AngleModel,
    points: PointSet,
    segments: Sequence[tuple[int, int]],
    aims: Sequence[tuple[int, F64]],
    couplings: Sequence[Coupling],
) -> Residuals:
    """The fixed tables of a fit.

    Args:
        model: the chain and its unknowns.
        points: P points by bone.
        segments: pairs of points whose direction is compared.
        aims: (joint, direction fixed in it).
        couplings: pairs of angles that move together.
    """
    chain, count = model.chain, len(model.angles)
    moved = [_moved_by(chain, bone) for bone in range(len(chain.parents))]
    free = set(range(chain.free))
    of_point = [moved[bone] | free for bone in points.bones]
    # A translation moves both ends alike, so it never turns a segment.
    of_segment = [(of_point[a] | of_point[b]) - free for a, b in segments]
    return Residuals(
        np.asarray(points.bones, np.int32),
        np.asarray(points.offsets_m, np.float64),
        np.array(segments, np.int32).reshape(-1, 2),
        np.array([joint for joint, _ in aims], np.int32),
        np.array([axis for _, axis in aims], np.float64).reshape(-1, 3),
        _lists(of_point, count),
        _lists(of_segment, count),
        _lists([moved[joint] for joint, _ in aims], count),
        np.array([[model.index[a], model.index[b]] for a, _, b, _ in couplings], np.int32).reshape(
            -1, 2
        ),
        np.array([ratio for _, ratio, _, _ in couplings], np.float64),
        np.array([np.radians(degrees) ** -2 for *_, degrees in couplings], np.float64),
    )


def _moved_by(chain: Chain, joint: int) -> set[int]:
    """Rotational unknowns on the way from the root to a joint, itself included."""
    found: set[int] = set()
    while joint >= 0:
        for f in range(chain.factor_starts[joint], chain.factor_starts[joint + 1]):
            terms = range(chain.term_starts[f], chain.term_starts[f + 1])
            found |= {int(chain.term_angles[t]) for t in terms}
        joint = int(chain.parents[joint])
    return found


def _lists(sets: Sequence[set[int]], count: int) -> I32:
    """Rows of length 1 + N: how many, then the sorted members."""
    rows = np.zeros((len(sets), 1 + count), np.int32)
    for row, members in zip(rows, sets, strict=True):
        row[0] = len(members)
        row[1 : 1 + len(members)] = sorted(members)
    return rows


def empty_targets(model: AngleModel, residuals: Residuals) -> Targets:
    """Measurements with all weights zero, to be filled in place frame after frame."""
    points, segments = len(residuals.point_bones), len(residuals.segments)
    aims, count = len(residuals.aim_bones), len(model.angles)
    return Targets(
        points_px=np.zeros((points, 2)),
        point_weights=np.zeros(points),
        places_m=np.zeros((points, 3)),
        place_weights=np.zeros((points, 2)),
        up=np.array([0.0, 1.0, 0.0]),
        segment_directions=np.zeros((segments, 3)),
        segment_weights=np.zeros(segments),
        aim_directions=np.zeros((aims, 3)),
        aim_weights=np.zeros(aims),
        angle_means=np.zeros(count),
        angle_weights=np.zeros(count),
        lower=model.column("lower"),
        upper=model.column("upper"),
        limit_weight=float(LIMIT_WEIGHT),
        camera=np.zeros(3),
    )


@njit(cache=True, nogil=True)
def directions(points_m: F64, segments: I32) -> F64:
    """(S, 3) unit directions of segments between points (P, 3)."""
    out = np.empty((len(segments), 3))
    for s in range(len(segments)):
        a, b = points_m[segments[s, 0]], points_m[segments[s, 1]]
        squared = 0.0
        for k in range(3):
            out[s, k] = b[k] - a[k]
            squared += out[s, k] * out[s, k]
        length = max(np.sqrt(squared), 1e-4)
        for k in range(3):
            out[s, k] /= length
    return out


def pull_angles(targets: Targets, model: AngleModel, predicted: F64, frames: float) -> None:
    """Fill the quadratic priors: towards habit, and towards the prediction from the last frame.

    Two Gaussians on one unknown multiply to one: precisions add, means average by precision.

    Args:
        targets: filled in place.
        model: habits, spreads and paces.
        predicted: (N,) expected angles.
        frames: time since the last frame in thirtieths of a second; infinite when there was none.
    """
    habit, spread, pace = (model.column(name) for name in ("habit", "spread", "pace"))
    means, weights = targets.angle_means, targets.angle_weights
    _multiply_gaussians(habit, spread, predicted, pace, max(frames, 0.25), means, weights)


@njit(cache=True, nogil=True)
def _multiply_gaussians(
    habit: F64, spread: F64, predicted: F64, pace: F64, frames: float, means: F64, weights: F64
) -> None:
    for n in range(len(means)):
        usual, last = spread[n] ** -2, (pace[n] * frames) ** -2
        weights[n] = usual + last
        means[n] = (usual * habit[n] + last * predicted[n]) / max(weights[n], 1e-12)
