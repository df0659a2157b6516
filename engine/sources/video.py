"""A video file, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from engine.errors import SourceError
from engine.sources import decoding
from engine.sources.source import Closing, stamped
from engine.types import U8, Frame


class VideoSource(Closing):
    """Plays a file once, upright and in its own timing (variable frame rates included)."""

    def __init__(self, path: Path, *, paced: bool = False) -> None:
        """Open the file and decode its first picture.

        Args:
            path: anything that FFmpeg reads.
            paced: give frames in real time instead of as fast as they are asked for.

        Raises:
            SourceError: not a video, or no picture in it can be decoded.
        """
        self._container = decoding.open_container(path)
        try:
            self._stream = decoding.video_stream(self._container, path)
            self._frames = decoding.decoded(self._container, self._stream)
            self._first = next(self._frames, None)
            if self._first is None:
                raise SourceError(f"no picture in {path} can be decoded; give another file")
        except BaseException:
            self._container.close()
            raise
        decoding.note_scale(path, self._first)
        self._aspect = decoding.pixel_aspect(self._stream)
        self.size = decoding.upright_size(self._first, self._aspect)
        self.fps = decoding.frame_rate(self._stream)
        self.live = paced
        self.field_of_view_deg = decoding.field_of_view_deg(self._container.metadata)

    def close(self) -> None:
        """Close the file."""
        self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        return stamped(self._pictures(), paced=self.live)

    def _pictures(self) -> Iterator[tuple[float, U8]]:
        """(seconds since the first picture, picture); times never run backwards."""
        if self._first is None:
            raise SourceError("a video plays once; open it again")
        frames: Iterator[Any] = chain([self._first], self._frames)
        start, last = self._first.time, -1.0 / self.fps
        self._first = None
        for frame in frames:
            known = frame.time is not None and start is not None
            seconds = max(frame.time - start, last) if known else last + 1.0 / self.fps
            last = seconds
            yield seconds, decoding.picture_of(frame, self._aspect)
