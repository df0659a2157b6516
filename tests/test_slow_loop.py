"""The slow loop: an identity once, the next person from the start, and never silence."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from states import rest_state

from engine.age_and_gender import AgeAndGender
from engine.errors import AvatarError
from engine.face.head_pose import HeadPose
from engine.identity_edit import IdentityEdit
from engine.identity_keeper import IdentityKeeper, age_for
from engine.slow_loop import AWAY_S, SlowLoop, visibility
from engine.slow_views import RECENT, View, ViewQueue, Views
from engine.types import FaceLandmarks, Frame, Identity, Observation, Phenotypes, Semantics

BASE = Identity(version=3, phenotypes=Phenotypes(age=0.6))
OLD_MAN, GIRL = Semantics(70.0, 7, 0.05, 0.9), Semantics(8.0, 0, 0.95, 0.9)
FRAME = Frame(np.zeros((64, 64, 3), np.uint8), 0, 0)
STATE = replace(rest_state(), face_confidence=0.9)


def face_at(angle: float) -> FaceLandmarks:
    """Two eye corners, turned."""
    points = np.zeros((478, 3), np.float32)
    points[263] = 100.0 * np.cos(angle), 0.0, 100.0 * np.sin(angle)
    return FaceLandmarks(points, 1.0)


SEEN = Observation(0, 0, 64, 64, face_at(0.0), None, None, None)
UNSEEN = replace(SEEN, face=None)


class Reader:
    """Stands for the age and gender networks: says what it is told to, when it is let."""

    def __init__(self) -> None:
        self.reading: Semantics | Exception = OLD_MAN
        self.entered, self.allowed = threading.Event(), threading.Event()
        self.allowed.set()

    def estimate(self, _image: object, _face: object) -> Semantics:
        reading = self.reading
        self.entered.set()
        assert self.allowed.wait(5.0)
        if isinstance(reading, Exception):
            raise reading
        return reading


class Faces:
    """A second estimator, that counts."""

    name = "face"

    def __init__(self) -> None:
        self.views: list[Views] = []
        self.resets = 0

    def look(self, views: Views) -> None:
        if views.recent:
            self.views.append(views)

    def tell(self, keeper: IdentityKeeper) -> None:
        return None

    def reset(self) -> None:
        self.resets += 1


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def faces() -> Faces:
    return Faces()


@pytest.fixture
def published() -> list[Identity]:
    return []


def make(reader: Reader, published: list[Identity], *more: Faces, period_s: float) -> SlowLoop:
    estimators = [AgeAndGender(reader), *more]  # type: ignore[arg-type]
    return SlowLoop(IdentityKeeper(BASE), estimators, published.append, period_s)


@pytest.fixture
def loop(reader: Reader, faces: Faces, published: list[Identity]) -> Iterator[SlowLoop]:
    loop = make(reader, published, faces, period_s=0.005)
    loop.start()
    yield loop
    loop.stop()
    assert not loop._thread.is_alive()


def wait_for(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 5.0
    while not done():
        assert time.monotonic() < end
        time.sleep(0.002)


def offer_until(loop: SlowLoop, done: Callable[[], bool], seen: Observation = SEEN) -> None:
    def offer_and_ask() -> bool:
        loop.offer(FRAME, View(seen, STATE))
        return done()

    wait_for(offer_and_ask)


def test_an_identity_settles_and_is_kept(
    loop: SlowLoop, reader: Reader, published: list[Identity]
) -> None:
    """The avatar must not morph while somebody watches."""
    offer_until(loop, lambda: bool(published))
    assert published[0].version == BASE.version + 1
    assert published[0].phenotypes.age > 0.8
    offer_until(loop, lambda: loop.status.locked)
    versions = len(published)
    reader.reading = GIRL
    for _ in range(5):
        reader.entered.clear()
        offer_until(loop, reader.entered.is_set)
    assert len(published) == versions <= 2


def test_the_next_source_starts_from_the_base(
    loop: SlowLoop, reader: Reader, published: list[Identity]
) -> None:
    """Else she would wear the age and gender of whoever came before, for a minute."""
    offer_until(loop, lambda: bool(published))
    reader.reading = GIRL
    loop.reset()
    offer_until(loop, lambda: published[-1].phenotypes.age < 0.5)
    *_, base, girl = published
    assert base.phenotypes == BASE.phenotypes
    assert base.semantics is None
    assert base.version < girl.version
    assert girl.semantics is not None
    assert girl.semantics.age_years == pytest.approx(8.0)


def test_a_stranger_becomes_who_they_are_once_that_is_sure(
    loop: SlowLoop, reader: Reader, faces: Faces, published: list[Identity]
) -> None:
    """And somebody who puts on a mask, which looks like a stranger's face, stays who they are."""
    offer_until(loop, lambda: loop.status.locked)
    versions, resets = len(published), faces.resets
    loop.another_person()
    offer_until(loop, lambda: faces.resets > resets and loop.status.locked)
    assert len(published) == versions
    reader.reading = GIRL
    loop.another_person()
    offer_until(loop, lambda: published[-1].phenotypes.age < 0.5)
    girl = published[versions]
    assert girl.semantics is not None
    assert girl.semantics.age_years == pytest.approx(8.0), "nothing in between, nothing mixed"


def test_the_base_comes_back_at_once(published: list[Identity], reader: Reader) -> None:
    loop = make(reader, published, period_s=0.3)
    loop.start()
    try:
        offer_until(loop, lambda: bool(published))
        loop.reset()
        asked = time.monotonic()
        wait_for(lambda: published[-1].phenotypes == BASE.phenotypes)
        assert time.monotonic() - asked < 0.2
    finally:
        loop.stop()


def test_a_first_person_changes_nothing(loop: SlowLoop, published: list[Identity]) -> None:
    loop.reset()
    time.sleep(0.05)
    assert published == []


def test_an_estimate_under_way_dies_with_its_person(
    loop: SlowLoop, reader: Reader, published: list[Identity]
) -> None:
    reader.allowed.clear()
    offer_until(loop, reader.entered.is_set)
    loop.reset()
    reader.reading = GIRL
    reader.allowed.set()
    offer_until(loop, lambda: bool(published))
    assert published[0].semantics is not None
    assert published[0].semantics.age_years == pytest.approx(8.0)


def test_a_face_that_was_away_is_looked_at_anew(
    loop: SlowLoop, reader: Reader, faces: Faces, published: list[Identity]
) -> None:
    """In between the avatar stays who it was: nobody knows yet who comes back."""
    offer_until(loop, lambda: loop.status.locked)
    versions, resets = len(published), faces.resets
    later = replace(SEEN, captured_at_ns=int((AWAY_S - 0.1) * 1e9))
    faces.views.clear()
    offer_until(loop, lambda: len(faces.views) > 2, later)
    assert faces.resets == resets, "a short absence is none"
    much_later = replace(SEEN, captured_at_ns=int((2 * AWAY_S + 0.1) * 1e9))
    reader.reading = GIRL
    offer_until(loop, lambda: faces.resets > resets, much_later)
    assert len(published) == versions
    offer_until(loop, lambda: published[-1].phenotypes.age < 0.5, much_later)


def test_confidence_falls_while_nobody_is_seen(loop: SlowLoop, published: list[Identity]) -> None:
    offer_until(loop, lambda: loop.status.locked and loop.status.confidence > 0.7)
    versions = len(published)
    offer_until(loop, lambda: loop.status.confidence < 0.05, UNSEEN)
    assert len(published) == versions


def test_a_profile_tells_little() -> None:
    turned = replace(SEEN, face=face_at(np.radians(80)))
    assert visibility(View(turned, STATE)) < 0.2 < 0.8 < visibility(View(SEEN, STATE))
    assert visibility(View(UNSEEN, STATE)) == 0.0


def test_edits_are_done_without_any_estimator(published: list[Identity]) -> None:
    loop = SlowLoop(IdentityKeeper(BASE), [], published.append)
    loop.start()
    try:
        loop.edit(IdentityEdit(age_years=70))
        wait_for(lambda: bool(published))
        assert published[0].phenotypes.age == age_for(70)
        wait_for(lambda: loop.status.age_years == 70)
    finally:
        loop.stop()


def test_a_slider_that_is_dragged_makes_few_avatars(published: list[Identity]) -> None:
    """Each of them is a megabyte to every watcher; the last one must come."""
    loop = SlowLoop(IdentityKeeper(BASE), [], published.append)
    loop.start()
    try:
        for step in range(100):
            loop.edit(IdentityEdit(weight=step / 99))
            time.sleep(0.002)
        wait_for(lambda: bool(published) and published[-1].phenotypes.weight == 1.0)
        assert len(published) < 10
    finally:
        loop.stop()


def test_estimating_again_asks_the_estimators_again(loop: SlowLoop, faces: Faces) -> None:
    offer_until(loop, lambda: loop.status.locked)
    resets = faces.resets
    loop.edit(IdentityEdit(reset=True))
    wait_for(lambda: faces.resets > resets)


def test_an_estimator_that_fails_is_told_and_the_others_go_on(
    loop: SlowLoop, reader: Reader, faces: Faces, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a word the avatar would stay average and nobody would know why."""
    with caplog.at_level(logging.WARNING):
        reader.reading = ValueError("two\nlines")
        offer_until(loop, lambda: bool(caplog.messages))
    (message,) = caplog.messages
    assert "age and gender" in message
    assert "\n" not in message
    faces.views.clear()
    offer_until(loop, lambda: bool(faces.views))


def test_what_failed_on_one_source_is_tried_on_the_next(
    loop: SlowLoop, reader: Reader, published: list[Identity], caplog: pytest.LogCaptureFixture
) -> None:
    """A server runs for weeks: one odd picture must not be the end of every later person's age."""
    with caplog.at_level(logging.ERROR):
        reader.reading = ZeroDivisionError("four corners in one point")
        offer_until(loop, lambda: not any(e.name == "age and gender" for e in loop._estimators))
    reader.reading = OLD_MAN
    loop.reset()
    offer_until(loop, lambda: bool(published))
    assert published[-1].phenotypes.age > 0.8


def test_an_avatar_that_cannot_be_made_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    made: list[Identity] = []

    def publish(identity: Identity) -> None:
        if identity.phenotypes.weight == 1.0:
            raise AvatarError("too heavy")
        made.append(identity)

    loop = SlowLoop(IdentityKeeper(BASE), [], publish)
    loop.start()
    try:
        with caplog.at_level(logging.WARNING):
            loop.edit(IdentityEdit(weight=1.0))
            wait_for(lambda: bool(caplog.messages))
        loop.edit(IdentityEdit(weight=0.9))
        wait_for(lambda: bool(made))
        assert "too heavy" in caplog.text
    finally:
        loop.stop()


def test_a_wish_of_the_source_before_is_not_the_next_ones(published: list[Identity]) -> None:
    """Whoever sent the last camera has no right to the next one's avatar."""
    loop = SlowLoop(IdentityKeeper(BASE), [], published.append)
    loop.edit(IdentityEdit(age_years=90))
    loop.reset()
    loop.edit(IdentityEdit(weight=0.9))
    loop.start()
    try:
        wait_for(lambda: bool(published))
        assert published[0].phenotypes == replace(BASE.phenotypes, weight=0.9)
    finally:
        loop.stop()


def test_a_version_is_shown_though_somebody_else_seems_to_come(
    reader: Reader, published: list[Identity]
) -> None:
    """Else the keeper would take for shown what nobody has seen, and never show it."""
    loop: SlowLoop

    class Second(Faces):
        def look(self, views: Views) -> None:
            if published == [] and not self.resets:
                loop.another_person()

    loop = SlowLoop(
        IdentityKeeper(BASE),
        [AgeAndGender(reader), Second()],
        published.append,  # type: ignore[arg-type]
    )
    reader.reading = replace(OLD_MAN, confidence=5.0)
    loop.offer(FRAME, View(SEEN, STATE))
    loop._turn()
    assert [identity.version for identity in published] == [loop._keeper.identity.version]
    assert published[0].phenotypes.age > 0.8


def test_a_queue_that_is_cleared_while_it_is_drained_gives_what_is_left() -> None:
    queue = ViewQueue()

    class Cleared(deque[View]):
        def popleft(self) -> View:
            view = super().popleft()
            self.clear()
            return view

    queue._recent = Cleared([View(SEEN, STATE)] * 3)
    assert len(queue.drain().recent) == 1


def test_what_waits_is_bounded_and_the_newest() -> None:
    queue = ViewQueue()
    for index in range(3 * RECENT):
        frame = replace(FRAME, index=index)
        queue.put(frame, View(replace(SEEN, index=index), STATE))
    queue.put(FRAME, View(replace(UNSEEN, index=3 * RECENT), STATE))
    views = queue.drain()
    assert [view.observation.index for view in views.recent] == [
        *range(2 * RECENT + 1, 3 * RECENT + 1)
    ]
    assert views.picture is not None
    assert views.picture.frame.index == views.picture.view.observation.index == 3 * RECENT - 1
    assert queue.drain() == Views((), None)


def test_a_picture_of_each_turn_of_the_head_waits_and_the_frontal_one_is_shown() -> None:
    """Depth is seen from the sides; age, gender and skin from the front."""
    queue = ViewQueue()
    for index, degrees in enumerate((0, 21, 38, -19, 2, 24)):
        half = np.radians(degrees) / 2
        rotation = np.array([0, np.sin(half), 0, np.cos(half)], np.float32)
        head = HeadPose(rotation, np.zeros(3, np.float32), 1.0)
        seen = replace(SEEN, index=index)
        queue.put(replace(FRAME, index=index), View(seen, STATE, head))
    views = queue.drain()
    assert sorted(picture.frame.index for picture in views.turned) == [2, 3, 4, 5]
    assert views.picture is not None and views.picture.frame.index == 4


def test_a_picture_of_an_avatar_that_was_replaced_gives_way() -> None:
    queue = ViewQueue()
    queue.put(FRAME, View(SEEN, STATE))
    acting = replace(STATE, identity_version=STATE.identity_version + 1)
    acting = replace(acting, expression=np.full_like(STATE.expression, 0.5))
    queue.put(replace(FRAME, index=7), View(SEEN, acting))
    picture = queue.drain().picture
    assert picture is not None and picture.frame.index == 7


def test_the_loop_rests_longer_than_it_works(reader: Reader, published: list[Identity]) -> None:
    """A slow machine gives its cores to frames first."""
    busy_s = 0.0

    class Heavy(Faces):
        def look(self, views: Views) -> None:
            nonlocal busy_s
            time.sleep(0.02)
            busy_s += 0.02

    loop = SlowLoop(IdentityKeeper(BASE), [Heavy()], published.append, period_s=0.0)
    loop.start()
    started = time.monotonic()
    time.sleep(0.5)
    loop.stop()
    assert 0.0 < busy_s < 0.3 * (time.monotonic() - started)


def test_the_loop_gives_way_to_frames(loop: SlowLoop) -> None:
    if sys.platform != "linux":
        pytest.skip("only Linux has a priority for each thread")
    frames = os.getpriority(os.PRIO_PROCESS, 0)
    if frames == 19:
        pytest.skip("there is nothing below this process")
    loop_id = loop._thread.native_id
    assert loop_id is not None
    wait_for(lambda: os.getpriority(os.PRIO_PROCESS, loop_id) > frames)
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == frames
