"""A line in the log for what may go wrong with every frame, without a line for every frame."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

PERIOD_S = 10.0


class RareLog:
    """Writes one warning in ``period_s``; the next one says how many were left out.

    Args:
        log: where to.
        period_s: the least time between two lines.
        clock_s: a monotonic clock.
    """

    def __init__(
        self,
        log: logging.Logger,
        period_s: float = PERIOD_S,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log, self._period_s, self._clock_s = log, period_s, clock_s
        self._written_at_s: float | None = None
        self._left_out = 0

    def warning(self, sentence: str) -> None:
        """Write it, or count it."""
        now_s = self._clock_s()
        if self._written_at_s is not None and now_s - self._written_at_s < self._period_s:
            self._left_out += 1
            return
        more = f" (and {self._left_out} times before)" if self._left_out else ""
        self._log.warning("%s%s", sentence, more)
        self._written_at_s, self._left_out = now_s, 0
