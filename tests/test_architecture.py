"""The rooms and who may call whom."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
