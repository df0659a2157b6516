"""Eyeballs: sclera, iris with limbal ring, pupil; painted by the angle from the gaze."""

from __future__ import annotations

import numpy as np

from engine.avatar.paint.brush import Mask, blend, smoothstep
from engine.avatar.paint.look import Look
from engine.types import F32

IRIS_ANGLE = np.radians(23.5)
"""Anny's eyeballs have a radius of 15.5 mm, so a 12 mm iris spans 23 degrees to each side."""
PUPIL_SHARE = 0.40
SCLERA = np.array((236, 230, 224), np.float32)


def paint_eyes(
    canvas: F32, surface: F32, is_eye: Mask, look: Look, rng: np.random.Generator
) -> None:
    """Paint both eyeballs, wherever in the texture they lie.

    Args:
        canvas: (N, N, 3) texture, changed in place.
        surface: (N, N, 3) rest position of each texel, gutters included; eyes look along +Z.
        is_eye: (N, N): which texels are on an eyeball.
        look: colours.
        rng: of the iris fibres.
    """
    for on_side in (surface[..., 0] > 0, surface[..., 0] <= 0):
        texels = np.nonzero(is_eye & on_side)
        if len(texels[0]):
            canvas[texels] = _eyeball(surface[texels], look, rng)


def _eyeball(points_m: F32, look: Look, rng: np.random.Generator) -> F32:
    """(M, 3) colours of the (M, 3) points of one eyeball."""
    centre = (points_m.min(axis=0) + points_m.max(axis=0)) / 2
    ray = points_m - centre
    ray /= np.maximum(np.linalg.norm(ray, axis=-1, keepdims=True), 1e-9)
    angle = np.arccos(np.clip(ray[..., 2], -1, 1)).astype(np.float32)
    eye = np.tile(SCLERA, (len(points_m), 1))
    _sclera(eye, angle, ray)
    _iris(eye, angle / IRIS_ANGLE, np.arctan2(ray[..., 1], ray[..., 0]), look, rng)
    return eye


def _sclera(eye: F32, angle: F32, ray: F32) -> None:
    """Pinker towards the corners, darker under the upper lid."""
    corner = smoothstep(0.5, 1.3, np.abs(ray[..., 0]))
    blend(eye, (222, 176, 166), 0.55 * corner)
    eye *= (1.0 - 0.25 * smoothstep(0.15, 0.6, ray[..., 1]))[..., None]
    eye *= (1.0 - 0.06 * smoothstep(0.9, 1.4, angle))[..., None]


def _iris(eye: F32, radius: F32, around: F32, look: Look, rng: np.random.Generator) -> None:
    """``radius`` is 1 at the limbus. Fibres are waves around the pupil with random phases."""
    phases = rng.uniform(0, 2 * np.pi, 6)
    fibres = (
        sum(np.sin(k * around + p) for k, p in zip((7, 11, 17, 23, 31, 41), phases, strict=True))
        / 6
    )
    base = np.asarray(look.iris, np.float32) * 1.35
    tone = base * (1.0 + 0.35 * fibres[..., None])
    tone = tone * (1.25 - 0.35 * np.clip(radius, 0, 1))[..., None]
    blend(eye, np.clip(tone, 0, 255), smoothstep(1.06, 0.96, radius))
    ring = smoothstep(0.20, 0.05, np.abs(radius - 0.97))
    blend(eye, np.asarray(look.iris, np.float32) * 0.30, 0.8 * ring)
    blend(eye, (10, 9, 9), smoothstep(PUPIL_SHARE + 0.05, PUPIL_SHARE - 0.05, radius))
