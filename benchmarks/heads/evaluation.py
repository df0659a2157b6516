"""``sars eval heads``: many people filmed, reconstructed, and compared with the truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.heads.face_regions import face_regions, mean_by_region
from benchmarks.heads.filming import FRAMES, Person, Studio
from benchmarks.heads.harness import Heads, zero_shape
from benchmarks.heads.picture import Row, draw_rows
from benchmarks.heads.reconstruction import identity_estimator
from benchmarks.heads.surface_error import HeadError
from engine.avatar.morphable_model import Part
from viewer.snapshot import save_png

DEFAULT_IDENTITIES = 6
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


def eval_heads(
    identities: int,
    ict: Path | None = None,
    picture: Path | None = None,
    on_person: Callable[[int], None] = lambda _: None,
) -> dict[str, Any]:
    """Film, reconstruct and measure people 0 to ``identities - 1``.

    Args:
        identities: how many.
        ict: where ICT-FaceKit is, if not at a usual place.
        picture: where to draw some of them, the worst included; None draws nothing.
        on_person: told how many are done.

    Returns:
        The numbers, ready for a table and for JSON.

    Raises:
        ModelFileError: ICT-FaceKit or a model of ours is missing or damaged.
        GraphicsError: no OpenGL on this machine.
    """
    heads = Heads(ict)
    estimate, zero = identity_estimator(heads), zero_shape(heads.anny)
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
        on_person(len(results))
    if picture is not None:
        save_png(draw_rows(_rows(heads, results)), picture)
    return _numbers(heads, results)


def _numbers(heads: Heads, results: Sequence[Result]) -> dict[str, Any]:
    ours = [result.ours for result in results]
    zero, mean = [result.zero for result in results], [result.mean for result in results]
    regions = face_regions(heads.anny)
    by_region = [mean_by_region(error.to_truth_mm, regions) for error in ours]
    worst = max(results, key=lambda result: result.ours.scaled_mm)
    return {
        "point_to_plane_mm": _spread(ours, "scaled_mm"),
        "baseline_mm": _spread(zero, "scaled_mm")["mean"],
        "ict_mean_mm": _spread(mean, "scaled_mm")["mean"],
        "identities": len(results),
        "better_than_baseline": sum(r.ours.scaled_mm < r.zero.scaled_mm for r in results),
        "worst_identity": worst.person.number,
        "frames": FRAMES,
        "frames_seen": sum(result.seen for result in results),
        "baseline": _spread(zero, "scaled_mm"),
        "ict_mean": _spread(mean, "scaled_mm"),
        "at_own_size": {
            "point_to_plane_mm": _spread(ours, "rigid_mm"),
            "baseline": _spread(zero, "rigid_mm"),
            "ict_mean": _spread(mean, "rigid_mm"),
        },
        "region_mm": {
            name: round(float(np.mean([one[name] for one in by_region])), 3) for name in regions
        },
    }


def _spread(errors: Sequence[HeadError], which: str) -> dict[str, float]:
    values = np.array([getattr(error, which) for error in errors])
    return {
        "mean": round(float(values.mean()), 3),
        "std": round(float(values.std()), 3),
        "worst": round(float(values.max()), 3),
    }


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
