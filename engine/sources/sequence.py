"""Several sources one after another, as one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from engine.errors import SourceError
from engine.sources.opening import open_source
from engine.sources.source import Closing, Source
from engine.sources.timeline import Timeline
from engine.types import Frame

log = logging.getLogger(__name__)

Opener: TypeAlias = Callable[[], Source]
PORTRAIT_FRAMES = 150
PERFORMER_FRAMES = 360


class Chained(Closing):
    """Opens each source when the one before has ended; indices and the clock go on."""

    def __init__(self, openers: Sequence[Opener]) -> None:
        """Open the first one, which gives the nominal size and rate.

        Raises:
            SourceError: there is none, or the first cannot be opened.
        """
        if not openers:
            raise SourceError("a sequence needs at least one source")
        self._later = list(openers[1:])
        self._source = openers[0]()
        self.size, self.fps, self.live = self._source.size, self._source.fps, self._source.live
        self.field_of_view_deg = self._source.field_of_view_deg

    def close(self) -> None:
        """Close the source that is open now."""
        self._source.close()

    def __iter__(self) -> Iterator[Frame]:
        timeline = Timeline()
        while True:
            yield from timeline.play(self._source)
            self._source.close()
            if not self._later:
                return
            self._source = self._later.pop(0)()


def open_auto(*, paced: bool = False) -> Source:
    """The webcam if there is one; else the portrait, then the performer.

    A camera that is there but cannot be used is told of: the user may be waiting for it.

    Raises:
        SourceError: not even those can be opened.
        ModelFileError: the performer needs the baked body, which is not there.
    """
    from engine.sources.webcam import NoCameraError  # OpenCV's video part takes a while to load

    try:
        return open_source("0")
    except NoCameraError:
        pass
    except SourceError as error:
        log.warning("%s", error)
    return Chained(
        [
            lambda: open_source("portrait", paced=paced, frames=PORTRAIT_FRAMES),
            lambda: open_source("performer", paced=paced, frames=PERFORMER_FRAMES),
        ]
    )
