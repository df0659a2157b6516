"""What the slow loop costs the fast one: the same clip with and without it, in turns."""

from __future__ import annotations

from statistics import median
from typing import Any

from benchmarks.child import sars_numbers
from engine.engine import EngineOptions

TURNS = 3


def bench_slow_loop(spec: str, frames: int, options: EngineOptions) -> dict[str, Any]:
    """Time frames at the source's own rate with identity estimates on and off.

    Each run is a process of its own, and the two take turns, so that a machine that slows down
    slows both.

    Args:
        spec: SOURCE as on the command line.
        frames: how many in each run.
        options: how the engine is put together.

    Returns:
        ``p99_on_ms``, ``p99_off_ms`` (medians over the turns), ``ratio`` (median of each turn's
        own), and every single run's p50, p95 and p99.

    Raises:
        AvatarError: a run failed; its own one-line reason is repeated.
    """
    arguments = ["bench", "engine", "--source", spec, "--frames", str(frames), "--paced"]
    arguments += ["--backend", options.backend]
    arguments += [] if options.semantics else ["--no-semantics"]
    runs: dict[str, list[dict[str, float]]] = {"on": [], "off": []}
    for turn in range(TURNS):
        # Who goes first alternates too: the second of two runs finds warmer caches.
        for name in ("on", "off") if turn % 2 == 0 else ("off", "on"):
            switch = [] if name == "on" else ["--no-identity"]
            runs[name].append(sars_numbers([*arguments, *switch])["latency_ms"])
    pairs = zip(runs["on"], runs["off"], strict=True)
    return {
        "p99_on_ms": median(run["p99"] for run in runs["on"]),
        "p99_off_ms": median(run["p99"] for run in runs["off"]),
        "ratio": round(median(on["p99"] / off["p99"] for on, off in pairs), 3),
        "runs": runs,
    }
