"""The keeper: an identity settles, stays, belongs to one person, and obeys the user."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import AvatarError
from engine.face.identity_readout import default_readout
from engine.identity_difference import OTHER_COEFFICIENT, face_distance
from engine.identity_edit import RANGES, IdentityEdit
from engine.identity_keeper import IdentityKeeper, age_for, years_of
from engine.settling import LONGEST_TURNS, PATIENCE, REFINEMENTS, Settling
from engine.types import FaceShape, Identity, Phenotypes, Semantics

BASE = Identity(version=3, phenotypes=Phenotypes(age=0.6, muscle=0.4))


def person(years: float, female: float = 0.1, confidence: float = 0.6) -> Semantics:
    return Semantics(years, min(9, int(years // 10)), female, confidence)


def face(value: float, confidence: float = 0.6) -> FaceShape:
    return FaceShape(np.full(20, value, np.float32), confidence)


@pytest.fixture
def keeper() -> IdentityKeeper:
    return IdentityKeeper(BASE)


def known(keeper: IdentityKeeper) -> Identity:
    """Somebody of 60 with a face, skin and wrinkles of his own, all locked."""
    keeper.sight(1.0)
    keeper.semantics(person(60, confidence=0.95))
    keeper.face(face(1.5, 0.95))
    keeper.relief(np.full(9, 1e-3, np.float32), 0.95)
    keeper.appearance(np.full((4, 4, 3), 90, np.uint8), 0.95)
    assert keeper.status.locked
    return keeper.identity


def test_a_doubtful_estimate_changes_nothing(keeper: IdentityKeeper) -> None:
    for _ in range(100):
        assert keeper.semantics(person(70, confidence=0.49)) is None
        assert keeper.face(face(2.0, math.nan)) is None
    assert keeper.identity == BASE


def test_the_avatar_changes_a_few_times_and_never_again(keeper: IdentityKeeper) -> None:
    """However long somebody is watched and however the estimate wanders: no breathing."""
    rng = np.random.default_rng(0)
    versions = []
    for turn in range(500):
        confidence = turn / (1.0 + turn)
        years = 40.0 + 20.0 * rng.normal()
        new = keeper.semantics(person(years, confidence=confidence))
        versions += [new.version] if new else []
    assert 1 <= len(versions) <= 1 + REFINEMENTS
    assert versions == sorted(set(versions))
    assert keeper.status.locked


def test_a_change_that_nobody_sees_is_no_version(keeper: IdentityKeeper) -> None:
    """Each version sends every watcher a megabyte."""
    assert keeper.semantics(person(40, confidence=0.55)) is not None
    assert keeper.semantics(person(40.5, confidence=0.8)) is None
    assert keeper.face(face(1.0, 0.55)) is not None
    assert keeper.face(face(1.01, 0.8)) is None


def test_a_poorly_seen_person_settles_too() -> None:
    settling = Settling()
    taken = [settling.takes(0.55) for _ in range(PATIENCE + 1)]
    assert taken == [True] + [False] * PATIENCE
    assert settling.locked
    assert not settling.takes(0.99)


@settings(deadline=None)
@given(st.lists(st.floats(0.0, 1.0), max_size=200))
def test_whatever_comes_an_estimate_is_taken_few_times_and_ever_surer(levels: list[float]) -> None:
    settling = Settling()
    taken = [level for level in levels if settling.takes(level)]
    assert len(taken) <= 1 + REFINEMENTS
    assert taken == sorted(taken)


def test_a_skin_that_waits_for_a_better_view_is_locked_in_the_end(keeper: IdentityKeeper) -> None:
    """Skin and relief are told a few times in all, not once a second."""
    keeper.appearance(np.full((4, 4, 3), 90, np.uint8), 0.55)
    for _ in range(LONGEST_TURNS - 1):
        keeper.sight(1.0)
    assert not keeper.status.locked
    keeper.sight(1.0)
    assert keeper.status.locked
    assert keeper.appearance(np.full((4, 4, 3), 150, np.uint8), 0.95) is None


def test_glasses_or_darkness_lower_the_confidence_and_leave_the_person(
    keeper: IdentityKeeper,
) -> None:
    before = known(keeper)
    for _ in range(5):
        keeper.sight(1.0)
    sure = keeper.status.confidence
    for _ in range(5):
        keeper.sight(0.05)
        assert keeper.semantics(person(20, 0.9, 0.1)) is None
    assert keeper.status.confidence < 0.2 * sure
    assert keeper.identity is before


def test_the_next_camera_gets_nothing_of_the_one_before(keeper: IdentityKeeper) -> None:
    before = known(keeper)
    after = keeper.new_source()
    assert after is not None and after.version == before.version + 1
    assert replace(after, version=BASE.version) == BASE
    assert not keeper.status.locked
    assert keeper.semantics(person(30)) is not None


def test_who_comes_back_after_a_while_sees_no_change(keeper: IdentityKeeper) -> None:
    before = known(keeper)
    keeper.another_person()
    assert not keeper.status.locked
    assert keeper.semantics(person(61, confidence=0.95)) is None
    assert keeper.face(face(1.52, 0.95)) is None
    assert keeper.identity is before


def test_who_comes_back_is_not_made_average_again(keeper: IdentityKeeper) -> None:
    """First looks are unsure, and drawn to the average: a face that is known stays as it is."""
    before = known(keeper)
    keeper.another_person()
    texture = np.full((4, 4, 3), 110, np.uint8)
    for confidence in (0.4, 0.56, 0.72, 0.88):
        assert keeper.face(face(1.5 * confidence / 0.95, confidence)) is None
        assert keeper.semantics(person(66, 0.3, confidence)) is None
        assert keeper.relief(np.zeros(9, np.float32), confidence) is None
        assert keeper.appearance(texture, confidence) is None
    assert keeper.identity is before
    assert keeper.face(face(1.7, 0.99)) is None, "settled again"


def test_who_comes_back_may_be_known_better_than_before(keeper: IdentityKeeper) -> None:
    keeper.face(face(0.6, 0.5))
    keeper.another_person()
    assert keeper.face(face(0.5, 0.42)) is None
    better = keeper.face(face(1.1, 0.9))
    assert better is not None and better.face is not None
    assert better.face.confidence == 0.9


def test_what_was_withheld_is_a_strangers_own_once_that_is_sure(keeper: IdentityKeeper) -> None:
    known(keeper)
    keeper.another_person()
    texture = np.full((4, 4, 3), 110, np.uint8)
    assert keeper.appearance(texture, 0.5) is None
    assert keeper.semantics(person(52, 0.1, 0.6)) is None
    new = keeper.face(face(-0.5, 0.6))
    assert new is not None and new.semantics is not None and new.detail_m is None
    assert new.semantics.age_years == 52 and new.texture is texture


def test_estimating_again_does_not_cling_to_what_was_surer(keeper: IdentityKeeper) -> None:
    """Who asks for that does not believe what is shown."""
    known(keeper)
    keeper.edit(IdentityEdit(reset=True))
    new = keeper.semantics(person(52, 0.1, 0.6))
    assert new is not None and new.semantics is not None and new.semantics.age_years == 52


def test_two_readings_about_the_middle_are_one_person(keeper: IdentityKeeper) -> None:
    """0.48 and 0.53 female are the same answer: "hard to tell"."""
    keeper.semantics(person(40, 0.48, 0.6))
    skin = keeper.appearance(np.full((4, 4, 3), 90, np.uint8), 0.6)
    keeper.another_person()
    keeper.semantics(person(40, 0.53, 0.7))
    assert skin is not None and keeper.identity.texture is skin.texture


def test_different_people_are_told_apart_as_the_readout_sees_them() -> None:
    """Coefficients of people and their features' scatter, drawn as the readout models both."""
    readout, rng = default_readout(), np.random.default_rng(7)
    right = 0
    for _ in range(20):
        people = rng.normal(size=(2, len(readout.response))) @ readout.response + readout.mean
        noise = 0.5 * rng.normal(size=people.shape)
        shapes = [
            FaceShape(found.coefficients.astype(np.float32), readout.confidence(found))
            for features in people + noise
            for found in (readout.posterior(features, 1.3), readout.posterior(features, 3.0))
        ]
        right += face_distance(shapes[0], shapes[1]) < OTHER_COEFFICIENT
        right += face_distance(shapes[0], shapes[3]) > OTHER_COEFFICIENT
    assert right == 40


@pytest.mark.parametrize("first", ["age", "gender", "face"])
def test_who_comes_instead_loses_all_of_the_one_before(keeper: IdentityKeeper, first: str) -> None:
    """Her own age on his face and skin would be nobody."""
    known(keeper)
    keeper.another_person()
    if first == "face":
        new = keeper.face(face(-1.0))
    else:
        new = keeper.semantics(person(25) if first == "age" else person(58, 0.9))
    assert new is not None
    assert new.texture is None and new.detail_m is None
    assert (new.face is None) == (first != "face")
    assert (new.semantics is None) == (first == "face")


def test_what_is_known_of_the_present_person_is_never_dropped_as_the_last_ones(
    keeper: IdentityKeeper,
) -> None:
    keeper.face(face(1.5, 0.95))
    keeper.another_person()
    confirmed = keeper.semantics(person(60))
    assert confirmed is not None and confirmed.face is not None, "nobody said it is another"
    new = keeper.face(face(-1.0))
    assert new is not None and new.semantics is not None


def test_a_lookalike_is_told_by_the_face(keeper: IdentityKeeper) -> None:
    """Of one age and gender with the one before: what is confirmed stays, the rest goes."""
    known(keeper)
    keeper.another_person()
    assert keeper.semantics(person(60, confidence=0.9)) is None
    new = keeper.face(face(-1.0))
    assert new is not None and new.semantics is not None
    assert new.texture is None and new.detail_m is None


def test_editing_keeps_the_persons_own_face(keeper: IdentityKeeper) -> None:
    """SARS, editing: another age or gender, the same identity."""
    before = known(keeper)
    old = keeper.edit(IdentityEdit(age_years=85, gender=1.0))
    assert old is not None and old.face is not None and before.face is not None
    np.testing.assert_array_equal(old.face.coefficients, before.face.coefficients)
    assert old.texture is before.texture and old.detail_m is before.detail_m
    assert old.phenotypes == replace(before.phenotypes, age=age_for(85), gender=1.0)
    assert keeper.estimated.phenotypes == before.phenotypes


def test_a_caricature_scales_the_face_and_can_be_undone(keeper: IdentityKeeper) -> None:
    before = known(keeper)
    assert before.face is not None
    for scale in (0.0, 2.0, 1.0):
        new = keeper.edit(IdentityEdit(caricature=scale))
        assert new is not None and new.face is not None
        np.testing.assert_allclose(new.face.coefficients, scale * before.face.coefficients)


def test_what_was_edited_no_estimate_changes(keeper: IdentityKeeper) -> None:
    keeper.edit(IdentityEdit(age_years=70))
    new = keeper.semantics(person(20, 0.9))
    assert new is not None
    assert (new.phenotypes.age, new.phenotypes.gender) == (age_for(70), 0.9)
    assert keeper.status.age_years == 70


def test_a_pinned_shape_stays_for_everybody(keeper: IdentityKeeper) -> None:
    known(keeper)
    keeper.edit(IdentityEdit(pin=True))
    pinned = keeper.identity
    for _ in range(3):
        assert keeper.semantics(person(20, 0.9, 0.99)) is None
        assert keeper.face(face(-2.0, 0.99)) is None
        assert keeper.relief(np.zeros(9, np.float32), 0.99) is None
        keeper.another_person()
    now = keeper.identity
    assert (now.phenotypes, now.face, now.detail_m) == (
        pinned.phenotypes, pinned.face, pinned.detail_m,
    )  # fmt: skip
    keeper.edit(IdentityEdit(pin=False))
    assert keeper.semantics(person(20, 0.9, 0.99)) is not None
    assert keeper.identity.face is None, "the face was of the person before"


def test_estimate_again_drops_edits_and_opens_the_lock(keeper: IdentityKeeper) -> None:
    before = known(keeper)
    keeper.edit(IdentityEdit(age_years=10, caricature=2.0, pin=True))
    again = keeper.edit(IdentityEdit(reset=True))
    assert again is not None
    assert replace(again, version=before.version).phenotypes == before.phenotypes
    assert not (keeper.status.locked or keeper.status.pinned)
    assert keeper.semantics(person(50, confidence=0.9)) is not None


def test_what_the_run_was_started_with_outlives_people_and_edits() -> None:
    keeper = IdentityKeeper(BASE, IdentityEdit(age_years=70, pin=True))
    assert keeper.identity.version == BASE.version
    assert keeper.identity.phenotypes.age == age_for(70)
    keeper.edit(IdentityEdit(age_years=20, pin=False, weight=0.9))
    keeper.semantics(person(30, 0.9, 0.99))
    keeper.new_source()
    assert keeper.identity.phenotypes == replace(BASE.phenotypes, age=age_for(70))
    assert keeper.status.pinned


def test_an_edit_that_changes_nothing_is_no_version(keeper: IdentityKeeper) -> None:
    assert keeper.edit(IdentityEdit(muscle=BASE.phenotypes.muscle)) is None
    assert keeper.edit(IdentityEdit(pin=True)) is None


def test_edits_add_up_as_if_done_one_by_one() -> None:
    first, second = IdentityEdit(age_years=9, weight=0.1, pin=True), IdentityEdit(weight=0.8)
    assert first.then(second) == IdentityEdit(age_years=9, weight=0.8, pin=True)
    assert first.then(IdentityEdit(reset=True)) == IdentityEdit(reset=True)
    assert IdentityEdit(reset=True).then(second) == IdentityEdit(weight=0.8, reset=True)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1e9])
def test_an_impossible_edit_is_one_sentence(name: str, value: float) -> None:
    with pytest.raises(AvatarError, match=f"{name} must be a number from 0 to"):
        IdentityEdit(**{name: value})


@settings(deadline=None)
@given(st.floats(0.0, 90.0))
def test_years_and_age_are_inverse(years: float) -> None:
    assert years_of(age_for(years)) == pytest.approx(years, abs=1e-6)


def test_confidence_is_of_what_was_told(keeper: IdentityKeeper) -> None:
    assert keeper.status.confidence == 0.0
    keeper.semantics(person(40, confidence=0.8))
    for _ in range(20):
        keeper.sight(1.0)
    assert keeper.status.confidence == pytest.approx(0.8, abs=1e-3)


def test_pictures_that_made_a_face_truer_make_nobody_a_stranger() -> None:
    rng = np.random.default_rng(3)
    seen, truer = (rng.normal(0, s, 100).astype(np.float32) for s in (0.45, 0.9))
    refined, plain = FaceShape(truer, 0.9, by_landmarks=seen), FaceShape(seen, 0.9)
    assert face_distance(refined, plain) == pytest.approx(0.0, abs=1e-6)
