"""478 face points of one face, irises included, from the attention network.

The order of points is MediaPipe's canonical face; 468-472 are the iris of eye 33-133 (the
person's right), 473-477 that of eye 362-263 (the person's left), the centre first.
"""

from __future__ import annotations

import numpy as np

from engine.perception.crop import Cropper
from engine.perception.landmarks import sigmoid
from engine.perception.networks import Networks
from engine.perception.region import Region
from engine.types import F32, U8

SIDE = 192

LIPS = np.array(
    [
        61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
        78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
        76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306, 184, 74, 73, 72, 11, 302, 303, 304, 408,
        62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292, 183, 42, 41, 38, 12, 268, 271, 272, 407,
    ]
)  # fmt: skip
"""Where the attention network's 80 lip points belong in the mesh."""
RIGHT_EYE = np.array(
    [
        33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173, 130, 25, 110,
        24, 23, 22, 26, 112, 243, 247, 30, 29, 27, 28, 56, 190, 226, 31, 228, 229, 230, 231, 232,
        233, 244, 113, 225, 224, 223, 222, 221, 189, 35, 124, 46, 53, 52, 65, 143, 111, 117, 118,
        119, 120, 121, 128, 245, 156, 70, 63, 105, 66, 107, 55, 193,
    ]
)  # fmt: skip
"""Where the 71 points around the person's right eye belong; the first 16 are its rim."""
LEFT_EYE = np.array(
    [
        263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398, 359, 255,
        339, 254, 253, 252, 256, 341, 463, 467, 260, 259, 257, 258, 286, 414, 446, 261, 448, 449,
        450, 451, 452, 453, 464, 342, 445, 444, 443, 442, 441, 413, 265, 353, 276, 283, 282, 295,
        372, 340, 346, 347, 348, 349, 350, 357, 465, 383, 300, 293, 334, 296, 336, 285, 417,
    ]
)  # fmt: skip
RIM = 16
"""Points on the rim of the eye; their mean depth is the iris's depth."""


class AttentionMesh:
    """One network that looks again at lips, eyes and irises (Grishchenko et al. 2020)."""

    def __init__(self, networks: Networks) -> None:
        self._network = networks.open("face_attention")
        self._crop = Cropper(self._network.image)
        self._points = np.empty((478, 3), np.float32)

    def read(self, image: U8, region: Region) -> tuple[F32, float]:
        """Read the face out of a region of the frame.

        Args:
            image: (H, W, 3) RGB.
            region: frame pixels, about the face.

        Returns:
            (478, 3) points in frame pixels, and the probability that a face is there.
        """
        mesh, lips, right_eye, left_eye, right_iris, left_iris, presence = self._network(
            self._crop(image, region)
        )
        points = self._points
        points[:468] = mesh[0]
        points[LIPS, :2] = lips[0]
        points[RIGHT_EYE, :2] = right_eye[0]
        points[LEFT_EYE, :2] = left_eye[0]
        points[468:473, :2], points[473:478, :2] = right_iris[0], left_iris[0]
        points[468:473, 2] = points[RIGHT_EYE[:RIM], 2].mean()
        points[473:478, 2] = points[LEFT_EYE[:RIM], 2].mean()
        return region.to_frame(points, SIDE), float(sigmoid(presence).flat[0])
