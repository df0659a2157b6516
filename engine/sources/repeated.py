"""A source that starts over until it has given as many frames as were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from types import TracebackType

from engine.errors import SourceError
from engine.sources.source import Source
from engine.sources.timeline import Timeline
from engine.types import Frame

FOR_EVER = 10**15


class Repeated:
    """Opens the same source again and again; indices and the clock go on."""

    def __init__(self, open_again: Callable[[], Source], frames: int) -> None:
        self._open_again = open_again
        self._frames = frames
        self._source = open_again()
        self.size = self._source.size
        self.fps = self._source.fps
        self.live = self._source.live
        self.field_of_view_deg = self._source.field_of_view_deg

    def __enter__(self) -> Repeated:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the source that is open now."""
        self._source.close()

    def __iter__(self) -> Iterator[Frame]:
        timeline = Timeline()
        while timeline.count < self._frames:
            before = timeline.count
            if before > 0:
                self._source.close()
                self._source = self._open_again()
            yield from islice(timeline.play(self._source), self._frames - before)
            if timeline.count == before:
                raise SourceError("the source has no frames")
