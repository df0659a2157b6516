"""``sars eval heads``: many people filmed, reconstructed, and compared with the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.heads.filming import FRAMES, Person, Studio
from benchmarks.heads.harness import Estimator, Heads, zero_shape
from benchmarks.heads.picture import Row, draw_rows
from benchmarks.heads.surface_error import HeadError
from engine.avatar.morphable_model import Part
from viewer.snapshot import save_png

DEFAULT_IDENTITIES = 4
FULL_IDENTITIES = 40
DRAWN = 4
"""People in the picture, from the best to the worst."""
DRAWN_PARTS = ("head", "eye_front.L", "eye_front.R", "eye_back.L", "eye_back.R")


@dataclass(frozen=True, slots=True)
class Result:
    """One person's errors."""

    person: Person
    seen: int
    """Frames in which the face was found."""
    ours: HeadError
    zero: HeadError
    mean: HeadError
    """ICT's own mean."""


def zero_shape_of(heads: Heads) -> Estimator:
    """Anny's average face."""
    return zero_shape(heads.anny)


def eval_heads(
    identities: int,
    ict: Path | None = None,
    picture: Path | None = None,
    estimator: Callable[[Heads], Estimator] = zero_shape_of,
) -> dict[str, Any]:
    """Film, reconstruct and measure people 0 to ``identities - 1``.

    Args:
        identities: how many.
        ict: where ICT-FaceKit is, if not at a usual place.
        picture: where to draw some of them, the worst included; None draws nothing.
        estimator: what reconstructs.

    Returns:
        The numbers, ready for a table and for JSON.

    Raises:
        ModelFileError: ICT-FaceKit or a model of ours is missing or damaged.
        GraphicsError: no OpenGL on this machine.
    """
    heads = Heads(ict)
    estimate, zero = estimator(heads), zero_shape(heads.anny)
    results = []
    for person, sitting in heads.sittings(identities):
        results.append(
            Result(
                person,
                int((sitting.presence > 0.0).sum()),
                heads.error(estimate(sitting), person),
                heads.error(zero(sitting), person),
                heads.mean_error(person),
            )
        )
    if picture is not None:
        save_png(draw_rows(_rows(heads, results)), picture)
    return _numbers(results)


def _numbers(results: Sequence[Result]) -> dict[str, Any]:
    ours = [result.ours for result in results]
    worst = max(results, key=lambda result: result.ours.scaled_mm)
    return {
        "point_to_plane_mm": _spread([error.scaled_mm for error in ours]),
        "identities": len(results),
        "frames": FRAMES,
        "frames_seen": sum(result.seen for result in results),
        "baseline_mm": _mean([result.zero.scaled_mm for result in results]),
        "ict_mean_mm": _mean([result.mean.scaled_mm for result in results]),
        "worst_mm": round(worst.ours.scaled_mm, 3),
        "worst_identity": worst.person.number,
        "at_own_size": {
            "point_to_plane_mm": _spread([error.rigid_mm for error in ours]),
            "baseline_mm": _mean([result.zero.rigid_mm for result in results]),
            "ict_mean_mm": _mean([result.mean.rigid_mm for result in results]),
        },
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": _mean(values), "std": round(float(np.std(values)), 3)}


def _mean(values: Sequence[float]) -> float:
    return round(float(np.mean(values)), 3)


def _rows(heads: Heads, results: Sequence[Result]) -> list[Row]:
    """From the best to the worst."""
    ordered = sorted(results, key=lambda result: result.ours.scaled_mm)
    chosen = np.unique(np.linspace(0, len(ordered) - 1, DRAWN).astype(int))
    with heads.studio() as studio:
        return [_row(heads, ordered[i], studio) for i in chosen]


def _row(heads: Heads, result: Result, studio: Studio) -> Row:
    person = result.person
    truth = person.rest_m.astype(np.float64)
    return Row(
        title=(
            f"person {person.number}: {result.ours.scaled_mm:.2f} mm "
            f"(average Anny {result.zero.scaled_mm:.2f}, ICT's mean {result.mean.scaled_mm:.2f})"
        ),
        frame=next(studio.film(person)),
        truth_m=truth,
        truth_faces=heads.ict.faces_of(Part.FACE, Part.HEAD, Part.EYE_LEFT, Part.EYE_RIGHT),
        ours_m=result.ours.aligned_m,
        ours_faces=heads.anny_faces(*DRAWN_PARTS),
        deviation_mm=result.ours.to_truth_mm,
        centre_m=heads.truth(person.rest_m).landmarks_m.mean(axis=0),
    )
