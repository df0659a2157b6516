"""MakeHuman's local changes of the head as directions of a Gaussian prior.

Each change is a pair of shapes, more and less of something. Both become directions; those of the
left and the right side are turned into one that both sides share and a smaller one in which they
differ, for faces are nearly symmetric.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.types import F64

PREFIXES = (
    "cheek", "chin", "ear", "eye", "eyebrows", "forehead", "head", "mouth", "nose", "neck-double",
)  # fmt: skip
NO_SHAPE = ("head-trans",)
"""Moves the head as a whole, which is its pose."""
ONE_SIDED = ("mouth-trans-out", "mouth-trans-in", "nose-trans-out", "nose-trans-in")
SHARE = 0.25
"""Standard deviation, where 1 is as far as MakeHuman's sliders go,"""
LARGEST_DEVIATION_M = 2.0e-3
"""unless a vertex then moves further: some sliders go beyond what people look like."""
ASYMMETRY = 0.25
"""Standard deviation of what differs between the sides, as a share of what they have in common."""


def is_of_head(label: str) -> bool:
    """Whether a local change shapes the head."""
    name = label.removeprefix("l-").removeprefix("r-")
    return name.startswith(PREFIXES) and not name.startswith(NO_SHAPE)


def directions(changes: Mapping[str, F64]) -> F64:
    """(N, 3, D): columns one standard deviation long.

    Args:
        changes: label to (N, 3) displacements in metres, of the chosen vertices.
    """
    columns = []
    for label, shape in changes.items():
        if label.startswith("r-"):
            continue
        if label.startswith("l-"):
            other = changes["r-" + label.removeprefix("l-")]
            both = _scaled(shape + other)
            columns += [both, ASYMMETRY * np.abs(both).max() * _unit(shape - other)]
        else:
            columns.append(_scaled(shape) * (ASYMMETRY if label in ONE_SIDED else 1.0))
    return np.stack(columns, axis=2)


def _scaled(shape: F64) -> F64:
    furthest = float(np.linalg.norm(shape, axis=1).max())
    return shape * min(SHARE, LARGEST_DEVIATION_M / max(furthest, 1e-9))


def _unit(shape: F64) -> F64:
    return np.asarray(shape / max(float(np.abs(shape).max()), 1e-9))
