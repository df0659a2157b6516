"""How far two identities are apart: too little to be seen, or too far for one person."""

from __future__ import annotations

import math

import numpy as np

from engine.types import F32, U8, FaceShape, Identity

VISIBLE_YEARS = 2.0
VISIBLE_GENDER = 0.05
VISIBLE_BUILD = 0.02
"""Root mean square of the phenotypes."""
VISIBLE_COEFFICIENT = 0.1
"""Root mean square, standard deviations of the identity basis."""
VISIBLE_RELIEF_M = 5e-5
VISIBLE_ALBEDO = 1.0
"""Root mean square, of 255. Below these limits a new avatar would look like the old one."""

OTHER_YEARS = 15.0
OTHER_GENDER = 0.5
OTHER_COEFFICIENT = 0.22
"""An estimate further from the last person's than these is another person's. On clips of five real
people, faces at equal confidence (:func:`face_distance`) differ by at most 0.15 between parts of
one clip and by 0.22 to 0.41 between people; drawn from the readout's own statistics, by at most
0.22 and, from a confidence of 0.6 on, by 0.35 and more."""


def face_distance(a: FaceShape, b: FaceShape) -> float:
    """How far two faces are apart at equal confidence, root mean square standard deviations.

    A posterior's mean is drawn to the average by what is not known yet: the same face read less
    surely lies nearer to it, by the ratio of confidences. Infinite for different bases.
    """
    least = min(a.confidence, b.confidence)
    one, other = (
        np.float32(least / max(face.confidence, 1e-6))
        * (face.coefficients if face.by_landmarks is None else face.by_landmarks)
        for face in (a, b)
    )
    return rms(one, other)


def rms(new: F32 | U8, known: F32 | U8 | None) -> float:
    """Root mean square of the difference; infinite where nothing comparable is known."""
    if known is None or known.shape != new.shape:
        return math.inf
    return float(np.sqrt(np.mean(np.square(new.astype(np.float32) - known))))


def same(a: Identity, b: Identity) -> bool:
    """Whether two identities make the same avatar. Arrays are never changed in place."""
    if a.phenotypes != b.phenotypes:
        return False
    if a.detail_m is not b.detail_m or a.texture is not b.texture:
        return False
    if a.face is None or b.face is None:
        return a.face is b.face
    return np.array_equal(a.face.coefficients, b.face.coefficients)
