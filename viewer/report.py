"""What a run without a window says about itself."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

from engine.pipeline import Result


class RunReport:
    """Rate, latency and per-stage milliseconds of a run; forgets nothing but the pictures."""

    def __init__(self) -> None:
        self._stages: dict[str, list[float]] = defaultdict(list)
        self._first_ns = self._last_ns = 0
        self.frames = 0

    def add(self, result: Result) -> None:
        """Count one result."""
        self.frames += 1
        self._first_ns = self._first_ns or result.finished_at_ns
        self._last_ns = result.finished_at_ns
        for name, milliseconds in result.stages_ms.items():
            self._stages[name].append(milliseconds)

    def numbers(self, source: str, backend: str) -> dict[str, Any]:
        """Ready for JSON; the rate includes whatever else the run did, drawing for one."""
        seconds = max(1e-9, (self._last_ns - self._first_ns) / 1e9)
        medians = {name: round(float(np.median(ms)), 3) for name, ms in self._stages.items()}
        return {
            "source": source,
            "backend": backend,
            "frames": self.frames,
            "fps": round(max(0, self.frames - 1) / seconds, 2),
            "latency_ms": medians.pop("latency", None),
            "stages_ms": medians,
        }
