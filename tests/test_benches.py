"""The benches run from end to end and write the keys that others read. No time limits."""

from __future__ import annotations

import pytest

from benchmarks.child import sars_numbers
from engine.errors import AvatarError
from engine.inference.store import ModelStore

pytestmark = pytest.mark.slow


def test_the_engine_bench(model_cache: ModelStore) -> None:
    numbers = sars_numbers(["bench", "engine", "--source", "portrait", "--frames", "20"])
    assert numbers["frames"] == 20
    assert numbers["fps"] > 0
    assert set(numbers["latency_ms"]) == {"p50", "p95", "p99"}
    stages = {"decode", "body", "left_hand", "right_hand", "face", "face_fit", "body_fit", "mesh"}
    assert set(numbers["stages_ms"]) == stages
    assert numbers["vertices"] > 13_718, "the fused mesh is denser than the body alone"
    assert numbers["tracking"]["face"] == numbers["tracking"]["body"] == 1.0
    assert numbers["startup_s"] > 0
    assert numbers["peak_rss_mb"] > 0


def test_the_live_bench(model_cache: ModelStore) -> None:
    numbers = sars_numbers(["bench", "live", "--source", "portrait", "--seconds", "3"])
    assert set(numbers["capture_to_draw_ms"]) == {"p50", "p95", "p99"}
    assert 0 < numbers["capture_to_draw_ms"]["p50"] <= numbers["capture_to_draw_ms"]["p95"]
    assert 0 < numbers["mbit_per_s"] < 1
    assert 0 < numbers["frame_bytes"]["p50"] <= numbers["frame_bytes"]["max"] <= 1100
    assert 0 < numbers["delivered"] <= 1


def test_the_live_bench_says_what_its_server_said() -> None:
    with pytest.raises(AvatarError, match=r"the server stopped: there is no nothing\.mp4"):
        sars_numbers(["bench", "live", "--source", "nothing.mp4", "--seconds", "1"])
