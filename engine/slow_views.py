"""What the fast path leaves for the slow loop: recent landmarks and the newest picture."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from engine.face.head_pose import HeadPose
from engine.types import AvatarState, Frame, Observation

RECENT = 64
"""Landmark sets that wait at most, the newest ones: two seconds' worth. Pictures: one."""


@dataclass(frozen=True, slots=True)
class View:
    """One frame as it was seen and fitted."""

    observation: Observation
    state: AvatarState
    """Its pose and expression, and the identity version that they belong to."""
    head: HeadPose | None = None
    """As fitted to the landmarks of the face; None where none is seen."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that shows a face, with what was read off it."""

    frame: Frame
    view: View


@dataclass(frozen=True, slots=True)
class Views:
    """What came since the last turn."""

    recent: tuple[View, ...]
    """At most RECENT, oldest first; a frame without a face is here too."""
    picture: Picture | None
    """The newest picture with a face."""


class ViewQueue:
    """Queue policy: drop_oldest(RECENT) for landmarks, latest(1) for the picture.

    One thread puts, another drains. Each operation is atomic in Python, so there is no lock that
    the fast path could wait for.
    """

    def __init__(self) -> None:
        self._recent: deque[View] = deque(maxlen=RECENT)
        self._picture: Picture | None = None

    def put(self, frame: Frame, view: View) -> None:
        """Leave one frame: an append and an assignment."""
        self._recent.append(view)
        if view.observation.face is not None:
            self._picture = Picture(frame, view)

    def drain(self) -> Views:
        """Take what is there."""
        picture, self._picture = self._picture, None
        waiting = len(self._recent)  # what comes meanwhile is the next turn's
        return Views(tuple(self._recent.popleft() for _ in range(waiting)), picture)

    def clear(self) -> None:
        """Drop what is there: it shows somebody who has gone."""
        self._picture = None
        self._recent.clear()
