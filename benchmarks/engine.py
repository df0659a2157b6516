"""``sars bench engine``: how fast frames become fused meshes, as fast as it goes."""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.report import percentiles
from engine.engine import Engine, EngineOptions
from engine.errors import SourceError
from engine.pipeline import Result
from engine.slot import Policy
from engine.sources import open_source
from engine.sources.repeated import Repeated

WARM_UP_FRAMES = 5
"""Left out of rates and latencies: the detectors run, caches fill."""


def since_process_start() -> float:
    """Seconds since this process was created, imports and all.

    On Linux from the kernel's own ticks (10 ms): psutil adds the boot time in whole seconds.
    """
    stat = Path("/proc/self/stat")
    if not stat.is_file():
        return time.time() - float(psutil.Process().create_time())
    after_name = stat.read_text().rpartition(")")[2].split()
    started = int(after_name[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started


def peak_rss_mb() -> float:
    """Peak resident memory of this process (ru_maxrss is KiB on Linux, bytes on macOS)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


class _Tally:
    """Adds results up without keeping them: 10,000 frames must not grow the process."""

    def __init__(self) -> None:
        self.frames = 0
        self.startup_s = 0.0
        self.vertices = 0
        self.latencies: list[float] = []
        self.stages: dict[str, list[float]] = defaultdict(list)
        self.seen = dict.fromkeys(("face", "body", "left_hand", "right_hand"), 0)
        self._timed_from = 0
        self._timed_to = 0

    def add(self, result: Result) -> None:
        if self.frames == 0:
            self.startup_s = since_process_start()
            self.vertices = len(result.mesh.vertices_m)
        self.frames += 1
        seen = result.observation
        for name, part in (
            ("face", seen.face),
            ("body", seen.pose),
            ("left_hand", seen.left_hand),
            ("right_hand", seen.right_hand),
        ):
            self.seen[name] += part is not None
        if self.frames == WARM_UP_FRAMES:
            self._timed_from = result.finished_at_ns
        elif self.frames > WARM_UP_FRAMES:
            self._timed_to = result.finished_at_ns
            for name, milliseconds in result.stages_ms.items():
                self.stages[name].append(milliseconds)

    def numbers(self) -> dict[str, Any]:
        if self.frames <= WARM_UP_FRAMES:
            raise SourceError(
                f"the source gave {self.frames} frames; a benchmark needs more than "
                f"{WARM_UP_FRAMES}"
            )
        seconds = (self._timed_to - self._timed_from) / 1e9
        latencies = self.stages.pop("latency")
        return {
            "frames": self.frames,
            "fps": round((self.frames - WARM_UP_FRAMES) / seconds, 2),
            "latency_ms": percentiles(latencies),
            "stages_ms": {
                name: round(float(np.median(values)), 3) for name, values in self.stages.items()
            },
            "vertices": self.vertices,
            "tracking": {name: round(count / self.frames, 4) for name, count in self.seen.items()},
            "startup_s": round(self.startup_s, 3),
            "peak_rss_mb": round(peak_rss_mb(), 1),
        }


async def bench_engine(
    spec: str, frames: int, options: EngineOptions, *, paced: bool = False
) -> dict[str, Any]:
    """Run ``frames`` frames of a source through the engine.

    A shorter source starts over until the count is reached.

    Args:
        spec: SOURCE as on the command line.
        frames: how many frames to take.
        options: how the engine is put together.
        paced: take them at the source's own rate, late ones dropped, as live; else as fast as it
            goes, nothing dropped.

    Returns:
        The JSON of the report: see the keys above; milliseconds are of work per frame.

    Raises:
        SourceError: the source cannot be read, or is too short to time.
    """
    tally = _Tally()
    policy = Policy.LATEST if paced else Policy.BLOCK
    pictures = Repeated(lambda: open_source(spec, paced=paced), frames)
    with Engine.open(options) as engine, pictures as source:
        async with engine.pipeline.run(source, policy) as results:
            async for result in results:
                tally.add(result)
        return tally.numbers() | {"backend": engine.backend}
