"""Runs MediaPipe Holistic beside the engine, in an environment that only it uses."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.child import last_line, sars_numbers
from engine.engine import EngineOptions
from engine.errors import SetupError, SourceError
from engine.inference.store import ModelStore
from engine.types import F64

REQUIREMENT = "mediapipe==0.10.21"
SCRIPT = Path(__file__).with_name("peer_holistic.py")
LONGEST_S = 600.0


def peer_python(store: ModelStore) -> Path:
    """The interpreter of the peer's environment, made on first use.

    Raises:
        SetupError: the environment cannot be made (no network, no wheel for this platform).
    """
    folder = store.folder / "peer-env"
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if (folder / "complete").is_file():
        return python
    venv.create(folder, with_pip=True, clear=True)
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "-q", REQUIREMENT], capture_output=True, text=True
    )
    if done.returncode != 0:
        raise SetupError(f"cannot install the peer {REQUIREMENT}: {last_line(done.stderr)}")
    (folder / "complete").touch()
    return python


def peer_fps(store: ModelStore, video: Path, frames: int) -> float:
    """Frames per second of MediaPipe Holistic (complexity 1, refined face) on a video.

    Raises:
        SourceError: the peer could not read the video or failed on it.
    """
    return float(_run_peer(store, video, frames)["fps"])


def peer_world_landmarks(store: ModelStore, video: Path, frames: int) -> F64:
    """(frames, 33, 3) MediaPipe Holistic's metric body landmarks, y down; nan where unseen.

    Raises:
        SourceError: the peer could not read the video or failed on it.
    """
    nothing = [[math.nan] * 3] * 33
    rows = _run_peer(store, video, frames, "landmarks")["world_m"]
    return np.array([nothing if row is None else row for row in rows], np.float64)


def _run_peer(store: ModelStore, video: Path, frames: int, *more: str) -> dict[str, Any]:
    done = subprocess.run(
        [str(peer_python(store)), str(SCRIPT), str(video), str(frames), *more],
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )
    if done.returncode != 0:
        raise SourceError(f"the peer failed on {video}: {last_line(done.stderr)}")
    numbers: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return numbers


def bench_beside_peer(spec: str, frames: int, options: EngineOptions) -> dict[str, Any]:
    """Run the peer, the engine, and the peer again, so that a machine that slows down shows.

    Each runs in a process of its own: the engine's start-up and memory are not the peer's.

    Args:
        spec: the video that both look at.
        frames: how many.
        options: how the engine is put together.

    Returns:
        ``sars bench engine``'s numbers with ``peer{before_fps, after_fps}`` and ``ratio`` to the
        faster one.

    Raises:
        SetupError: the peer's environment cannot be made.
        AvatarError: one of them failed; its own one-line reason is repeated.
    """
    arguments = ["bench", "engine", "--source", spec, "--frames", str(frames)]
    arguments += ["--backend", options.backend]
    arguments += [] if options.semantics else ["--no-semantics"]
    arguments += [] if options.identity else ["--no-identity"]
    before = peer_fps(options.store, Path(spec), frames)
    numbers = sars_numbers(arguments)
    after = peer_fps(options.store, Path(spec), frames)
    return numbers | {
        "peer": {"before_fps": round(before, 2), "after_fps": round(after, 2)},
        "ratio": round(numbers["fps"] / max(before, after), 3),
    }
