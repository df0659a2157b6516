"""When to search again for somebody who is not there."""

from __future__ import annotations


class Backoff:
    """Counts frames: after each failed search the next waits twice as long, up to a limit.

    A person who was just lost is searched for at once; an empty room costs one search in
    ``longest`` frames.
    """

    def __init__(self, longest: int = 10, first: int = 1) -> None:
        self._longest, self._first = longest, first
        self._wait, self._pause = 0, first

    def due(self) -> bool:
        """Whether to search in this frame; counts the frame."""
        if self._wait > 0:
            self._wait -= 1
            return False
        return True

    def failed(self) -> None:
        """The search found nobody."""
        self._wait = self._pause
        self._pause = min(2 * self._pause, self._longest)

    def reset(self) -> None:
        """Somebody is there: the next loss is searched for at once."""
        self._wait, self._pause = 0, self._first
