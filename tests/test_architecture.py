"""The rooms and who may call whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut

from engine.inference.store import ModelStore

ROOT = Path(__file__).resolve().parents[1]


def imported_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter has after a statement."""
    script = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_viewer_needs_neither_torch_nor_the_networks() -> None:
    loaded = imported_by("import viewer.window, viewer.headless, viewer.remote, viewer.snapshot")
    assert not loaded & {"torch", "openvino", "onnxruntime", "anny", "exporters"}


def test_the_engine_needs_neither_torch_nor_a_window() -> None:
    loaded = imported_by("import engine.engine, engine.sources")
    assert not loaded & {"torch", "anny", "moderngl_window", "aiortc", "viewer", "stream"}


def test_the_command_line_starts_without_loading_the_rooms() -> None:
    loaded = imported_by("import sars")
    assert not loaded & {"numba", "cv2", "aiortc", "moderngl", "openvino", "torch"}


@pytest.mark.slow
def test_a_frame_needs_no_scipy_linear_algebra(model_cache: ModelStore, tmp_path: Path) -> None:
    """60 MB that come with the first ``@`` or ``np.linalg`` inside a kernel."""
    picture = tmp_path / "person.png"
    cv2.imwrite(str(picture), np.ascontiguousarray(astronaut()[..., ::-1]))
    script = f"""
import asyncio, sys
from benchmarks.engine import bench_engine
from engine.engine import EngineOptions
seen = asyncio.run(bench_engine({str(picture)!r}, 10, EngineOptions()))["tracking"]
print("scipy.linalg" in sys.modules, seen["face"], seen["body"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "1.0", "1.0"]
