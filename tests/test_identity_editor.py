"""Changing the avatar by keys in the desktop window."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.identity_edit import RANGES, IdentityEdit, IdentityStatus
from viewer.identity_editor import IdentityEditor, summary
from viewer.overlay import HELP

STATUS = IdentityStatus(
    version=4,
    age_years=43.0,
    gender=0.3,
    weight=0.5,
    muscle=0.5,
    height=0.5,
    proportions=0.5,
    caricature=1.0,
    confidence=0.824,
    locked=True,
    pinned=False,
)


def pressed(editor: IdentityEditor, keys: str) -> tuple[IdentityEditor, list[IdentityEdit]]:
    edits = []
    for key in keys:
        editor, edit = editor.press(key, STATUS)
        edits += [edit] if edit else []
    return editor, edits


def test_the_editor_is_hidden_and_deaf_until_it_is_asked_for() -> None:
    editor, edits = pressed(IdentityEditor(), "+-prx1")
    assert editor.lines(STATUS) == ()
    assert edits == []


def test_e_goes_through_all_numbers_and_hides_again() -> None:
    editor, chosen = IdentityEditor(), []
    for _ in RANGES:
        editor, _ = editor.press("e", STATUS)
        chosen.append(editor.chosen)
    assert chosen == list(RANGES)
    assert editor.press("e", STATUS)[0].lines(STATUS) == ()


def test_keys_that_are_held_add_up_before_the_engine_answers() -> None:
    """The status that comes back is of a moment ago: counting from it would lose steps."""
    editor, edits = pressed(IdentityEditor(), "e+++-")
    assert [edit.age_years for edit in edits] == [48, 53, 58, 53]
    assert any("53 years" in line for line in editor.lines(STATUS))


@pytest.mark.parametrize("name", RANGES)
def test_no_number_leaves_its_range(name: str) -> None:
    keys = "e" * (1 + list(RANGES).index(name))
    for direction, end in (("+", RANGES[name][1]), ("-", RANGES[name][0])):
        _, edits = pressed(IdentityEditor(), keys + 60 * direction)
        assert getattr(edits[-1], name) == end


def test_pin_and_estimate_again() -> None:
    editor, edits = pressed(IdentityEditor(), "e+p")
    assert edits[-1] == IdentityEdit(pin=True)
    assert editor.press("p", replace(STATUS, pinned=True))[1] == IdentityEdit(pin=False)
    editor, edit = editor.press("r", STATUS)
    assert edit == IdentityEdit(reset=True)
    assert editor.wanted == {}, "the numbers shown are the engine's again"


def test_how_sure_the_estimates_are_is_said_in_words() -> None:
    assert summary(STATUS) == "43 years, 82 % sure, locked"
    assert "estimating" in summary(replace(STATUS, locked=False))
    assert "pinned" in summary(replace(STATUS, pinned=True))


def test_nothing_known_is_nothing_to_change() -> None:
    editor, _ = IdentityEditor().press("e", None)
    assert editor.press("+", None)[1] is None
    assert editor.lines(None)


def test_the_help_names_the_keys() -> None:
    assert any(line.startswith("e edit") for line in HELP)
