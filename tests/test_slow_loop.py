"""The slow loop: an identity once, the next person from the start, and never silence."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from engine.slow_loop import SlowLoop
from engine.types import FaceLandmarks, Frame, Identity, Observation, Phenotypes, Semantics

BASE = Identity(version=3, phenotypes=Phenotypes(age=0.6))
OLD_MAN, GIRL = Semantics(70.0, 7, 0.05, 0.9), Semantics(8.0, 0, 0.95, 0.9)
FACE = FaceLandmarks(np.zeros((478, 3), np.float32), 1.0)
FRAME = Frame(np.zeros((64, 64, 3), np.uint8), 0, 0)
SEEN = Observation(0, 0, 64, 64, FACE, None, None, None)


class Reader:
    """Stands for the estimator: says what it is told to, when it is let."""

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


@pytest.fixture
def reader() -> Reader:
    return Reader()


@pytest.fixture
def published() -> list[Identity]:
    return []


@pytest.fixture
def loop(reader: Reader, published: list[Identity]) -> Iterator[SlowLoop]:
    loop = SlowLoop(reader, BASE, published.append, period_s=0.005)  # type: ignore[arg-type]
    loop.start()
    yield loop
    loop.stop()


def offer_until(loop: SlowLoop, done: Callable[[], bool]) -> None:
    end = time.monotonic() + 5.0
    while not done():
        assert time.monotonic() < end
        loop.offer(FRAME, SEEN)
        time.sleep(0.005)


def test_an_identity_is_published_once_and_kept(
    loop: SlowLoop, reader: Reader, published: list[Identity]
) -> None:
    """The avatar must not morph while somebody watches."""
    offer_until(loop, lambda: bool(published))
    for _ in range(5):
        reader.entered.clear()
        offer_until(loop, reader.entered.is_set)
    assert [identity.version for identity in published] == [BASE.version + 1]
    assert published[0].phenotypes.age > 0.8


def test_the_next_person_starts_from_the_base(
    loop: SlowLoop, reader: Reader, published: list[Identity]
) -> None:
    """Else she would wear the age and gender of whoever came before, for a minute."""
    offer_until(loop, lambda: bool(published))
    loop.reset()
    reader.reading = GIRL
    offer_until(loop, lambda: len(published) == 3)
    first, base, second = published
    assert base.phenotypes == BASE.phenotypes
    assert base.semantics is None
    assert first.version < base.version < second.version
    assert second.semantics is not None
    assert second.semantics.age_years == pytest.approx(8.0)


def test_the_base_comes_back_at_once(published: list[Identity], reader: Reader) -> None:
    loop = SlowLoop(reader, BASE, published.append, period_s=0.3)  # type: ignore[arg-type]
    loop.start()
    try:
        offer_until(loop, lambda: bool(published))
        loop.reset()
        asked = time.monotonic()
        while len(published) < 2:
            time.sleep(0.002)
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


def test_an_end_by_an_error_is_told(
    loop: SlowLoop, reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a word the avatar would stay average and nobody would know why."""
    with caplog.at_level(logging.WARNING):
        reader.reading = ValueError("two\nlines")
        offer_until(loop, lambda: bool(caplog.messages))
    (message,) = caplog.messages
    assert "age and gender" in message
    assert "\n" not in message
