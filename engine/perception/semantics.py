"""Age and gender from the face (SARS module 1): two small networks on an aligned face.

The networks and the alignment are dlib's (Cydral Technology, CC0): five points of the face are
brought onto fixed places of a square chip by a least-squares similarity.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from engine.perception.crop import is_picture
from engine.perception.networks import Networks
from engine.types import F32, U8, FaceLandmarks, Semantics

AGE_SIDE, GENDER_SIDE = 64, 32
MEANS = np.array([122.781998, 117.000999, 104.297997], np.float32)
YEARS = np.concatenate([[0.25], np.arange(1.0, 81.0)])
"""The age that each class of the age network stands for."""
FIVE_POINTS = np.array([263, 362, 33, 133, 2])
"""Corners of the person's left eye (outer, inner), of the right eye, and the base of the nose."""
FIVE_PLACES = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
"""Where dlib's mean face has them, in a unit square."""
PADDING = 0.2
MAX_OVERSAMPLING = 16
READABLE_PX = 40.0
"""A face of this size counts half."""


class SemanticsEstimator:
    """Reads one picture of a face; not for two threads at once."""

    def __init__(self, networks: Networks) -> None:
        """Open both networks.

        Args:
            networks: where sessions come from.

        Raises:
            ModelFileError: a network is missing or damaged.
        """
        self._age, self._gender = networks.open("age"), networks.open("gender")

    def estimate(self, image: U8, face: FaceLandmarks | None) -> Semantics | None:
        """Estimate age and gender.

        Args:
            image: (H, W, 3) RGB.
            face: the landmarks found in this very picture.

        Returns:
            The reading, whose confidence is low for small, turned or unlikely faces; ``None``
            without a face.
        """
        if face is None or not is_picture(image):
            return None
        points = face.points_px[FIVE_POINTS, :2].astype(np.float64)
        ages = self._age(prepared(aligned_face(image, points, AGE_SIDE)))[0][0]
        female = float(self._gender(prepared(aligned_face(image, points, GENDER_SIDE)))[0][0, 0])
        years, spread = mean_and_spread(ages)
        for network in (self._age, self._gender):
            network.rest()
        confidence = face.presence * frontality(face.points_px) * _size_weight(points)
        return Semantics(
            years, age_class(years), female, float(confidence / (1.0 + (spread / 10.0) ** 2))
        )


class SmoothedSemantics:
    """A running mean of readings, weighted by confidence, that settles as evidence gathers."""

    def __init__(self, memory: float = 20.0) -> None:
        """Start without evidence.

        Args:
            memory: sum of confidences after which old readings fade, so that a change of person
                is followed.
        """
        self._memory = memory
        self.reset()

    def reset(self) -> None:
        """Forget the person."""
        self._weight = 0.0
        self._years = 0.0
        self._female = 0.0

    def update(self, reading: Semantics | None) -> Semantics | None:
        """Add a reading.

        Args:
            reading: ``None`` changes nothing.

        Returns:
            The estimate so far, ``None`` before the first reading.
        """
        if reading is not None and reading.confidence > 0.0:
            kept = min(self._weight, self._memory)
            self._weight = kept + reading.confidence
            share = reading.confidence / self._weight
            self._years += share * (reading.age_years - self._years)
            self._female += share * (reading.female_probability - self._female)
        return self.current

    @property
    def current(self) -> Semantics | None:
        """The estimate so far; its confidence grows from 0 towards 1 with the evidence."""
        if self._weight == 0.0:
            return None
        confidence = self._weight / (1.0 + self._weight)
        return Semantics(self._years, age_class(self._years), self._female, confidence)


def age_class(years: float) -> int:
    """The paper's ten classes: 0 for 0 to 9 years, ... 9 for 90 and older."""
    return min(9, max(0, int(years // 10.0)))


def mean_and_spread(probabilities: F32) -> tuple[float, float]:
    """Expected age and its standard deviation in years. (81,) probabilities."""
    weights = probabilities.astype(np.float64)
    weights = weights / weights.sum()
    mean = float(weights @ YEARS)
    return mean, math.sqrt(float(weights @ (YEARS - mean) ** 2))


def frontality(points: F32) -> float:
    """1 for a face that looks at the camera, towards 0 in profile.

    The cosine of the yaw, from the outer eye corners' distance in the picture against their
    distance with depth.
    """
    across = points[263] - points[33]
    flat, full = float(np.hypot(across[0], across[1])), float(np.linalg.norm(across))
    return flat / full if full > 0.0 else 0.0


def _size_weight(points: np.ndarray) -> float:
    size = float(np.ptp(points[:, 0])) + float(np.ptp(points[:, 1]))
    return size / (size + READABLE_PX)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least-squares similarity that takes ``source`` to ``target`` (Umeyama 1991, in 2D).

    Args:
        source: (N, 2).
        target: (N, 2).

    Returns:
        (2, 3) affine matrix.
    """
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    power = float((a * a).sum())
    cosine = float((a * b).sum()) / power
    sine = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / power
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, target.mean(axis=0) - linear @ source.mean(axis=0)])


def aligned_face(image: U8, points: np.ndarray, side: int) -> U8:
    """The face chip, averaged down from the frame so that no pixel is skipped.

    Args:
        image: (H, W, 3) RGB.
        points: (5, 2) FIVE_POINTS in frame pixels.
        side: width of the chip.
    """
    places = (PADDING + FIVE_PLACES) / (2.0 * PADDING + 1.0)
    step = float(np.linalg.norm(similarity(places * side, points)[:, 0]))
    fine = side * max(1, min(MAX_OVERSAMPLING, math.ceil(step)))
    matrix = similarity(places * fine, points)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    chip = cv2.warpAffine(image, matrix, (fine, fine), flags=flags)
    return np.asarray(cv2.resize(chip, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def prepared(chip: U8) -> F32:
    """(side, side, 3) bytes to the networks' (1, 3, side, side) input."""
    planes = ((chip.astype(np.float32) - MEANS) / 256.0).transpose(2, 0, 1)
    return np.ascontiguousarray(planes[None])
