"""One moment of a performance, and what can give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from engine.types import F32


@dataclass(frozen=True, slots=True)
class Moment:
    """A pose and a face; where the camera stands is the performer's business."""

    rotations_xyzw: F32
    """(J, 4) relative to the parents, as in ``AvatarState``."""
    root_m: F32
    """(3,) movement of the body from its rest place, metres."""
    expression: F32
    """(52,) in [0, 1]."""


class Motion(Protocol):
    """A performance as a function of time: the same every time it is asked."""

    @property
    def duration_s(self) -> float:
        """Natural length; endless ones say how long one round takes."""

    def at(self, seconds: float) -> Moment:
        """The pose at a time since the start."""
