"""How old frames are when they have been drawn, and how many are."""

from __future__ import annotations

from collections import deque

import numpy as np

MILLISECOND_NS = 1e6


class DrawRecorder:
    """Collects one latency per drawn state; keeps the newest ``capacity`` of them."""

    def __init__(self, capacity: int = 100_000) -> None:
        self._latencies_ms: deque[float] = deque(maxlen=capacity)
        self._times_ns: deque[int] = deque(maxlen=capacity)

    def record(self, captured_at_ns: int, drawn_at_ns: int) -> None:
        """Note one drawn state; both times are of the monotonic clock of this machine."""
        self._latencies_ms.append((drawn_at_ns - captured_at_ns) / MILLISECOND_NS)
        self._times_ns.append(drawn_at_ns)

    @property
    def count(self) -> int:
        """States drawn and still remembered."""
        return len(self._latencies_ms)

    def percentiles_ms(self) -> dict[str, float]:
        """``p50``, ``p95`` and ``p99`` of capture to drawn; NaN before the first one."""
        values = np.fromiter(self._latencies_ms, np.float64)
        if not len(values):
            return {name: float("nan") for name in ("p50", "p95", "p99")}
        p50, p95, p99 = np.percentile(values, (50, 95, 99))
        return {"p50": float(p50), "p95": float(p95), "p99": float(p99)}

    def longest_gap_ms(self, from_ns: int, until_ns: int) -> float:
        """The longest time in which nothing was drawn, the ends of the measurement included."""
        times = np.array([from_ns, *self._times_ns, until_ns])
        return float(np.diff(times).max()) / MILLISECOND_NS

    def frames_per_s(self) -> float:
        """Drawn states per second over what is remembered, 0 before there are two."""
        if len(self._times_ns) < 2:
            return 0.0
        elapsed_ns = self._times_ns[-1] - self._times_ns[0]
        return (len(self._times_ns) - 1) * 1e9 / max(elapsed_ns, 1)
