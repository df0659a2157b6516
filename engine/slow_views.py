"""What the fast path leaves for the slow loop: recent landmarks and the calmest picture."""

from __future__ import annotations

import contextlib
from collections import deque
from dataclasses import dataclass

from engine.face.head_pose import HeadPose
from engine.face.view import calm
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
    """Of the pictures with a face the one that shows it most at rest."""


def at_rest(view: View) -> float:
    """In [0, 1]: how much a face is seen as it is when it does nothing."""
    return view.state.face_confidence * calm(view.state.expression)


class ViewQueue:
    """Queue policy: drop_oldest(RECENT) for landmarks, best(1) for the picture.

    Who talks is at rest now and then, and one such picture tells more of a person than many of
    others. One thread puts, another drains. Each operation is atomic in Python, so there is no
    lock that the fast path could wait for; a picture that comes while another is taken may be lost.
    """

    def __init__(self) -> None:
        self._recent: deque[View] = deque(maxlen=RECENT)
        self._picture: Picture | None = None
        self._rest = 0.0

    def put(self, frame: Frame, view: View) -> None:
        """Leave one frame: an append, and an assignment where it is the best so far."""
        self._recent.append(view)
        if view.observation.face is not None:
            rest = at_rest(view)
            best = self._picture
            # What shows an avatar that was replaced since is of no use.
            stale = best is None or best.view.state.identity_version != view.state.identity_version
            if stale or rest >= self._rest:
                self._picture, self._rest = Picture(frame, view), rest

    def drain(self) -> Views:
        """Take what is there."""
        picture, self._picture = self._picture, None
        recent: list[View] = []
        waiting = len(self._recent)  # what comes meanwhile is the next turn's
        with contextlib.suppress(IndexError):  # another thread may clear it meanwhile
            recent.extend(self._recent.popleft() for _ in range(waiting))
        return Views(tuple(recent), picture)

    def clear(self) -> None:
        """Drop what is there: it shows somebody who has gone."""
        self._picture = None
        self._recent.clear()
