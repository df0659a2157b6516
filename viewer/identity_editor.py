"""Changing the avatar by keys: one number is chosen, the next keys move it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from engine.identity_edit import RANGES, IdentityEdit, IdentityStatus

STEPS = 20
"""Steps from the least to the greatest of a number: 5 years, 5 %."""
ANSWERED_S = 1.5
"""After the last key the engine has answered: what it says then is so, whatever was wanted."""


@dataclass(frozen=True, slots=True)
class IdentityEditor:
    """What the user has chosen and set."""

    chosen: str | None = None
    """Of ``engine.identity_edit.RANGES``; None: keys change nothing and the card is hidden."""
    wanted: dict[str, float] = field(default_factory=dict)
    """Set by keys: what the engine says of these may still be from before."""
    wanted_at_s: float = -ANSWERED_S
    """When the last of them was."""

    def press(
        self, key: str, status: IdentityStatus | None, now_s: float
    ) -> tuple[IdentityEditor, IdentityEdit | None]:
        """The editor after a key, and what is to be changed.

        Args:
            key: ``e`` chooses the next number, ``+`` and ``-`` move it, ``p`` keeps the shape or
                lets it go, ``r`` estimates again.
            status: as the engine knows it; without it only ``e`` does anything.
            now_s: of a clock that only goes forward.
        """
        if key == "e":
            names = [*RANGES, None]
            following = 0 if self.chosen is None else names.index(self.chosen) + 1
            return replace(self, chosen=names[following]), None
        if self.chosen is None or status is None:
            return self, None
        match key:
            case "+" | "=":
                return self._moved(self.chosen, +1, status, now_s)
            case "-" | "_":
                return self._moved(self.chosen, -1, status, now_s)
            case "p":
                return self, IdentityEdit(pin=not status.pinned)
            case "r":
                return replace(self, wanted={}), IdentityEdit(reset=True)
            case _:
                return self, None

    def lines(self, status: IdentityStatus | None, now_s: float) -> tuple[str, ...]:
        """For the card: every number, an arrow at the chosen one, and the keys."""
        if self.chosen is None:
            return ()
        if status is None:
            return ("nothing is known of the avatar yet",)
        return (
            summary(status),
            *(self._line(name, status, now_s) for name in RANGES),
            "e next   + - change   p pin   r estimate again",
        )

    def _moved(
        self, name: str, direction: int, status: IdentityStatus, now_s: float
    ) -> tuple[IdentityEditor, IdentityEdit]:
        least, greatest = RANGES[name]
        step = (greatest - least) / STEPS
        value = min(max(self._value(name, status, now_s) + direction * step, least), greatest)
        wanted = self._unanswered(now_s) | {name: value}
        edited = replace(self, wanted=wanted, wanted_at_s=now_s)
        number: dict[str, Any] = {name: value}
        return edited, IdentityEdit(**number)

    def _unanswered(self, now_s: float) -> dict[str, float]:
        return self.wanted if now_s - self.wanted_at_s < ANSWERED_S else {}

    def _value(self, name: str, status: IdentityStatus, now_s: float) -> float:
        return self._unanswered(now_s).get(name, float(getattr(status, name)))

    def _line(self, name: str, status: IdentityStatus, now_s: float) -> str:
        arrow = ">" if name == self.chosen else "  "
        value = self._value(name, status, now_s)
        unit = {"age_years": "years", "gender": "% female"}.get(name, "%")
        shown = value if name == "age_years" else 100 * value
        return f"{arrow} {name.removesuffix('_years')}   {shown:.0f} {unit}"


def summary(status: IdentityStatus) -> str:
    """One line: age, how sure the estimates are, and what becomes of them."""
    state = "pinned" if status.pinned else "locked" if status.locked else "estimating"
    return f"{status.age_years:.0f} years, {100 * status.confidence:.0f} % sure, {state}"
