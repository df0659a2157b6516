"""The offset between two monotonic clocks, from ping and pong (RFC 5905, section 8)."""

from __future__ import annotations

from collections import deque

_KEPT = 16
"""Exchanges to choose from: at one a second, drift over them is below a microsecond."""


class ClockSync:
    """Keeps the offset of the exchange with the shortest round trip, the least uncertain one."""

    def __init__(self) -> None:
        self._exchanges: deque[tuple[int, int]] = deque(maxlen=_KEPT)

    def add(self, sent_us: int, remote_us: int, now_us: int) -> None:
        """One exchange: our clock when asking, theirs, our clock at the answer.

        Answers from before the question are ignored.
        """
        if now_us >= sent_us:
            self._exchanges.append((now_us - sent_us, remote_us - (sent_us + now_us) // 2))

    @property
    def round_trip_us(self) -> int | None:
        """The shortest round trip, or None before the first exchange."""
        return min(self._exchanges)[0] if self._exchanges else None

    @property
    def offset_us(self) -> int | None:
        """Their clock minus ours, off by at most half the round trip."""
        return min(self._exchanges)[1] if self._exchanges else None
