"""How deep each wrinkle is: the one number a line leaves open, asked of the photometric evidence.

A line says where and how wide; then a groove of depth D has the slopes ``-D grad(profile)``, and
the evidence (C, b) per texel makes D a one-dimensional least squares over the whole line: far
surer than heights texel by texel. A line that is only painted gets no depth from heads that turn.
"""

from __future__ import annotations

import numpy as np

from engine.face.relief.evidence import SlopeEvidence
from engine.face.relief.height import differences
from engine.types import F32, I32

PRIOR_MM = 1.0
"""Depths are of this order: a prior that stops lines with next to no evidence."""


def groove_depths(
    profile: F32, nearest: I32, count: int, evidence: SlopeEvidence, mask: F32
) -> F32:
    """(count,) millimetres, inwards positive; negative where the evidence says it is a ridge.

    Args:
        profile: (H, W) from :func:`groove`.
        nearest: (H, W) whose line it is.
        count: of lines.
        evidence: on the slopes.
        mask: (H, W) in [0, 1], a factor on the profile.
    """
    slopes = differences(-profile * mask)
    gu, gv = slopes[..., 0], slopes[..., 1]
    uu, uv, vv = (evidence.precision[..., k] for k in range(3))
    power = uu * gu * gu + 2 * uv * gu * gv + vv * gv * gv
    moment = evidence.moment[..., 0] * gu + evidence.moment[..., 1] * gv
    own = nearest.ravel()
    total = np.bincount(own, power.ravel(), count + 1)[1:]
    pull = np.bincount(own, moment.ravel(), count + 1)[1:]
    return np.asarray(pull / (total + 1.0 / PRIOR_MM**2), np.float32)
