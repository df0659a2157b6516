"""What the fast path leaves for the slow loop: recent landmarks and the calmest picture."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from dataclasses import dataclass

from engine.face.head_pose import HeadPose
from engine.face.view import calm
from engine.types import AvatarState, Frame, Observation

TURN = math.radians(20.0)
MOST_TURNS = 2
TRUNK_SEEN = 0.6
_TRUNK, _BODY = [11, 12, 23, 24], slice(11, 29)
RECENT = 64
"""Landmark sets that wait at most, the newest ones: two seconds' worth."""


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
    """Of the pictures with a face the one that shows most of it, most at rest."""
    turned: tuple[Picture, ...] = ()
    """The calmest for each TURN of the head to either side: together they show depth."""
    body: Picture | None = None
    """Of the pictures that show a trunk the one that shows most of a body."""


def at_rest(view: View) -> float:
    """In [0, 1]: how much a face is seen as it is when it does nothing."""
    return view.state.face_confidence * calm(view.state.expression)


def shown_body(view: View) -> float:
    """In [0, 1]: how much of a body is seen; 0 without shoulders and hips."""
    pose = view.observation.pose
    if pose is None or pose.visibility[_TRUNK].min() < TRUNK_SEEN:
        return 0.0
    return float(pose.visibility[_BODY].mean()) * pose.presence


def _turn(view: View) -> int:
    """To which side the head is turned, and how far, in steps of TURN; 0 is to the front."""
    if view.head is None:
        return 0
    _, y, _, w = view.head.rotation_xyzw.tolist()
    steps = round(2.0 * math.atan2(y, w) / TURN) if w else 0
    return min(max(steps, -MOST_TURNS), MOST_TURNS)


def _facing(view: View) -> float:
    """In [0, 1]: how much of the face is seen."""
    return math.cos(_turn(view) * TURN) ** 2


def _is_older(before: View, now: View) -> bool:
    """Whether a view shows an avatar that was replaced since: it is of no use."""
    return before.state.identity_version != now.state.identity_version


def _clearest(pictures: list[Picture]) -> Picture | None:
    """Of those that show the newest avatar the one that shows most of a face at rest."""
    newest = max((p.view.state.identity_version for p in pictures), default=0)
    fresh = (p for p in pictures if p.view.state.identity_version == newest)
    return max(fresh, key=lambda p: at_rest(p.view) * _facing(p.view), default=None)


class ViewQueue:
    """Queue policy: drop_oldest(RECENT) for landmarks, best(1) for each kind of picture.

    Who talks is at rest now and then, and one such picture tells more of a person than many of
    others. One thread puts, another drains. Each operation is atomic in Python, so there is no
    lock that the fast path could wait for; a picture that comes while another is taken may be lost.
    """

    def __init__(self) -> None:
        self._recent: deque[View] = deque(maxlen=RECENT)
        self._pictures: dict[int, tuple[float, Picture]] = {}
        self._body: tuple[float, Picture] | None = None

    def put(self, frame: Frame, view: View) -> None:
        """Leave one frame: an append, and an assignment where it is the best so far."""
        self._recent.append(view)
        if view.observation.face is not None:
            rest, turn = at_rest(view), _turn(view)
            best = self._pictures.get(turn)
            if best is None or rest >= best[0] or _is_older(best[1].view, view):
                self._pictures[turn] = rest, Picture(frame, view)
        shown, best_body = shown_body(view), self._body
        if shown > 0.0 and (best_body is None or shown >= best_body[0]):
            self._body = shown, Picture(frame, view)

    def drain(self) -> Views:
        """Take what is there."""
        kept, self._pictures = self._pictures, {}
        body, self._body = self._body, None
        recent: list[View] = []
        waiting = len(self._recent)  # what comes meanwhile is the next turn's
        with contextlib.suppress(IndexError):  # another thread may clear it meanwhile
            recent.extend(self._recent.popleft() for _ in range(waiting))
        pictures = [picture for _, picture in kept.values()]
        best_body = None if body is None else body[1]
        return Views(tuple(recent), _clearest(pictures), tuple(pictures), best_body)

    def clear(self) -> None:
        """Drop what is there: it shows somebody who has gone."""
        self._pictures, self._body = {}, None
        self._recent.clear()
