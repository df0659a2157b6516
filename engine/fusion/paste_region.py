"""Which vertices of the body a pasted face replaces, and how far inwards the seam is bridged.

The face brings its own eyeballs, eye sockets, mouth cavity and tongue: they hang on its lids and
lips, so the only open boundary is the outer one, from the hairline around the jaw. A face that does
not fit there leaves a step of some millimetres. The static topology has no room for a ledge, so the
outermost ring stays the body's and the step is taken up over a band of skin, by a weight whose
slope is zero at both ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.fusion.face_region import face_triangles
from engine.fusion.loops import closed_loops
from engine.fusion.stitching import boundary_edges
from engine.types import F32, I32

BAND_M = 0.022
INNER_PARTS = (
    "eye_back.L", "eye_front.L", "eye_back.R", "eye_front.R", "eye_cavity.R", "eye_cavity.L",
    "mouth_cavity", "tongue",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class PasteRegion:
    """The face among the V vertices of the body."""

    weights: F32
    """(V,): 1 where a vertex is the face's, 0 where it is the body's, between in the band."""
    skin: I32
    """(N,) the face's skin, without what lies behind lids and lips."""
    seam: I32
    """(S,) the outer boundary, in order."""

    @staticmethod
    def of(model: BodyModel) -> PasteRegion:
        """Decided on the template, so that it is the same for everybody.

        Raises:
            ModelFileError: the model's face is not bounded by closed loops.
        """
        face = face_triangles(model)
        skin = np.unique(model.faces[face])
        seam = closed_loops(boundary_edges(model.faces[face]))[0]
        away = model.template_m[skin][:, None] - model.template_m[seam]
        distance = np.linalg.norm(away, axis=2).min(axis=1)
        ramp = np.clip(distance / BAND_M, 0.0, 1.0)
        weights = np.zeros(len(model.template_m), np.float32)
        inner = np.isin(model.face_parts, [PART_NAMES.index(name) for name in INNER_PARTS])
        weights[model.faces[inner]] = 1.0
        weights[skin] = ramp * ramp * (3.0 - 2.0 * ramp)
        return PasteRegion(weights, skin.astype(np.int32), seam)
