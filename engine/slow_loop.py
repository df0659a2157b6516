"""The second clock: about once a second, off the frame path, who is this?

Estimators look at what the fast path has left and tell the keeper of the identity what they know;
the keeper decides when that is a new version (``engine.identity_keeper``). Users' edits come the
same way, so that one thread alone changes the person.

No frame waits for it: the fast path leaves its landmarks with an append, estimators spend their
time outside of Python's lock, and after each turn the loop rests for several times as long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from engine.identity_edit import IdentityEdit, IdentityStatus
from engine.identity_keeper import IdentityKeeper
from engine.perception.semantics import frontality
from engine.slow_views import View, ViewQueue, Views
from engine.types import Frame, Identity

log = logging.getLogger(__name__)

PERIOD_S = 1.0
REST = 3.0
"""Times as long as a turn took the loop rests at least: at most a quarter of one core."""
LONGEST_REST_S = 2.0
"""But no longer than this: the first turn of all makes tables, and takes longest."""
EDIT_PERIOD_S = 0.25
"""Between two edits that are carried out: each one is a new avatar for every watcher."""
NICENESS = 10
"""On Linux: frames get the cores first."""
AWAY_S = 5.0
"""A face that was away for longer may be another person's, as in ``engine.face.face_fit``."""


class SlowEstimator(Protocol):
    """One thing to find out about the person, on the slow loop's thread alone.

    A turn calls ``look`` and then ``tell``. Neither may take more than some tens of milliseconds,
    nor keep Python's lock for more than one: work that is longer goes on in the next turn.
    """

    name: str
    """What is estimated, for the log: "age and gender"."""

    def look(self, views: Views) -> None:
        """Take in what was seen since the last turn; there may be nothing."""

    def tell(self, keeper: IdentityKeeper) -> Identity | None:
        """Hand what is known to one of the keeper's events; its answer."""

    def reset(self) -> None:
        """Another person may be there: forget this one."""


class SlowLoop:
    """A daemon thread that turns what was seen into identities.

    All that is known of a person belongs to that thread. Others leave it a frame or a wish.
    """

    def __init__(
        self,
        keeper: IdentityKeeper,
        estimators: Sequence[SlowEstimator],
        publish: Callable[[Identity], None],
        period_s: float = PERIOD_S,
    ) -> None:
        """Ready to start.

        Args:
            keeper: of the identity; from now on the loop's own.
            estimators: in the order in which they look; with none of them only edits are done.
            publish: told of every new identity, on the loop's thread.
            period_s: between two turns, seconds.
        """
        self._keeper = keeper
        self._all = tuple(estimators)
        self._estimators = list(estimators)
        """Those that have not failed since the source began."""
        self._publish = publish
        self._period_s = period_s
        self._views = ViewQueue()
        self._wishing = threading.Lock()
        self._edit: IdentityEdit | None = None
        self._new_source = self._another = False
        self._woken = threading.Event()
        self._stopping = False
        self._last_face_ns: int | None = None
        self.status: IdentityStatus = keeper.status
        """What is known and shown of the person; replaced as a whole, for any thread to read."""
        self._thread = threading.Thread(target=self._run, name="slow loop", daemon=True)

    def start(self) -> None:
        """Begin; :meth:`stop` ends it."""
        self._thread.start()

    def stop(self) -> None:
        """End after the estimate in progress."""
        self._stopping = True
        self._woken.set()
        self._thread.join(timeout=2.0)

    def offer(self, frame: Frame, view: View) -> None:
        """Leave a frame; costs the frame path an append and an assignment."""
        if self._estimators:
            self._views.put(frame, view)

    def reset(self) -> None:
        """Another source: forget this person, and go back to the base identity at once.

        Any thread may call this and the two below; the work is done on the loop's own.
        """
        with self._wishing:
            self._edit = None  # a wish for the avatar of the source before
            self._new_source = True
        self._views.clear()
        self._woken.set()

    def another_person(self) -> None:
        """Somebody else seems to be there: look again. Until that is sure the avatar stays."""
        self._another = True
        self._views.clear()
        self._woken.set()

    def edit(self, edit: IdentityEdit) -> None:
        """Change the avatar as the user wishes, within EDIT_PERIOD_S; wishes add up until then."""
        with self._wishing:
            self._edit = edit if self._edit is None else self._edit.then(edit)
        self._woken.set()

    def _run(self) -> None:
        _step_back()
        try:
            while not self._stopping:
                started_s = time.monotonic()
                self._heed_wishes()
                self._turn()
                self._rest(time.monotonic() - started_s)
        except Exception as error:
            # The avatar goes on with the identity that it has.
            log.warning("the person's identity is not followed any more: %r", error)

    def _rest(self, took_s: float) -> None:
        """Until the next turn; wishes are heeded meanwhile."""
        until_s = time.monotonic() + max(self._period_s, min(REST * took_s, LONGEST_REST_S))
        while not self._stopping:
            left_s = until_s - time.monotonic() if self._estimators else None
            if left_s is not None and left_s <= 0.0:
                return
            if self._woken.wait(left_s):
                self._woken.clear()
                if self._heed_wishes() and not self._stopping:
                    time.sleep(min(EDIT_PERIOD_S, self._period_s))

    def _is_over(self) -> bool:
        """Whether what is being estimated is of somebody who has gone."""
        return self._stopping or self._new_source or self._another

    def _heed_wishes(self) -> bool:
        """Do what other threads have asked for; whether that was an edit."""
        keeper, news = self._keeper, None
        with self._wishing:
            new_source, self._new_source = self._new_source, False
            edit, self._edit = self._edit, None
        if new_source:
            news = keeper.new_source()
            self._estimators = list(self._all)  # what failed on one film may do on another
            self._start_over()
        if self._another:
            self._another = False
            keeper.another_person()
            self._start_over()
        if edit is not None:
            news = keeper.edit(edit) or news
            if edit.reset:
                self._start_over()
        self._tell(news)
        return edit is not None

    def _turn(self) -> None:
        """Let every estimator look; of the versions that this makes only the last is shown."""
        views = self._views.drain()
        self._watch_faces(views)
        news = None
        for estimator in list(self._estimators):
            if self._is_over():
                break
            news = self._ask(estimator, views) or news
        # Even if somebody else comes meanwhile: the keeper takes its versions for shown.
        self._tell(None if self._stopping or self._new_source else news)

    def _ask(self, estimator: SlowEstimator, views: Views) -> Identity | None:
        """One estimator's turn; one that fails has had its last until the next source."""
        try:
            estimator.look(views)
            return None if self._is_over() else estimator.tell(self._keeper)
        except Exception as error:
            self._give_up(estimator, error)
            return None

    def _give_up(self, estimator: SlowEstimator, error: Exception) -> None:
        log.warning("the %s of this source cannot be estimated: %r", estimator.name, error)
        self._estimators.remove(estimator)

    def _watch_faces(self, views: Views) -> None:
        """How well the person is seen, and whether anybody was away for long."""
        if not views.recent:
            return
        for view in views.recent:
            if view.observation.face is None:
                continue
            now_ns, last_ns = view.observation.captured_at_ns, self._last_face_ns
            self._last_face_ns = now_ns
            if last_ns is not None and now_ns - last_ns > AWAY_S * 1e9:
                self._keeper.another_person()
                self._forget()
        self._keeper.sight(float(np.mean([visibility(view) for view in views.recent])))

    def _start_over(self) -> None:
        self._last_face_ns = None
        self._forget()

    def _forget(self) -> None:
        for estimator in list(self._estimators):
            try:
                estimator.reset()
            except Exception as error:
                self._give_up(estimator, error)

    def _tell(self, news: Identity | None) -> None:
        if news is not None:
            try:
                self._publish(news)
            except Exception as error:  # the avatar stays as it is; the next one may be makable
                log.warning("identity %d cannot be shown: %r", news.version, error)
        status = self._keeper.status
        if status != self.status:
            self.status = status


def visibility(view: View) -> float:
    """In [0, 1]: how much a frame tells of a face: nothing in profile, masked, or in the dark."""
    face = view.observation.face
    if face is None:
        return 0.0
    return max(0.0, min(view.state.face_confidence, face.presence) * frontality(face.points_px))


def _step_back() -> None:
    """Lower this thread's priority: on Linux, where each thread has its own."""
    if sys.platform == "linux":
        own = os.getpriority(os.PRIO_PROCESS, 0)
        with contextlib.suppress(OSError):  # a sandbox may forbid it; then the rest is all there is
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + NICENESS)
