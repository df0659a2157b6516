"""What many pictures say about slopes: photometric normal equations per texel.

A texel of albedo a under the light S shows ``log I = log a + log S(n)``. Relief of height h turns
the normal by ``-(h_u s_u + h_v s_v)`` (see :class:`Posed`), so to first order a picture k shows,
beyond what the smooth face explains,

    d_k = a - c_k . (h_u, h_v)        with c_k = (s_u . dlogS/dn, s_v . dlogS/dn)

One picture cannot tell paint from shape: a mole and a dent are equally dark. But paint stays when
the head turns and shape answers to the light, so with a free albedo ``a`` only the *change* of
shading counts: the normal equations of (h_u, h_v) are the covariances of c and d over the
pictures. What does not change is used too, weighed by how much paint skin is known to carry.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engine.types import F32

SUMS = 9


class SlopeEvidence(NamedTuple):
    """Per texel: minimise ``g' C g - 2 b' g`` over the slopes g = (h_u, h_v)."""

    precision: F32
    """(H, W, 3): C as (uu, uv, vv)."""
    moment: F32
    """(H, W, 2): b."""


class Accumulator:
    """Weighted sums over the pictures of one person."""

    def __init__(self, shape: tuple[int, int]) -> None:
        """Nothing seen yet, over (H, W) texels."""
        self._sums = np.zeros((SUMS, *shape), np.float32)

    @staticmethod
    def sum_of(*parts: Accumulator) -> Accumulator:
        """All the parts' pictures together."""
        total = Accumulator(parts[0].weight.shape)
        for part in parts:
            total._sums += part._sums
        return total

    def add(self, detail: F32, response: F32, weights: F32) -> None:
        """Add a picture.

        Args:
            detail: (H, W) d, log units.
            response: (H, W, 2) c.
            weights: (H, W).
        """
        w, d, cu, cv = weights, detail, response[..., 0], response[..., 1]
        one = np.ones_like(w)
        terms = (one, cu, cv, cu * cu, cu * cv, cv * cv, d, d * cu, d * cv)
        for total, term in zip(self._sums, terms, strict=True):
            total += w * term

    @property
    def weight(self) -> F32:
        """(H, W) summed weights: how many pictures showed the texel, in effect."""
        weight: F32 = self._sums[0]
        return weight

    @property
    def mean_detail(self) -> F32:
        """(H, W): the time-averaged detail, where anything was seen."""
        return np.asarray(self._sums[6] / np.maximum(self._sums[0], 1e-6), np.float32)

    def evidence(self, noise: float, paint: float, most_views: float) -> SlopeEvidence:
        """The normal equations.

        Args:
            noise: standard deviation of d in one picture, log units: misalignment, sheen, pixels.
            paint: standard deviation of the albedo's own detail, log units.
            most_views: effective pictures after which more of the same bring nothing new.
        """
        s = self._sums
        n = np.maximum(s[0], 1e-6)
        mu, mv, md = s[1] / n, s[2] / n, s[6] / n
        views = np.minimum(n, most_views)
        moving = views / noise**2
        still = 1.0 / (paint**2 + noise**2 / views)
        still = np.where(s[0] > 0, still, 0.0)
        precision = [
            moving * (s[3] / n - mu * mu) + still * mu * mu,
            moving * (s[4] / n - mu * mv) + still * mu * mv,
            moving * (s[5] / n - mv * mv) + still * mv * mv,
        ]
        moment = [
            -moving * (s[7] / n - mu * md) - still * mu * md,
            -moving * (s[8] / n - mv * md) - still * mv * md,
        ]
        return SlopeEvidence(
            np.stack(precision, axis=-1).astype(np.float32),
            np.stack(moment, axis=-1).astype(np.float32),
        )
