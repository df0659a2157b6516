"""A still picture in front of a virtual camera that pans, zooms and tilts gently."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import cv2
import numpy as np

from engine.errors import SourceError
from engine.sources import decoding
from engine.sources.source import Closing, stamped
from engine.types import F64, U8, Frame

PICTURE_FPS = 30.0
PICTURE_FRAMES = 300
PAN, ZOOM, TILT_DEG = 0.045, 0.10, 5.0
"""Largest movement: share of the picture's side, share of its size, degrees."""


def read_picture(path: Path) -> U8:
    """(H, W, 3) RGB, upright, at most ``LONGEST_SIDE`` long.

    Raises:
        SourceError: not a picture, or of an impossible size.
    """
    container = decoding.open_container(path)
    try:
        stream = decoding.video_stream(container, path)
        frame = next(decoding.decoded(container, stream), None)
    finally:
        container.close()
    if frame is None:
        raise SourceError(f"the picture {path} is damaged; give another")
    decoding.note_scale(path, frame)
    return decoding.picture_of(frame)


def camera_motion(seconds: float, width: int, height: int) -> F64:
    """(2, 3): source pixel of each target pixel; the identity at 0 s, never still after."""
    sway = np.sin(seconds * 2.0 * np.pi / np.array([7.3, 5.9, 11.0, 8.3]))
    zoom = 1.0 / (1.0 + ZOOM * (0.5 - 0.5 * np.cos(seconds * 2.0 * np.pi / 11.0)))
    angle = np.radians(TILT_DEG) * sway[3]
    turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.array([(width - 1) / 2.0, (height - 1) / 2.0])
    target = centre + PAN * sway[:2] * (width, height)
    return np.column_stack([turn, target - turn @ centre])


class PictureSource(Closing):
    """Frames of a moving virtual camera that looks at one picture; the same every time."""

    def __init__(
        self,
        picture: U8,
        *,
        frames: int | None = None,
        paced: bool = False,
        field_of_view_deg: float | None = None,
    ) -> None:
        """Look at a picture.

        Args:
            picture: (H, W, 3) RGB.
            frames: how many to give; by default ten seconds' worth.
            paced: give frames in real time instead of as fast as they are asked for.
            field_of_view_deg: of the longer side, where the picture's file says it.
        """
        self.field_of_view_deg = field_of_view_deg
        self._picture = np.ascontiguousarray(picture)
        self._frames = PICTURE_FRAMES if frames is None else frames
        height, width, _ = picture.shape
        self.size = (width, height)
        self.fps = PICTURE_FPS
        self.live = paced

    def __iter__(self) -> Iterator[Frame]:
        return stamped(self._pictures(), paced=self.live)

    def _pictures(self) -> Iterator[tuple[float, U8]]:
        width, height = self.size
        for index in count():
            if index >= self._frames:
                return
            seconds = index / self.fps
            yield (
                seconds,
                np.asarray(
                    cv2.warpAffine(
                        self._picture,
                        camera_motion(seconds, width, height),
                        (width, height),
                        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
                        borderMode=cv2.BORDER_REFLECT_101,
                    ),
                    np.uint8,
                ),
            )
