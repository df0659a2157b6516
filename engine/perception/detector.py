"""The face, palm and pose detectors: a square of the frame in, what is found in it out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from engine.perception.anchors import ssd_anchors
from engine.perception.crop import Cropper
from engine.perception.detection import MAX_CANDIDATES, Detection, decode, weighted_nms
from engine.perception.networks import Networks
from engine.perception.region import Region, whole_picture
from engine.types import F32, U8


@dataclass(frozen=True, slots=True)
class DetectorSpec:
    """What tells one single-shot detector from another."""

    network: str
    side: int
    low: float
    strides: tuple[int, ...]


FACE = DetectorSpec("face_detection", 128, -1.0, (8, 16, 16, 16))
PALM = DetectorSpec("palm_detection", 192, 0.0, (8, 16, 16, 16))
POSE = DetectorSpec("pose_detection", 224, -1.0, (8, 16, 32, 32, 32))

SCORE = 0.5
SUPPRESSION = 0.3
LARGE = 2.0
"""Above this reduction bilinear sampling skips pixels, so the picture is averaged down first."""


class Detector:
    """One detector with its buffers; not for two threads at once."""

    def __init__(self, networks: Networks, spec: DetectorSpec) -> None:
        self._spec = spec
        self._network = networks.shared(spec.network)
        picture = np.empty((1, 3, spec.side, spec.side), np.float32)
        self._crop = Cropper(picture, spec.low, 1.0, zero_border=True)
        self._anchors = ssd_anchors(spec.side, spec.strides)
        self._candidates: F32 | None = None
        self._merged: F32 | None = None

    def __call__(self, image: U8, region: Region | None = None) -> list[Detection]:
        """Search a region, or the whole picture.

        Args:
            image: (H, W, 3) RGB.
            region: frame pixels.

        Returns:
            Detections in frame pixels, best score first.
        """
        if region is None:
            image, reduction = _reduced(image, self._spec.side)
            region = whole_picture(image.shape[1], image.shape[0])
        else:
            reduction = 1.0
        boxes, scores = self._network(self._crop(image, region))[:2]
        return [
            _to_frame(row, region, self._spec.side, reduction)
            for row in self._read(boxes[0], scores.reshape(-1))
        ]

    def _read(self, boxes: F32, logits: F32) -> F32:
        """Rows of left, top, right, bottom, keypoints, score in crop pixels."""
        if self._candidates is None or self._merged is None:
            columns = boxes.shape[1] + 1
            self._candidates = np.empty((MAX_CANDIDATES, columns), np.float32)
            self._merged = np.empty_like(self._candidates)
        floor = math.log(SCORE / (1.0 - SCORE))
        count = decode(boxes, logits, self._anchors, self._spec.side, floor, self._candidates)
        merged = weighted_nms(self._candidates[:count], SUPPRESSION, self._merged)
        return self._merged[:merged]


def _reduced(image: U8, side: int) -> tuple[U8, float]:
    """Average a large picture down to about twice the crop; the factor back to its pixels."""
    longest = max(image.shape[:2])
    if longest <= LARGE * side:
        return image, 1.0
    factor = longest / (LARGE * side)
    size = (max(1, round(image.shape[1] / factor)), max(1, round(image.shape[0] / factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8), factor


def _to_frame(row: F32, region: Region, side: int, reduction: float) -> Detection:
    points = region.to_frame(row[:-1].reshape(-1, 2), side) * np.float32(reduction)
    return Detection(points[:2].reshape(4), points[2:], float(row[-1]))
