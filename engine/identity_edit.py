"""What a user may change of an identity, and what is shown of it: two frozen values.

Semantic editing (SARS module 2): age, gender and build change, the person's own face stays.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from engine.errors import AvatarError

RANGES: dict[str, tuple[float, float]] = {
    "age_years": (0.0, 100.0),
    "gender": (0.0, 1.0),
    "weight": (0.0, 1.0),
    "muscle": (0.0, 1.0),
    "height": (0.0, 1.0),
    "proportions": (0.0, 1.0),
    "caricature": (0.0, 2.0),
}
"""Every number that can be edited, in the order in which users see them: (least, greatest)."""


@dataclass(frozen=True, slots=True)
class IdentityEdit:
    """A user's wish. What is ``None`` stays as it is; what is set no estimate changes any more."""

    age_years: float | None = None
    """In [0, 100]."""
    gender: float | None = None
    """In [0, 1]: 0 male, 1 female."""
    weight: float | None = None
    """In [0, 1] as the three below; 0.5 is the average."""
    muscle: float | None = None
    height: float | None = None
    proportions: float | None = None
    caricature: float | None = None
    """In [0, 2]: how much of the person's own face is shown. 0 is the average face of that age
    and gender, 1 the person's, beyond it a caricature."""
    pin: bool | None = None
    """True: the whole shape stays as it is, whatever is estimated. False: estimates count."""
    reset: bool = False
    """First go back to the edits that the run was started with, and estimate the person again."""

    def __post_init__(self) -> None:
        """Check every number.

        Raises:
            AvatarError: one is not finite or out of its range.
        """
        for name, (least, greatest) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and least <= value <= greatest):
                raise AvatarError(
                    f"{name} must be a number from {least:g} to {greatest:g}, not {value}"
                )

    def then(self, later: IdentityEdit) -> IdentityEdit:
        """This edit and then another one, as one."""
        if later.reset:
            return later
        wishes = {name: getattr(later, name) for name in (*RANGES, "pin")}
        return replace(self, **{name: w for name, w in wishes.items() if w is not None})


@dataclass(frozen=True, slots=True)
class IdentityStatus:
    """What is known of the person and shown of it, for a viewer's eyes.

    The numbers are those of the avatar, edits included, in the units of :class:`IdentityEdit`.
    """

    version: int
    """Of the newest identity published."""
    age_years: float
    gender: float
    weight: float
    muscle: float
    height: float
    proportions: float
    caricature: float
    confidence: float
    """In [0, 1]: how sure the estimates are, less while the person is seen badly or not at all."""
    locked: bool
    """Whether estimates have settled: they change nothing until somebody else comes."""
    pinned: bool
    """Whether the user keeps the shape as it is."""
