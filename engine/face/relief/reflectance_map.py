"""How bright skin is by the direction it faces: Horn's reflectance map, learned as the head turns.

Horn, *Understanding image intensities*, 1977. Harmonics of order two are a matt surface's light;
skin also shines, and the darker it is the larger a share the shine has. Camera and lamps stand
still while the head turns, so whatever skin answers is one function of its normal in camera
space. What the harmonics leave over is gathered here over all pictures and all of the face; paint
and wrinkles, which do not go with the normal, average out.
"""

from __future__ import annotations

import cv2
import numpy as np

from engine.types import F32

BINS = 40
"""Over each of the normal's x and y in [-1, 1]."""
SMOOTHING_BINS = 1.4
PRIOR = 60.0
"""Texel weight below which a bin rather believes the harmonics."""
MEMORY = 200_000.0
"""Total weight kept: with more, all bins fade, so that a lamp that is switched on is learned."""


class ReflectanceMap:
    """Mean log radiance beyond the harmonics, by normal."""

    def __init__(self) -> None:
        """Nothing but harmonics."""
        self._weights = np.zeros((BINS, BINS), np.float64)
        self._sums = np.zeros((BINS, BINS), np.float64)
        self._maps = np.zeros((3, BINS, BINS), np.float32)

    def learn(self, normals: F32, residual: F32, weights: F32) -> None:
        """Add a picture.

        Args:
            normals: (N, 3) unit, camera space, seen by the camera.
            residual: (N,) log radiance beyond the harmonics.
            weights: (N,).
        """
        x, y = _bins(normals)
        column, row = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        fx, fy = x - column, y - row
        for dy, dx, share in (
            (0, 0, (1 - fy) * (1 - fx)),
            (0, 1, (1 - fy) * fx),
            (1, 0, fy * (1 - fx)),
            (1, 1, fy * fx),
        ):
            places, part = (row + dy) * BINS + column + dx, weights * share
            for total, values in ((self._weights, part), (self._sums, part * residual)):
                total += np.bincount(places, values, BINS * BINS).reshape(BINS, BINS)
        keep = min(1.0, MEMORY / max(float(self._weights.sum()), 1.0))
        self._weights *= keep
        self._sums *= keep
        self._update()

    def look_up(self, normals: F32) -> tuple[F32, F32]:
        """Correction (...) to the log shading and its derivative (..., 3) by the normal.

        Args:
            normals: (..., 3) unit.
        """
        x, y = (np.atleast_2d(place).astype(np.float32) for place in _bins(normals))
        shape = normals.shape[:-1]
        value, along_x, along_y = (
            np.asarray(cv2.remap(m, x, y, cv2.INTER_LINEAR), np.float32).reshape(shape)
            for m in self._maps
        )
        slope = np.stack([along_x, along_y, np.zeros_like(along_x)], axis=-1)
        slope -= (slope * normals).sum(axis=-1, keepdims=True) * normals
        return value, np.asarray(slope, np.float32)

    def _update(self) -> None:
        weights, sums = (
            cv2.GaussianBlur(a, (0, 0), SMOOTHING_BINS, borderType=cv2.BORDER_CONSTANT)
            for a in (self._weights, self._sums)
        )
        value = (sums / (weights + PRIOR)).astype(np.float32)
        per_bin = np.float32((BINS - 1) / 2.0)
        self._maps = np.stack(
            [value, np.gradient(value, axis=1) * per_bin, np.gradient(value, axis=0) * per_bin]
        )


def _bins(normals: F32) -> tuple[F32, F32]:
    """Places in the map, fractional, always inside of it."""
    places = (np.clip(normals[..., :2], -0.999, 0.999) + 1.0) * ((BINS - 1) / 2.0)
    return places[..., 0], places[..., 1]
