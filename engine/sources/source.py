"""What a source is: pictures in order, opened and closed by ``with``."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Protocol, TypeVar

from engine.types import U8, Frame

LONGEST_SIDE = 1280
"""Bigger pictures are scaled down: the networks look at crops of 256 pixels and less."""
SHORTEST_SIDE = 32
"""Nobody can be found in less."""
MAX_PIXELS = 100_000_000
"""A picture that claims more is not decoded."""


class Source(Protocol):
    """Yields frames; ends when there are no more; raises SourceError when it breaks."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of every frame, pixels."""

    @property
    def fps(self) -> float:
        """Nominal frames per second."""

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace, so that a slow receiver must drop some."""

    @property
    def field_of_view_deg(self) -> float | None:
        """Of the picture's longer side, where the file says it."""

    def close(self) -> None:
        """Give the device or file back; safe to call twice."""

    def __iter__(self) -> Iterator[Frame]: ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


Self = TypeVar("Self", bound="Closing")


class Closing:
    """``with`` for classes that have a ``close``; of their lens most sources know nothing."""

    field_of_view_deg: float | None = None

    def close(self) -> None:
        """Nothing to give back."""

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def stamped(pictures: Iterable[tuple[float, U8]], *, paced: bool) -> Iterator[Frame]:
    """Number pictures and stamp them with the time they were taken.

    Args:
        pictures: (seconds since the start, picture), in order.
        paced: wait until each one's time; otherwise as fast as they are asked for.

    Yields:
        Frames. Paced, ``captured_at_ns`` is when the frame is handed over; otherwise frames are as
        far apart as in the recording, so that filters see the motion's own speed and the same
        file gives the same result on any machine.
    """
    start_ns: int | None = None
    for index, (seconds, picture) in enumerate(pictures):
        if start_ns is None:  # the first picture may have had to wait for OpenGL
            start_ns = time.monotonic_ns() - int(seconds * 1e9)
        taken_ns = start_ns + int(seconds * 1e9)
        if paced:
            time.sleep(max(0, taken_ns - time.monotonic_ns()) * 1e-9)
            taken_ns = time.monotonic_ns()
        yield Frame(picture, taken_ns, index)


def fitted_size(width: int, height: int) -> tuple[int, int]:
    """The size at which pictures are delivered: unchanged, or scaled to ``LONGEST_SIDE``."""
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
