"""Who the avatar is: what was estimated, what the user wants, and when the two become a version.

A state machine without thread or clock. Each event returns a new identity only where there is news
worth a publication. Estimates are taken while they become surer and then locked
(``engine.settling``); what the user has set or pinned no estimate changes; and an edit of age or
gender leaves the person's own face coefficients as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from engine.body.build_readout import TRAITS, Build
from engine.identity_difference import (
    OTHER_COEFFICIENT,
    OTHER_GENDER,
    OTHER_YEARS,
    VISIBLE_ALBEDO,
    VISIBLE_BUILD,
    VISIBLE_COEFFICIENT,
    VISIBLE_GENDER,
    VISIBLE_RELIEF_M,
    VISIBLE_YEARS,
    face_distance,
    rms,
    same,
)
from engine.identity_edit import IdentityEdit, IdentityStatus
from engine.settling import Settling
from engine.types import F32, U8, FaceShape, Identity, Semantics

_ANCHOR_YEARS = (0.0, 11.0, 25.0, 90.0)
_ANCHOR_AGES = (0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0)
_BUILD = ("weight", "muscle", "height", "proportions")
_FIELDS = {
    "semantics": ("age", "gender", "semantics", "confidence"),
    "build": _BUILD,
    "face": ("face",),
    "relief": ("detail_m",),
    "appearance": ("texture",),
}
"""Which fields of an identity, or of its phenotypes, each trait decides."""
_PHENOTYPES = frozenset(("age", "gender", *_BUILD))

FRONTAL = 0.4
"""Confidence of a face that was seen from the front alone, on a few frames: it already comes a
quarter of the way from the average to the person's own, and who turns the head later is refined."""
SURE_BUILD = 0.4
"""Confidence from which a build may shape the avatar: trunk and limbs have been seen."""
SIGHT_SHARE = 0.5
"""Of the newest look in how well the person is seen."""


def age_for(years: float) -> float:
    """Anny's age.

    MakeHuman, whose shapes Anny uses, models its "child" at about 11, its "young" at 25 and its
    "old" at 90 years; in between is linear.
    """
    return float(np.interp(years, _ANCHOR_YEARS, _ANCHOR_AGES))


def years_of(age: float) -> float:
    """The years of Anny's age: the inverse of :func:`age_for`."""
    return float(np.interp(age, _ANCHOR_AGES, _ANCHOR_YEARS))


class IdentityKeeper:
    """Holds one person's estimates and the user's edits. Not thread-safe."""

    def __init__(self, base: Identity, edit: IdentityEdit | None = None) -> None:
        """Begin with somebody of whom nothing is known.

        Args:
            base: what is shown of such a person.
            edit: the user's wishes from the start; they outlive every person and every reset.
        """
        self._base = self._person = base
        self._first_edit = self._edit = edit or IdentityEdit()
        self._inherited: set[str] = set()
        """Traits whose values are of the person before, if there was another one."""
        self._known_at: dict[str, float] = {}
        """How surely each trait of the person was known when it was taken."""
        self._withheld: dict[str, dict[str, Any]] = {}
        """The present person's traits that are less sure than what is inherited, by field."""
        self._sight = 0.0
        self._unlock()
        self._identity = self._composed(base.version)

    @property
    def identity(self) -> Identity:
        """The newest version: what the avatar is."""
        return self._identity

    @property
    def estimated(self) -> Identity:
        """The person as estimated, without the user's edits: what estimators build upon."""
        return self._person

    @property
    def pinned(self) -> bool:
        """Whether the user keeps the shape as it is."""
        return bool(self._edit.pin)

    @property
    def status(self) -> IdentityStatus:
        """What to tell the user."""
        shown = self._identity.phenotypes
        told = [trait for trait in self._traits.values() if trait.confidence > 0.0]
        sure = float(np.mean([trait.confidence for trait in told])) if told else 0.0
        return IdentityStatus(
            version=self._identity.version,
            age_years=years_of(shown.age) if self._edit.age_years is None else self._edit.age_years,
            gender=shown.gender,
            weight=shown.weight,
            muscle=shown.muscle,
            height=shown.height,
            proportions=shown.proportions,
            caricature=self._caricature,
            confidence=sure * self._sight,
            locked=bool(told) and all(trait.locked for trait in told),
            pinned=self.pinned,
        )

    def sight(self, quality: float) -> None:
        """How well the person is seen now, in [0, 1]: the confidence shown follows it.

        Glasses, a mask, a profile or darkness leave the identity what it was, less surely. Called
        once a turn, with or without any estimate: traits that wait too long are locked.
        """
        for trait in self._traits.values():
            trait.turn()
        self._sight += SIGHT_SHARE * (float(np.clip(quality, 0.0, 1.0)) - self._sight)

    def semantics(self, reading: Semantics) -> Identity | None:
        """Age and gender as known by now, with the confidence gathered so far."""
        if self.pinned or not self._traits["semantics"].takes(reading.confidence):
            return None
        known = self._person.semantics
        is_other, is_visible = False, True
        if known is not None:
            years = abs(reading.age_years - known.age_years)
            step = abs(reading.female_probability - known.female_probability)
            is_other = years > OTHER_YEARS or step > OTHER_GENDER
            is_visible = years >= VISIBLE_YEARS or step >= VISIBLE_GENDER
        found = {
            "age": age_for(reading.age_years),
            "gender": reading.female_probability,
            "semantics": reading,
            "confidence": reading.confidence,
        }
        return self._take("semantics", found, reading.confidence, is_visible, is_other=is_other)

    def build(self, build: Build) -> Identity | None:
        """Weight, muscle, height and proportions as known by now; too little says nothing."""
        if build.confidence < SURE_BUILD or self.pinned:
            return None
        if not self._traits["build"].takes(build.confidence):
            return None
        known = [getattr(self._person.phenotypes, name) for name in TRAITS]
        is_visible = rms(build.traits.astype(np.float32), np.array(known)) >= VISIBLE_BUILD
        found = dict(zip(TRAITS, map(float, build.traits), strict=True))
        news = self._take("build", found, build.confidence, is_visible)
        if news is not None:
            self._traits["face"].reopen()  # it is told on top of the phenotypes' own face
        return news

    def face(self, shape: FaceShape) -> Identity | None:
        """The person's own face as known by now."""
        if self.pinned or not self._traits["face"].takes(shape.confidence):
            return None
        known = self._person.face
        is_other = known is not None and face_distance(shape, known) > OTHER_COEFFICIENT
        step = rms(shape.coefficients, None if known is None else known.coefficients)
        is_visible = step >= VISIBLE_COEFFICIENT
        return self._take("face", {"face": shape}, shape.confidence, is_visible, is_other=is_other)

    def relief(self, detail_m: F32, confidence: float) -> Identity | None:
        """Wrinkles as known by now: (V,) metres along the rest normals, confidence in [0, 1]."""
        if self.pinned or not self._traits["relief"].takes(confidence):
            return None
        is_visible = rms(detail_m, self._person.detail_m) >= VISIBLE_RELIEF_M
        return self._take("relief", {"detail_m": detail_m}, confidence, is_visible)

    def appearance(self, texture: U8, confidence: float) -> Identity | None:
        """The skin as known by now: (H, W, 3) RGB albedo, confidence in [0, 1].

        Skin is no shape: it is taken from whoever is there, pinned or not.
        """
        if not self._traits["appearance"].takes(confidence):
            return None
        known = self._person.texture
        step = rms(texture[::4, ::4], None if known is None else known[::4, ::4])
        is_visible = step >= VISIBLE_ALBEDO
        return self._take("appearance", {"texture": texture}, confidence, is_visible)

    def edit(self, edit: IdentityEdit) -> Identity | None:
        """Do as the user wishes; at once, whatever is locked."""
        if edit.reset:
            self._edit = self._first_edit
            self.another_person()
            self._known_at = {}  # however sure an estimate was: this one is to be made again
        self._edit = replace(self._edit.then(replace(edit, reset=False)), reset=False)
        return self._publish()

    def another_person(self) -> None:
        """Somebody else may be there: look again, and keep what is shown until that is sure.

        Whoever is the same person after all, behind a mask or back again, sees no change until
        they are known better than before. Whoever turns out to be another loses with the first
        sure estimate what is of the one before. The user's edits stay.
        """
        self._unlock()
        self._inherited, self._withheld = set(_FIELDS), {}

    def new_source(self) -> Identity | None:
        """Another camera or film: everything begins as it was started, edits too."""
        self._edit = self._first_edit
        self._person = self._base
        self._inherited, self._withheld, self._known_at = set(), {}, {}
        self._unlock()
        return self._publish()

    @property
    def _caricature(self) -> float:
        return 1.0 if self._edit.caricature is None else self._edit.caricature

    def _unlock(self) -> None:
        self._traits = {trait: Settling() for trait in _FIELDS}
        self._traits["face"] = Settling(FRONTAL)
        self._traits["build"] = Settling(SURE_BUILD)

    def _take(
        self,
        trait: str,
        found: dict[str, Any],
        confidence: float,
        is_visible: bool,
        *,
        is_other: bool = False,
    ) -> Identity | None:
        """Give the person a trait, unless it is inherited and known better than that.

        Args:
            trait: of _FIELDS.
            found: its fields' values.
            confidence: of them.
            is_visible: whether the avatar would look different.
            is_other: whether they say that this is another person than the one before.
        """
        inherited = trait in self._inherited
        is_surer = confidence >= self._known_at.get(trait, 0.0)
        if inherited and is_visible and not (is_other or is_surer):
            self._withheld[trait] = found
            return None
        self._inherited.discard(trait)
        if inherited and is_other:
            self._drop_inherited()
        if not is_visible:
            return None
        self._person = _with(self._person, found)
        self._known_at[trait] = confidence
        return self._publish()

    def _drop_inherited(self) -> None:
        """They are of somebody else: what is known of the present person takes their place."""
        for trait in self._inherited:
            unknown = {name: _value(self._base, name) for name in _FIELDS[trait]}
            self._person = _with(self._person, unknown | self._withheld.get(trait, {}))
            self._known_at.pop(trait, None)
        self._inherited, self._withheld = set(), {}

    def _publish(self) -> Identity | None:
        """The next version, unless it would be the last one again."""
        version = self._identity.version
        if same(self._composed(version), self._identity):
            return None
        self._identity = self._composed(version + 1)
        return self._identity

    def _composed(self, version: int) -> Identity:
        """The person as the user wants them: edits over estimates."""
        edit, person = self._edit, self._person
        wanted = {name: getattr(edit, name) for name in ("gender", *_BUILD)}
        wanted["age"] = None if edit.age_years is None else age_for(edit.age_years)
        chosen = {name: value for name, value in wanted.items() if value is not None}
        face = person.face
        if face is not None and self._caricature != 1.0:
            scaled = np.float32(self._caricature) * face.coefficients
            face = replace(face, coefficients=scaled)
        return replace(
            person,
            version=version,
            phenotypes=replace(person.phenotypes, **chosen),
            face=face,
        )


def _value(identity: Identity, name: str) -> Any:
    return getattr(identity.phenotypes if name in _PHENOTYPES else identity, name)


def _with(identity: Identity, values: dict[str, Any]) -> Identity:
    """The identity with some of its fields, or of its phenotypes', replaced."""
    shape = {name: value for name, value in values.items() if name in _PHENOTYPES}
    others = {name: value for name, value in values.items() if name not in _PHENOTYPES}
    return replace(identity, phenotypes=replace(identity.phenotypes, **shape), **others)
