"""Where the eyes point, as rotations of the eyeballs in the head.

Anny's eyeLook actions already turn the eyeballs. These rotations say the same thing for avatars
that have eye bones (VRM, VMC): apply one or the other, never both.
"""

from __future__ import annotations

import numpy as np

from engine import quaternions
from engine.face.landmark_embedding import LandmarkEmbedding
from engine.types import F32


def gaze_rotations(embedding: LandmarkEmbedding, expression: F32) -> tuple[F32, F32]:
    """Left and right eyeball, (4,) xyzw each, in head axes; identity looks straight ahead."""
    vectors = np.einsum("k,ekc->ec", expression, embedding.eye_rotations).astype(np.float64)
    left, right = quaternions.from_rotation_vector(vectors).astype(np.float32)
    return left, right
