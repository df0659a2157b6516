"""Landmarks in the head frame: what is left of them once the head's pose is taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.small_matrices import transform
from engine.types import F32, F64


@dataclass(frozen=True, slots=True)
class Displaced:
    """Landmarks against a person's neutral face."""

    displaced_m: F64
    """(478, 3) how far each lies from there, head axes."""
    features: F32
    """(1434,) the same in mm, without what the view alone explains."""
    yaw: float
    """Of the head as the camera sees it, rad."""
    pitch: float
    """Likewise."""


@njit(cache=True, nogil=True)
def view_direction(rotation: F64, translation: F64) -> F64:
    """(3,) unit vector from the head towards the camera, in head axes; +Z when face to face."""
    direction = np.empty(3)
    transform(rotation.T, translation, direction)
    direction /= -np.sqrt((direction * direction).sum())
    return direction


@njit(cache=True, nogil=True)
def view_angles(direction: F64) -> tuple[float, float]:
    """Yaw and pitch (rad) of the head as the camera sees it; yaw > 0: turned to its own left."""
    return np.arctan2(-direction[0], direction[2]), np.arcsin(min(max(direction[1], -1.0), 1.0))


@njit(cache=True, nogil=True)
def view_terms(yaw: float, pitch: float) -> F64:
    """(7,) the smooth functions of the view that a neutral face's landmarks drift along."""
    return np.array([yaw, pitch, yaw * yaw, pitch * pitch, yaw * pitch, yaw**3, yaw * yaw * pitch])


@njit(cache=True, nogil=True)
def lateral_displacements(
    model_m: F64, points_px: F64, rotation: F64, translation: F64, lens: F64
) -> F64:
    """How far each landmark lies from the model, across the view ray, in head axes.

    Each landmark is taken to lie at the model point's depth; the part of the difference along
    the ray from head to camera is removed, because the picture says nothing about it.

    Args:
        model_m: (N, 3) the neutral face in head coordinates.
        points_px: (N, 3) landmarks, x and y used.
        rotation: (3, 3) head to camera.
        translation: (3,) metres.
        lens: (3,) focal length, cx, cy in pixels.

    Returns:
        (N, 3) metres.
    """
    count = model_m.shape[0]
    out = np.empty((count, 3))
    towards = view_direction(rotation, translation)
    delta, head = np.empty(3), np.empty(3)
    for i in range(count):
        for a in range(3):
            delta[a] = translation[a]
            for b in range(3):
                delta[a] += rotation[a, b] * model_m[i, b]
        depth = -delta[2]
        delta[0] = (points_px[i, 0] - lens[1]) * depth / lens[0] - delta[0]
        delta[1] = (lens[2] - points_px[i, 1]) * depth / lens[0] - delta[1]
        along = 0.0
        for a in range(3):
            head[a] = rotation[0, a] * delta[0] + rotation[1, a] * delta[1]
            along += towards[a] * head[a]
        for a in range(3):
            out[i, a] = head[a] - along * towards[a]
    return out
