"""Reading a single-shot detector: decode the anchors that fire, then weighted suppression.

Weighted non-maximum suppression (BlazeFace, Bazarevsky et al. 2019): the boxes that overlap the
best one are averaged by score instead of dropped, which steadies the result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.types import F32

MAX_CANDIDATES = 256
"""More anchors than this never fire on a person; the rest is ignored, which bounds the work."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found, in pixels of whatever picture was searched."""

    box: F32
    """(4,): left, top, right, bottom."""
    keypoints: F32
    """(K, 2)."""
    score: float

    @property
    def size(self) -> float:
        """Geometric mean of width and height."""
        left, top, right, bottom = (float(v) for v in self.box)
        return math.sqrt(max(right - left, 0.0) * max(bottom - top, 0.0))


@njit(cache=True, nogil=True)
def decode(regressors: F32, logits: F32, anchors: F32, side: float, floor: float, out: F32) -> int:
    """Turn the anchors whose logit reaches ``floor`` into candidates.

    Args:
        regressors: (N, C) raw output in input pixels: cx, cy, w, h, then keypoints x, y.
        logits: (N,) raw scores.
        anchors: (N, 2) fractions.
        side: width of the network's input in pixels.
        floor: smallest logit.
        out: (M, C + 1) filled with left, top, right, bottom, keypoints, score.

    Returns:
        How many rows of ``out`` were filled.
    """
    count = 0
    for i in range(logits.shape[0]):
        if logits[i] < floor or count == out.shape[0]:
            continue
        ax, ay = anchors[i, 0] * side, anchors[i, 1] * side
        cx, cy = regressors[i, 0] + ax, regressors[i, 1] + ay
        half_w, half_h = regressors[i, 2] / 2.0, regressors[i, 3] / 2.0
        out[count, 0], out[count, 1] = cx - half_w, cy - half_h
        out[count, 2], out[count, 3] = cx + half_w, cy + half_h
        for k in range(4, regressors.shape[1], 2):
            out[count, k] = regressors[i, k] + ax
            out[count, k + 1] = regressors[i, k + 1] + ay
        clipped = min(max(logits[i], -100.0), 100.0)
        out[count, regressors.shape[1]] = 1.0 / (1.0 + math.exp(-clipped))
        count += 1
    return count


@njit(cache=True, nogil=True)
def overlap(a: F32, b: F32) -> float:
    """Intersection over union of two boxes (left, top, right, bottom)."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0.0 or height <= 0.0:
        return 0.0
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union if union > 0.0 else 0.0


@njit(cache=True, nogil=True)
def weighted_nms(candidates: F32, threshold: float, out: F32) -> int:
    """Merge candidates that overlap the best remaining one, weighted by score.

    Args:
        candidates: (N, C + 1) as :func:`decode` fills it.
        threshold: intersection over union above which two boxes show the same thing.
        out: (M, C + 1), M >= N, filled best first; the score is the best one's.

    Returns:
        How many rows of ``out`` were filled.
    """
    last = candidates.shape[1] - 1
    order = np.argsort(-candidates[:, last])
    taken = np.zeros(candidates.shape[0], dtype=np.bool_)
    count = 0
    for best in order:
        if taken[best]:
            continue
        total = 0.0
        out[count] = 0.0
        for i in order:
            if taken[i] or (i != best and overlap(candidates[best], candidates[i]) <= threshold):
                continue
            taken[i] = True
            total += candidates[i, last]
            out[count, :last] += candidates[i, last] * candidates[i, :last]
        out[count, :last] /= total
        out[count, last] = candidates[best, last]
        count += 1
    return count
