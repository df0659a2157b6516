"""A film and what the landmark network sees in it: all that an estimator of heads may know."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.face.landmark_embedding import LANDMARKS
from engine.inference.store import write_atomically
from engine.perception.face import FaceTracker
from engine.types import F32, U8, FaceLandmarks


@dataclass(frozen=True, slots=True)
class Sitting:
    """One film and its landmarks."""

    points_px: F32
    """(N, 478, 3) as ``FaceLandmarks.points_px``; NaN in frames where no face was found."""
    presence: F32
    """(N,), zero there."""
    pictures: Sequence[U8]
    """(H, W, 3) RGB each."""

    def frames(self) -> list[FaceLandmarks | None]:
        """One for each frame."""
        return [
            FaceLandmarks(points, float(presence)) if presence > 0.0 else None
            for points, presence in zip(self.points_px, self.presence, strict=True)
        ]

    def save(self, path: Path) -> None:
        """Keep the landmarks, so that other estimators can be tried without the networks."""
        content = io.BytesIO()
        np.savez(content, points_px=self.points_px, presence=self.presence)
        write_atomically(path, content.getvalue())

    @staticmethod
    def load(path: Path, pictures: Sequence[U8]) -> Sitting:
        """Read what :meth:`save` wrote of a film."""
        with np.load(path, allow_pickle=False) as arrays:
            return Sitting(arrays["points_px"], arrays["presence"], pictures)


def watch(pictures: Sequence[U8], tracker: FaceTracker) -> Sitting:
    """Run the landmark network over a film, as the engine does.

    Args:
        pictures: (H, W, 3) RGB each.
        tracker: any; it starts afresh.
    """
    tracker.reset()
    points, presence = [], []
    for picture in pictures:
        face = tracker.track(picture, None)
        if face is None:
            points.append(np.full((LANDMARKS, 3), np.nan, np.float32))
        else:
            points.append(face.points_px.copy())
        presence.append(0.0 if face is None else face.presence)
    return Sitting(np.array(points, np.float32), np.array(presence, np.float32), pictures)
