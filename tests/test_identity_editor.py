"""Changing the avatar by keys in the desktop window."""

from __future__ import annotations

from dataclasses import replace

import pytest

from engine.identity_edit import RANGES, IdentityEdit, IdentityStatus
from viewer.identity_editor import ANSWERED_S, IdentityEditor, summary
from viewer.overlay import HELP

NOW_S = 100.0
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
        editor, edit = editor.press(key, STATUS, NOW_S)
        edits += [edit] if edit else []
    return editor, edits


def test_the_editor_is_hidden_and_deaf_until_it_is_asked_for() -> None:
    editor, edits = pressed(IdentityEditor(), "+-prx1")
    assert editor.lines(STATUS, NOW_S) == ()
    assert edits == []


def test_e_goes_through_all_numbers_and_hides_again() -> None:
    editor, chosen = IdentityEditor(), []
    for _ in RANGES:
        editor, _ = editor.press("e", STATUS, NOW_S)
        chosen.append(editor.chosen)
    assert chosen == list(RANGES)
    assert editor.press("e", STATUS, NOW_S)[0].lines(STATUS, NOW_S) == ()


def test_keys_that_are_held_add_up_before_the_engine_answers() -> None:
    """The status that comes back is of a moment ago: counting from it would lose steps."""
    editor, edits = pressed(IdentityEditor(), "e+++-")
    assert [edit.age_years for edit in edits] == [48, 53, 58, 53]
    assert any("53 years" in line for line in editor.lines(STATUS, NOW_S))


def test_after_a_while_the_engine_is_believed() -> None:
    """It may have refused, another source may have begun, or somebody else moved the number."""
    editor, _ = pressed(IdentityEditor(), "e+")
    later_s = NOW_S + ANSWERED_S
    assert any("43 years" in line for line in editor.lines(STATUS, later_s))
    _, edit = editor.press("+", replace(STATUS, age_years=20.0), later_s)
    assert edit == IdentityEdit(age_years=25.0)


@pytest.mark.parametrize("name", RANGES)
def test_no_number_leaves_its_range(name: str) -> None:
    keys = "e" * (1 + list(RANGES).index(name))
    for direction, end in (("+", RANGES[name][1]), ("-", RANGES[name][0])):
        _, edits = pressed(IdentityEditor(), keys + 60 * direction)
        assert getattr(edits[-1], name) == end


def test_pin_and_estimate_again() -> None:
    editor, edits = pressed(IdentityEditor(), "e+p")
    assert edits[-1] == IdentityEdit(pin=True)
    assert editor.press("p", replace(STATUS, pinned=True), NOW_S)[1] == IdentityEdit(pin=False)
    editor, edit = editor.press("r", STATUS, NOW_S)
    assert edit == IdentityEdit(reset=True)
    assert editor.wanted == {}, "the numbers shown are the engine's again"


def test_how_sure_the_estimates_are_is_said_in_words() -> None:
    assert summary(STATUS) == "43 years, 82 % sure, locked"
    assert "estimating" in summary(replace(STATUS, locked=False))
    assert "pinned" in summary(replace(STATUS, pinned=True))


def test_nothing_known_is_nothing_to_change() -> None:
    editor, _ = IdentityEditor().press("e", None, NOW_S)
    assert editor.press("+", None, NOW_S)[1] is None
    assert editor.lines(None, NOW_S)


def test_the_help_names_the_keys() -> None:
    assert any(line.startswith("e edit") for line in HELP)
