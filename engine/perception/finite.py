"""Where observations begin: a part of which any number is not one was not seen."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np

from engine.types import FaceLandmarks, HandLandmarks, Observation, PoseLandmarks

_Part = TypeVar("_Part", FaceLandmarks, PoseLandmarks, HandLandmarks)


def only_finite(seen: Observation) -> Observation:
    """The same observation without the parts that hold infinities or no numbers at all."""
    return replace(
        seen,
        face=_whole(seen.face),
        pose=_whole(seen.pose),
        left_hand=_whole(seen.left_hand),
        right_hand=_whole(seen.right_hand),
    )


def _whole(part: _Part | None) -> _Part | None:
    if part is None:
        return None
    numbers = (getattr(part, field.name) for field in fields(part))
    # One number that is not finite makes the sum so, and a sum allocates nothing.
    return part if all(math.isfinite(np.sum(n)) for n in numbers) else None
