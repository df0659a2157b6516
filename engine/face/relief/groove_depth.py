"""How deep each wrinkle is: the one number a line leaves open, asked of the photometric evidence.

A line says where and how wide; then a groove of depth D has the slopes ``-D grad(profile)``, and
the evidence (C, b) per texel makes D a one-dimensional least squares over the whole line: far
surer than heights texel by texel. A line that is only painted gets no depth from heads that turn.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.face.relief.evidence import SlopeEvidence
from engine.face.relief.height import differences
from engine.types import F32, I32

PRIOR_MM = 1.0
"""Depths are of this order: a prior that stops lines with next to no evidence."""
IN_BAND = 0.05
"""Profile from which a texel counts for what a groove explains."""


class GrooveFit(NamedTuple):
    """What the evidence says about each of some lines."""

    depth_mm: F32
    """(count,) inwards positive; negative where the evidence sees a ridge."""
    log_odds: F32
    """(count,) decrease of the squared misfit, in noise variances."""
    explained: F32
    """(count,) in [0, 1]: share of what slopes of any kind could explain in the band."""
    flanks_mm: F32
    """(2, count): depth by either flank alone. Skin falls into a wrinkle and rises out of it; an
    edge of light or paint does one of both."""


def fit_grooves(profile: F32, nearest: I32, count: int, evidence: SlopeEvidence) -> GrooveFit:
    """Least squares of every line's depth.

    Args:
        profile: (H, W) from :func:`groove`, faded where skin may not move.
        nearest: (H, W) whose line it is, 0 for none.
        count: of lines.
        evidence: on the slopes.
    """
    slopes = differences(-profile)
    gu, gv = slopes[..., 0], slopes[..., 1]
    uu, uv, vv = (evidence.precision[..., k] for k in range(3))
    bu, bv = evidence.moment[..., 0], evidence.moment[..., 1]
    power = uu * gu * gu + 2 * uv * gu * gv + vv * gv * gv
    pull = bu * gu + bv * gv
    band = (profile > IN_BAND).astype(np.float32)
    possible = band * (vv * bu * bu - 2 * uv * bu * bv + uu * bv * bv)
    possible /= np.maximum(uu * vv - uv * uv, 1e-3)
    side = _flank(gu, gv, nearest, count)

    def total(values: F32) -> F32:
        sums = np.bincount(nearest.ravel(), values.ravel(), count + 1)[1:]
        return sums.astype(np.float32)

    def depth(where: F32) -> F32:
        return total(pull * where) / (total(power * where) + np.float32(1.0 / PRIOR_MM**2))

    depths, powers = depth(np.ones_like(band)), total(power)
    explained = total(pull * band) ** 2 / np.maximum(
        total(power * band) * total(possible), np.float32(1e-9)
    )
    flanks = np.stack([depth((side > 0).astype(np.float32)), depth((side < 0).astype(np.float32))])
    return GrooveFit(depths, depths * depths * powers, explained, flanks)


def _flank(gu: F32, gv: F32, nearest: I32, count: int) -> F32:
    """(H, W): on which side of its line a texel lies, by the line's main direction across."""
    own = nearest.ravel()
    uu, uv, vv = (
        np.bincount(own, (a * b).ravel(), count + 1) for a, b in ((gu, gu), (gu, gv), (gv, gv))
    )
    angle = 0.5 * np.arctan2(2 * uv, uu - vv)
    side = gu * np.cos(angle)[nearest] + gv * np.sin(angle)[nearest]
    return np.asarray(side, np.float32)
