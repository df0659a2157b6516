"""One clock and one count over sources that play one after another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from engine.sources.source import Source
from engine.types import Frame


class Timeline:
    """Renumbers and restamps frames, so that the receiver sees one source."""

    def __init__(self) -> None:
        self.count = 0
        """Frames so far."""
        self._due_ns = 0

    def play(self, source: Source) -> Iterator[Frame]:
        """The frames of one more source, going on where the one before ended.

        A recording that is read as fast as it goes is stamped in its own time, which runs ahead
        of the wall clock at which the next one begins: that one is moved to follow it by one frame.
        Live frames say when they were taken, and are left alone.
        """
        shift_ns: int | None = 0 if source.live or self.count == 0 else None
        for frame in source:
            if shift_ns is None:
                shift_ns = self._due_ns - frame.captured_at_ns
            frame = replace(frame, index=self.count, captured_at_ns=frame.captured_at_ns + shift_ns)
            # Before the hand-over: a receiver that has enough never comes back.
            self.count += 1
            self._due_ns = frame.captured_at_ns + round(1e9 / source.fps)
            yield frame
