"""``sars eval expressions``: the engine's actions on a real clip beside MediaPipe's own.

Nobody knows the truth of a real face, but two readers of the same landmarks should agree on when
something happens. MediaPipe's network knows nothing of the person or of time; the engine learns
the person's neutral face and filters: so strengths differ, and the correlation and the lag over
the clip are what is compared, action by action, where the clip moves them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.blendshape_peer import SCORED, BlendshapePeer
from engine.engine import Engine, EngineOptions
from engine.errors import SourceError
from engine.pipeline import Result
from engine.slot import Policy
from engine.sources.opening import open_source
from engine.types import ARKIT_NAMES, F32, F64, AvatarState

MOVED = 0.04
"""Standard deviation of the peer's score from which a clip counts as moving an action."""
SETTLE_FRAMES = 10
LONGEST_LAG_FRAMES = 6
FEWEST_FRAMES = 30
WORST = 6
APART = 12
"""Frames that at least lie between two of the worst: neighbours look the same."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One frame of a clip."""

    state: AvatarState
    points_px: F32
    """(478, 3)."""
    engine: F64
    """(52,)."""
    peer: F64
    """(52,)."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A frame where engine and peer are furthest apart."""

    reading: Reading
    action: str
    """On this action most."""


class ExpressionComparison:
    """Adds frames up; correlations and lag at the end."""

    def __init__(self, peer: BlendshapePeer, fps: float) -> None:
        self._peer = peer
        self._fps = fps
        self._readings: list[Reading] = []
        self._seen = 0

    def add(self, result: Result) -> None:
        """Take in a frame; one without a face tells nothing."""
        self._seen += 1
        face = result.observation.face
        if face is None or self._seen <= SETTLE_FRAMES:
            return
        scores = self._peer.read(face.points_px)
        expression = result.state.expression.astype(np.float64)
        self._readings.append(Reading(result.state, face.points_px.copy(), expression, scores))

    def numbers(self) -> dict[str, Any]:
        """The report.

        Raises:
            SourceError: fewer frames with a face than a comparison needs.
        """
        if len(self._readings) < FEWEST_FRAMES:
            raise SourceError(
                f"expected a clip with {FEWEST_FRAMES} frames of a face after the first "
                f"{SETTLE_FRAMES}, found {len(self._readings)}; choose a longer one"
            )
        engine, peer, moved = self._series()
        return {
            "frames": self._seen,
            "face_frames": len(self._readings),
            "correlation": {
                ARKIT_NAMES[k]: round(correlation(engine[:, k], peer[:, k]), 3) for k in moved
            },
            "lag_ms": self._lag_ms(engine[:, moved], peer[:, moved]),
        }

    def worst(self) -> list[Disagreement]:
        """At most WORST frames that differ most, each reader in its own standard deviations."""
        engine, peer, moved = self._series()
        if not len(moved):
            return []
        apart = np.abs(standardised(engine[:, moved]) - standardised(peer[:, moved]))
        chosen: list[int] = []
        for frame in np.argsort(-apart.max(axis=1)):
            if all(abs(int(frame) - other) > APART for other in chosen):
                chosen.append(int(frame))
            if len(chosen) == WORST:
                break
        return [
            Disagreement(self._readings[i], ARKIT_NAMES[moved[int(apart[i].argmax())]])
            for i in sorted(chosen)
        ]

    def _series(self) -> tuple[F64, F64, list[int]]:
        """(N, 52) of engine and peer, and which actions the clip moves."""
        engine = np.array([reading.engine for reading in self._readings])
        peer = np.array([reading.peer for reading in self._readings])
        moved = [k for k in range(len(SCORED)) if peer[:, k].std() >= MOVED]
        return engine, peer, moved

    def _lag_ms(self, engine: F64, peer: F64) -> float | None:
        lag = lag_frames(engine, peer)
        return None if lag is None else round(1e3 * lag / self._fps, 1)


def correlation(one: F64, other: F64) -> float:
    """Pearson's; 0 where either rests."""
    if one.std() == 0.0 or other.std() == 0.0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])


def standardised(series: F64) -> F64:
    """(N, A) about the mean over the frames, in standard deviations; what rests is not blown up."""
    return np.asarray((series - series.mean(axis=0)) / np.maximum(series.std(axis=0), MOVED))


def lag_frames(late: F64, early: F64) -> float | None:
    """By how many frames, sub-frame, one series (N, A) comes after the other.

    The shift at which their velocities correlate best, every action weighing the same: levels
    drift, and say nothing about time. ``None`` where nothing moves or nothing agrees.
    """
    moves, others = (np.diff(series, axis=0) for series in (late, early))
    moves, others = (
        steps / np.maximum(np.sqrt((steps**2).mean(axis=0)), 1e-9) for steps in (moves, others)
    )
    middle = slice(LONGEST_LAG_FRAMES, len(moves) - LONGEST_LAG_FRAMES)
    lags = np.arange(-LONGEST_LAG_FRAMES, LONGEST_LAG_FRAMES + 1)
    likeness = [float((moves * np.roll(others, lag, axis=0))[middle].sum()) for lag in lags]
    best = int(np.argmax(likeness))
    if likeness[best] <= 0.0:
        return None
    if best in (0, len(lags) - 1):
        return float(lags[best])
    before, at, after = likeness[best - 1 : best + 2]
    return float(lags[best]) + 0.5 * (before - after) / (before - 2 * at + after)


async def eval_expressions(
    clip: str, task: Path, frames: int, options: EngineOptions, picture: Path | None = None
) -> dict[str, Any]:
    """Run a clip through the engine and compare.

    Args:
        clip: a video file, or any other source that ends.
        task: MediaPipe's ``face_landmarker.task``.
        frames: the most to compare.
        options: of the engine.
        picture: where the worst frames are drawn, if anywhere.

    Raises:
        SourceError: the clip cannot be read, or shows a face for too short a time.
        ModelFileError: the task file is missing or another one.
        SetupError: LiteRT is not installed.
        GraphicsError: a picture is wanted and there is no OpenGL.
    """
    peer = BlendshapePeer(task)
    with Engine.open(options) as engine, open_source(clip, frames=frames) as source:
        if source.live:
            raise SourceError("expected a clip that ends, found a camera; name a video file")
        comparison = ExpressionComparison(peer, source.fps)
        count = 0
        async with engine.pipeline.run(source, Policy.BLOCK, pose=False) as results:
            async for result in results:
                comparison.add(result)
                count += 1
                if count == frames:
                    break
        numbers = comparison.numbers()
        avatar = engine.reconstructor.avatar
    if picture is not None:
        from benchmarks.expression_sheet import draw_sheet

        draw_sheet(clip, avatar, comparison.worst(), picture)
    return numbers
