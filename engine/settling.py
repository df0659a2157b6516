"""When an estimate is worth showing: once it is sure, again while it grows surer, then no more.

Every change of identity sends watchers a new base avatar, and an avatar that changes all the time
breathes. So an estimate is taken in a few steps of clearly rising confidence and then locked.
"""

from __future__ import annotations

from dataclasses import dataclass

SURE = 0.5
"""Confidence from which most estimates may shape the avatar."""
CLEARLY = 0.15
"""How much surer an estimate must have become to be taken again."""
REFINEMENTS = 3
"""How often at most, after the first time."""
SETTLED = 0.9
"""Confidence at which nothing better is waited for."""
PATIENCE = 30
"""Estimates after the first one taken, about a second apart, that end the refining."""
LONGEST_TURNS = 180
"""Looks at the person after the first one taken, about a second apart, that end the refining of
traits that are seldom estimated, too: skin and relief may wait for a view that never comes."""


@dataclass
class Settling:
    """Decides for one trait of one person."""

    sure: float = SURE
    """Confidence from which an estimate of this trait may shape the avatar."""
    confidence: float = 0.0
    """Of the newest estimate."""
    taken_at: float = 0.0
    """Confidence of the estimate taken last."""
    taken: int = 0
    waited: int = 0
    turns: int = 0
    locked: bool = False

    def turn(self) -> None:
        """The person was looked at once more, whether or not that gave an estimate."""
        self.turns += self.taken > 0
        self.locked |= self.turns >= LONGEST_TURNS

    def takes(self, confidence: float) -> bool:
        """Whether an estimate of this confidence is to be used now."""
        if self.locked or not confidence >= 0.0:  # NaN is no confidence
            return False
        self.confidence = confidence
        self.waited += self.taken > 0
        better = confidence >= (self.sure if not self.taken else self.taken_at + CLEARLY)
        final = confidence >= SETTLED
        take = better or (final and confidence > self.taken_at)
        if take:
            self.taken, self.taken_at = self.taken + 1, confidence
        self.locked = self.taken > REFINEMENTS or self.waited >= PATIENCE or (take and final)
        return take

    def reopen(self) -> None:
        """What the estimate builds upon has changed: the next one as sure as the last is taken."""
        if self.taken:
            self.locked = False
            self.taken_at = max(0.0, self.taken_at - CLEARLY)
            self.taken = min(self.taken, REFINEMENTS)
            self.waited = min(self.waited, PATIENCE - 2)
