"""Anny's head as a morphable model: the default face, and the one that lends others what they lack.

It is cut from the body of given phenotypes at the neck, stays in the body's rest coordinates, and
brings the body's own face basis, its 52 facial actions and the landmark calibration along.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.avatar.morphable_model import (
    ACTIONS,
    JAW_OPEN,
    MOUTH_CLOSE,
    Basis,
    MorphableModel,
    Part,
)
from engine.avatar.surface_points import NOWHERE, SurfacePoints
from engine.face.landmark_embedding import LandmarkEmbedding, default_embedding
from engine.types import F32, I32, Phenotypes

LICENCE = "Anny: Apache-2.0, data CC0-1.0 (NAVER Corp.); landmarks: Apache-2.0"
PARTS: dict[str, Part] = {
    "head": Part.FACE,
    "eye_back.L": Part.EYE_LEFT,
    "eye_front.L": Part.EYE_LEFT,
    "eye_back.R": Part.EYE_RIGHT,
    "eye_front.R": Part.EYE_RIGHT,
    "eye_cavity.L": Part.EYE_SOCKETS,
    "eye_cavity.R": Part.EYE_SOCKETS,
    "mouth_cavity": Part.MOUTH_CAVITY,
    "tongue": Part.TONGUE_AND_GUMS,
}
"""Anny does not tell the face from the rest of the head."""


@dataclass(frozen=True, slots=True)
class AnnyHead:
    """The head and where it is on the body."""

    model: MorphableModel
    body_vertices: I32
    """(V,) index into the body's vertices, increasing."""


def anny_head(
    body: BodyModel,
    phenotypes: Phenotypes | None = None,
    embedding: LandmarkEmbedding | None = None,
) -> AnnyHead:
    """Cut the head off a body.

    Args:
        body: the baked Anny.
        phenotypes: of the person whose face is the mean; the average adult by default.
        embedding: where the landmarks are; the calibration that ships by default.
    """
    part_of = np.array([PARTS.get(name, NOWHERE) for name in PART_NAMES])[body.face_parts]
    chosen = part_of != NOWHERE
    vertices = np.unique(body.faces[chosen]).astype(np.int32)
    row = np.full(len(body.template_m), NOWHERE, np.int32)
    row[vertices] = np.arange(len(vertices))
    uvs, face_uvs = np.unique(body.face_uvs[chosen], return_inverse=True)
    offsets = _offsets(body)[:, vertices]
    model = MorphableModel(
        name="Anny",
        licence=LICENCE,
        mean_m=body.shape(phenotypes or Phenotypes()).vertices_m[vertices],
        identity=_identity(body, row, len(vertices)),
        expression=Basis.of(offsets),
        actions=np.asarray(offsets.any(axis=(1, 2))),
        correctives=((MOUTH_CLOSE, JAW_OPEN),),
        faces=row[body.faces[chosen]],
        face_parts=part_of[chosen].astype(np.uint8),
        uvs=body.uvs[uvs],
        face_uvs=face_uvs.reshape(-1, 3).astype(np.int32),
        landmarks=_landmarks(embedding or default_embedding(), row),
    )
    return AnnyHead(model, vertices)


def _offsets(body: BodyModel) -> F32:
    """(52, body vertices, 3): the sparse morphs written out."""
    offsets = np.zeros((ACTIONS, len(body.template_m), 3), np.float32)
    vertex = np.repeat(np.arange(len(body.template_m)), np.diff(body.morph_starts))
    offsets[body.morph_actions, vertex] = body.morph_offsets_m
    return offsets


def _identity(body: BodyModel, row: I32, count: int) -> Basis:
    """The body's face basis on the head's rows; what of it lies on the neck stays with the neck."""
    steps = np.zeros((body.identity_count, count, 3), np.int16)
    rows = row[body.head_vertices]
    on_head = rows != NOWHERE
    own = body.head_basis.reshape(body.identity_count, -1, 3)
    steps[:, rows[on_head]] = own[:, on_head]
    return Basis(steps, np.full(body.identity_count, body.head_basis_step_m, np.float32))


def _landmarks(embedding: LandmarkEmbedding, row: I32) -> SurfacePoints:
    triangles = row[embedding.triangles]
    elsewhere = (triangles == NOWHERE).any(axis=1, keepdims=True)
    return SurfacePoints(
        np.where(elsewhere, NOWHERE, triangles).astype(np.int32),
        np.where(elsewhere, np.nan, embedding.barycentric).astype(np.float32),
    )
