"""The identity basis of the head: principal components of a prior over head shapes.

The prior's covariance is the sum of MakeHuman's local changes and of smooth deformations that
reach faces MakeHuman's sliders cannot. Rigid motion is taken out (it is the head's pose), all of
it fades towards the neck, and the principal components that remain are scaled such that a
coefficient counts standard deviations: ``x = x_average + sum_k c_k b_k`` with ``c ~ N(0, I)``.
No scan of a person and no other face model went in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.types import F64, I32, Phenotypes
from exporters.identity_prior.local_changes import directions
from exporters.identity_prior.smooth_deformations import Scale, smooth_deformations

COMPONENTS = 100
SCALES = (
    Scale(length_m=0.070, deviation_m=2.5e-3, points=60),
    Scale(length_m=0.035, deviation_m=1.5e-3, points=150),
    Scale(length_m=0.018, deviation_m=0.8e-3, points=400),
)
ASYMMETRY = 0.25
EYE_RADIUS_M = 0.0165
"""Within this of an eyeball's centre smooth deformations are constant: ball and lids are one,"""
EYE_REACH_M = 0.034
"""and beyond this they are what they are."""

# As in engine.fusion.face_region: interocular distances (about 62 mm) from between the eyes.
FADE_START = -1.95
FADE_END = -2.65
FADE_SLOPE = -0.52
"""The lower edge of what moves runs along the jaw, upwards towards the nape."""

FACE_WEIGHT, SCALP_WEIGHT, INSIDE_WEIGHT = 1.0, 0.1, 0.02
"""How much the principal components care about a place."""
BEHIND_FACE = 0.95
INSIDE = ("eye_cavity.R", "eye_cavity.L", "mouth_cavity", "tongue")
NEVER = ("hand.L", "hand.R", "foot.L", "foot.R")


@dataclass(frozen=True, slots=True)
class HeadBasis:
    """What the baked file holds, not yet quantised."""

    vertices: I32
    """(H,) which vertices move."""
    shapes_m: F64
    """(K, 3H) displacement of a standard deviation."""
    joint_shapes_m: F64
    """(K, 3J)."""

    @staticmethod
    def none(joints: int) -> HeadBasis:
        """Of a body whose face is only its phenotypes'."""
        return HeadBasis(np.zeros(0, np.int32), np.zeros((0, 0)), np.zeros((0, 3 * joints)))


def build_head_basis(model: BodyModel, changes: Mapping[str, NDArray[Any]]) -> HeadBasis:
    """Principal components of the prior.

    Args:
        model: the body.
        changes: label to (V, 3) displacements, glTF axes, metres: MakeHuman's local changes of
            the head.
    """
    rest = model.shape(Phenotypes())
    points = rest.vertices_m.astype(np.float64)
    eyes = [rest.joints_m[model.joint_names.index(f"eye.{s}")].astype(np.float64) for s in "LR"]
    fade = neck_fade(points, eyes)
    fade[np.unique(model.faces[np.isin(model.face_parts, _parts(NEVER))])] = 0.0
    vertices = np.flatnonzero(fade > 0.0)
    weights = _weights(model, points, eyes)[vertices]
    own = {name: np.asarray(shape, np.float64)[vertices] for name, shape in changes.items()}
    smooth = smooth_deformations(_gathered(points[vertices], eyes), SCALES, ASYMMETRY)
    columns = np.concatenate([directions(own), smooth], axis=2)
    columns = _without_rigid_motion(columns, points[vertices], weights * fade[vertices])
    columns *= fade[vertices, None, None]
    shapes = _principal(columns.reshape(3 * len(vertices), -1), np.repeat(weights, 3))
    return HeadBasis(np.asarray(vertices, np.int32), shapes, _joint_shapes(model, vertices, shapes))


def neck_fade(points: F64, eyes: list[F64]) -> F64:
    """(V,) 1 on the head, 0 from the neck downwards, smooth in between."""
    y, z = _interocular(points, eyes).T[1:]
    height = y - FADE_SLOPE * z
    return _smoothstep((height - FADE_END) / (FADE_START - FADE_END))


def _interocular(points: F64, eyes: list[F64]) -> F64:
    return np.asarray((points - (eyes[0] + eyes[1]) / 2) / np.linalg.norm(eyes[0] - eyes[1]))


def _smoothstep(t: F64) -> F64:
    t = np.clip(t, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def _parts(names: tuple[str, ...]) -> list[int]:
    return [PART_NAMES.index(name) for name in names]


def _weights(model: BodyModel, points: F64, eyes: list[F64]) -> F64:
    """(V,) square metres of surface around a vertex, times how much its place matters."""
    a, b, c = np.moveaxis(points[model.faces], 1, 0)
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 6.0
    places = np.full(len(PART_NAMES), SCALP_WEIGHT)
    places[_parts(INSIDE)] = INSIDE_WEIGHT
    weights = np.zeros(len(points))
    np.add.at(weights, model.faces, (area * places[model.face_parts])[:, None])
    front = _interocular(points, eyes)[:, 2] > -BEHIND_FACE
    return np.where(front, weights * FACE_WEIGHT / SCALP_WEIGHT, weights)


def _gathered(points: F64, eyes: list[F64]) -> F64:
    """The points, those of each eye drawn together in its centre."""
    result = points.copy()
    for eye in eyes:
        offset = points - eye
        radius = np.linalg.norm(offset, axis=1)
        share = _smoothstep((radius - EYE_RADIUS_M) / (EYE_REACH_M - EYE_RADIUS_M))
        near = radius < EYE_REACH_M
        result[near] = eye + share[near, None] * offset[near]
    return result


def _without_rigid_motion(columns: F64, points: F64, weights: F64) -> F64:
    """Each column less the small rigid motion (weighted least squares) that is in it."""
    centred = points - np.average(points, axis=0, weights=weights)
    zero, one = np.zeros(len(points)), np.ones(len(points))
    x, y, z = centred.T
    motions = [
        (one, zero, zero), (zero, one, zero), (zero, zero, one),
        (zero, -z, y), (z, zero, -x), (-y, x, zero),
    ]  # fmt: skip
    rigid = np.stack([np.stack(motion, axis=1) for motion in motions], axis=2).reshape(-1, 6)
    flat = columns.reshape(len(rigid), -1)
    weighted = rigid * np.repeat(weights, 3)[:, None]
    return np.asarray(
        (flat - rigid @ np.linalg.solve(weighted.T @ rigid, weighted.T @ flat)).reshape(
            columns.shape
        )
    )


def _principal(columns: F64, weights: F64) -> F64:
    """(K, 3H) the components that explain most weighted variance of ``columns z``, z ~ N(0, I)."""
    gram = columns.T @ (weights[:, None] * columns)
    _, vectors = np.linalg.eigh(gram)
    return np.ascontiguousarray((columns @ vectors[:, ::-1][:, :COMPONENTS]).T)


def _joint_shapes(model: BodyModel, vertices: NDArray[Any], shapes: F64) -> F64:
    """Eyes turn about the middle of their ball, wherever it went; other joints stay."""
    joints = np.zeros((len(shapes), len(model.joint_names), 3))
    moved = shapes.reshape(len(shapes), -1, 3)
    for side in "LR":
        balls = _parts((f"eye_front.{side}", f"eye_back.{side}"))
        ball = np.unique(model.faces[np.isin(model.face_parts, balls)])
        own = np.isin(vertices, ball)
        joints[:, model.joint_names.index(f"eye.{side}")] = moved[:, own].mean(axis=1)
    return joints.reshape(len(shapes), -1)
