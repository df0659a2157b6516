"""Numbered pictures of a data set as a source, with all but one person painted over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from engine.errors import SourceError
from engine.sources.picture import read_picture
from engine.sources.source import Closing, stamped
from engine.types import F64, U8, Frame

GREY = 114
AROUND = 0.3
"""Of a person's box, kept on every side of it."""


class PictureFrames(Closing):
    """Pictures in order, as fast as they are asked for."""

    live = False

    def __init__(
        self,
        paths: Sequence[Path],
        fps: float,
        field_of_view_deg: float | None,
        boxes: F64 | None = None,
        centre: tuple[float, float] | None = None,
    ) -> None:
        """Look at the first one.

        Args:
            paths: of the pictures.
            fps: of the recording.
            field_of_view_deg: of their longer side, after what ``centre`` adds to it.
            boxes: (N, 4) x, y, x, y in the pictures' own pixels: who is to be followed. The rest is
                painted grey, for the engine follows one person; where the box is not a number,
                nothing is.
            centre: (x, y) pixels of the lens's axis, where that is not the pictures' middle: grey
                is added until it is, for the engine knows no other lens.

        Raises:
            SourceError: there are none, or the first one is no picture.
        """
        if not paths:
            raise SourceError("expected pictures to look at, found none")
        self._paths, self._boxes, self._centre = list(paths), boxes, centre
        first = self._read(self._paths[0])
        self.size = first.shape[1], first.shape[0]
        self.fps, self.field_of_view_deg = fps, field_of_view_deg

    def __iter__(self) -> Iterator[Frame]:
        """Every picture.

        Raises:
            SourceError: one is missing or damaged.
        """
        return stamped(self._pictures(), paced=False)

    def _pictures(self) -> Iterator[tuple[float, U8]]:
        for n, path in enumerate(self._paths):
            if not path.is_file():
                raise SourceError(f"expected the picture {path}, found none")
            picture = self._read(path)
            if self._boxes is not None:
                picture = only_in(picture, self._boxes[n])
            yield n / self.fps, picture

    def _read(self, path: Path) -> U8:
        picture = read_picture(path)
        return picture if self._centre is None else centred_at(picture, self._centre)


def only_in(picture: U8, box: F64) -> U8:
    """A picture (H, W, 3) that is grey outside of a box (4,) and some room around it."""
    if not np.isfinite(box).all():
        return picture
    room = AROUND * np.maximum(box[2:] - box[:2], 1.0)
    size = np.array(picture.shape[1::-1])
    left, top = np.clip(box[:2] - room, 0, size).astype(int)
    right, bottom = np.clip(box[2:] + room, 0, size).astype(int)
    shown = np.full_like(picture, GREY)
    shown[top:bottom, left:right] = picture[top:bottom, left:right]
    return shown


def centred_at(picture: U8, centre: tuple[float, float]) -> U8:
    """A picture (H, W, 3) with grey added on two sides, so that ``centre`` (x, y) is its middle."""
    height, width, _ = picture.shape
    across, down = (round(n - 2.0 * c) for n, c in zip((width, height), centre, strict=True))
    shown = np.full((height + abs(down), width + abs(across), 3), GREY, np.uint8)
    left, top = max(across, 0), max(down, 0)
    shown[top : top + height, left : left + width] = picture
    return shown
