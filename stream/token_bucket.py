"""How often a peer may do something: bursts of a second's worth, then no more than the rate."""

from __future__ import annotations


class TokenBucket:
    """Starts full.

    Args:
        rate: tokens per second, and how many it holds.
    """

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._filled_at_ns: int | None = None

    def take(self, now_ns: int) -> bool:
        """Take a token; False where there is none."""
        last_ns = now_ns if self._filled_at_ns is None else self._filled_at_ns
        self._filled_at_ns = now_ns
        refill = (now_ns - last_ns) / 1e9 * self._rate
        self._tokens = min(float(self._rate), self._tokens + refill)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
