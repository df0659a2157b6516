"""Wrinkle lines as a signed distance field, and SARS eq. (3) on the dense face.

The paper moves every vertex by ``p' = p - lambda SDF(p) grad SDF(p)`` (3) and says of the field
only that a Euclidean distance transform of the detected lines makes it. Read literally, distance
to the lines in the picture plane, (3) would slide vertices along the skin onto the lines: no
wrinkle would get any deeper. For a signed distance to a *surface*, though, (3) is a familiar
formula: with lambda = 1, ``p - SDF grad SDF`` is the surface's point closest to p. So the field
here is the signed distance to the wrinkled skin, the distance transform gives that skin its
profile, and (3) draws the smooth face onto it:

    t(x)    distance to the nearest line along the skin (Euclidean distance transform)
    f(x)    = -depth exp(-t^2 / 2 width^2)    (how far out the wrinkled skin lies)
    SDF(p)  = (z - f(x)) / sqrt(1 + |grad f|^2)    (p = x + z n; to second order)
    grad SDF(p) = (n - grad f) / sqrt(1 + |grad f|^2)

A vertex of the smooth face (z = 0) so moves by ``lambda f / (1 + |grad f|^2)`` along its normal
and by ``-lambda f grad f / (1 + |grad f|^2)`` along the skin. Only the first is kept, as one
scalar per vertex (``Identity.detail_m``): the second is the smaller by the groove's slope, 0.1 mm
in a deep fold, and slides a vertex within the surface it lies on, which changes parametrisation
and hardly shape. One scalar also travels, blends with the displacement map and cannot fold the
mesh sideways.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from engine.face.relief.wrinkle_lines import WrinkleLines
from engine.types import F32, I32

BAND_WIDTHS = 3.0
"""Groove widths from a line beyond which nothing moves."""
DEEPEST_MM = 1.5


@dataclass(frozen=True, slots=True)
class LineField:
    """Distance to wrinkle lines over H x W texels."""

    distance_mm: F32
    """(H, W) along the skin to the nearest line, large where there is none."""
    nearest: I32
    """(H, W): which line that is, 1 to count; 0 where there is none."""


def line_field(lines: WrinkleLines, texel_mm: F32) -> LineField:
    """The lines' Euclidean distance transform, in millimetres.

    Args:
        lines: over H x W texels.
        texel_mm: (H, W, 2) size of a texel along u and v. The transform runs over texels and is
            scaled by their local size: distances matter within a few millimetres only.
    """
    if not lines.count:
        return LineField(np.full(lines.labels.shape, 1e3, np.float32), np.zeros_like(lines.labels))
    off = (lines.labels == 0).astype(np.uint8)
    distance, places = cv2.distanceTransformWithLabels(
        off, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    owner = np.zeros(int(places.max()) + 1, np.int32)
    owner[places[off == 0]] = lines.labels[off == 0]
    size = np.sqrt(texel_mm[..., 0] * texel_mm[..., 1])
    return LineField(np.asarray(distance * size, np.float32), owner[places])


def groove(field: LineField, width_mm: F32) -> F32:
    """(H, W) in [0, 1]: 1 on the lines, a Gaussian across, 0 beyond the band.

    Args:
        field: distances.
        width_mm: (count,) standard deviation of each line's profile.
    """
    widths = np.concatenate([[1.0], width_mm]).astype(np.float32)[field.nearest]
    ratio = field.distance_mm / widths
    # Shifted and stretched so that the band's edge has no step.
    edge = np.float32(np.exp(-0.5 * BAND_WIDTHS**2))
    profile = (np.exp(-0.5 * ratio * ratio) - edge) / (1 - edge)
    return np.asarray(np.where(field.nearest > 0, np.maximum(profile, 0.0), 0.0), np.float32)


def wrinkled_skin(field: LineField, width_mm: F32, depth_mm: F32) -> F32:
    """(H, W) f: how far the wrinkled skin lies outside of the smooth one, mm (not positive).

    Args:
        field: distances.
        width_mm: (count,) of each line's profile.
        depth_mm: (count,) of each line, bounded by DEEPEST_MM.
    """
    depths = np.concatenate([[0.0], np.clip(depth_mm, 0.0, DEEPEST_MM)]).astype(np.float32)
    return -depths[field.nearest] * groove(field, width_mm)


def surface_gradient(f: F32, texel_mm: F32) -> tuple[F32, F32]:
    """Slopes of a map of millimetres along u and v, per millimetre of skin."""
    along_v, along_u = np.gradient(f)
    return (
        np.asarray(along_u / texel_mm[..., 0], np.float32),
        np.asarray(along_v / texel_mm[..., 1], np.float32),
    )


def signed_distance(f: F32, texel_mm: F32, height_mm: float = 0.0) -> F32:
    """(H, W) SDF of the points at a height over the smooth skin, mm."""
    gu, gv = surface_gradient(f, texel_mm)
    return np.asarray((height_mm - f) / np.sqrt(1 + gu * gu + gv * gv), np.float32)


def pulled_onto_wrinkles(f: F32, texel_mm: F32, step: float = 1.0) -> F32:
    """(H, W) mm: eq. (3)'s motion of the smooth skin, along its normal.

    Args:
        f: (H, W) from :func:`wrinkled_skin`.
        texel_mm: (H, W, 2).
        step: the paper's lambda, in [0, 1]: 1 goes all the way.
    """
    gu, gv = surface_gradient(f, texel_mm)
    normal_part = 1.0 / np.sqrt(1 + gu * gu + gv * gv)
    return np.asarray(-step * signed_distance(f, texel_mm) * normal_part, np.float32)
