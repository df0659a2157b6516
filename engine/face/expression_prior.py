"""What is known about faces before looking at one: a Gaussian and a sparse prior on the actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.types import ARKIT_NAMES, F64

RIDGE = 2.0
SPARSITY = 5.0
GAZE_RIDGE = 0.5
GAZE_SPARSITY = 1.0
BLINK_SPARSITY = 1.0
MISTAKEN_SPARSITY = 10.0
"""Eyes always look somewhere and lids are rarely quite still; most other actions rest."""
SYMMETRY = 20.0
"""Both sides of a face mostly do the same: strength of ``(left - right)^2``."""
EXCLUSION = 6.0
"""Strength of the product of two actions that undo each other."""
UNSEEN_RIDGE = 60.0

ASYMMETRIC = ("eyeLook", "jawLeft", "jawRight", "mouthLeft", "mouthRight")
OPPOSITES = (
    ("mouthLeft", "mouthRight"), ("jawLeft", "jawRight"),
    ("eyeLookInLeft", "eyeLookOutLeft"), ("eyeLookInRight", "eyeLookOutRight"),
    ("eyeLookUpLeft", "eyeLookDownLeft"), ("eyeLookUpRight", "eyeLookDownRight"),
    ("eyeBlinkLeft", "eyeWideLeft"), ("eyeBlinkRight", "eyeWideRight"),
    ("mouthSmileLeft", "mouthFrownLeft"), ("mouthSmileRight", "mouthFrownRight"),
    ("browDownLeft", "browOuterUpLeft"), ("browDownRight", "browOuterUpRight"),
    ("mouthFunnel", "mouthRollUpper"), ("mouthFunnel", "mouthRollLower"),
    ("jawOpen", "mouthPressLeft"), ("jawOpen", "mouthPressRight"),
)  # fmt: skip
GAZE_TOGETHER = (
    ("eyeLookInLeft", "eyeLookOutRight"), ("eyeLookOutLeft", "eyeLookInRight"),
    ("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight"),
)  # fmt: skip
"""Eyes turn together."""
BARELY_SEEN = ("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "jawForward")
"""Measured: the network's landmarks hardly tell these from others, so they are held low."""
MISTAKEN = (
    "mouthDimpleLeft", "mouthDimpleRight", "mouthPressLeft", "mouthPressRight", "mouthShrugLower",
)  # fmt: skip
"""Measured on people: these take over smiles and closed lips unless they need good evidence."""
UNSEEN = ("tongueOut",)
"""No landmark moves with these: always 0."""

JAW_OPEN = ARKIT_NAMES.index("jawOpen")
MOUTH_CLOSE = ARKIT_NAMES.index("mouthClose")


@dataclass(frozen=True, slots=True)
class ExpressionPrior:
    """``1/2 e'Qe + l'e`` on top of the data, within [0, upper]."""

    quadratic: F64
    """(52, 52) symmetric positive definite."""
    linear: F64
    """(52,)."""
    upper: F64
    """(52,)."""


def default_prior() -> ExpressionPrior:
    """Ridge, sparsity, symmetric pairs, opposites apart, the invisible pinned to zero."""
    quadratic = np.diag(_per_action(RIDGE, eyeLook=GAZE_RIDGE))
    for left, right in (*_symmetric_pairs(), *GAZE_TOGETHER):
        _couple(quadratic, left, right, SYMMETRY)
    for one, other in OPPOSITES:
        _exclude(quadratic, one, other)
    for name in BARELY_SEEN:
        quadratic[_index(name), _index(name)] += UNSEEN_RIDGE
    sparsity = _per_action(SPARSITY, eyeLook=GAZE_SPARSITY, eyeBlink=BLINK_SPARSITY)
    sparsity[[_index(name) for name in MISTAKEN]] = MISTAKEN_SPARSITY
    upper = np.ones(len(ARKIT_NAMES))
    upper[[_index(name) for name in UNSEEN]] = 0.0
    return ExpressionPrior(quadratic, sparsity, upper)


def _per_action(usual: float, **by_prefix: float) -> F64:
    """(52,) one value for all actions but those whose names start so."""
    values = np.full(len(ARKIT_NAMES), usual)
    for prefix, value in by_prefix.items():
        values[[k for k, name in enumerate(ARKIT_NAMES) if name.startswith(prefix)]] = value
    return values


def _symmetric_pairs() -> list[tuple[str, str]]:
    return [
        (name, name.replace("Left", "Right"))
        for name in ARKIT_NAMES
        if name.endswith("Left") and not name.startswith(ASYMMETRIC)
    ]


def _couple(quadratic: F64, one: str, other: str, strength: float) -> None:
    i, j = _index(one), _index(other)
    quadratic[[i, j], [i, j]] += strength
    quadratic[[i, j], [j, i]] -= strength


def _exclude(quadratic: F64, one: str, other: str) -> None:
    """Add ``mu e_i e_j`` and half of it to the diagonal, so that Q stays positive definite."""
    i, j = _index(one), _index(other)
    quadratic[[i, j], [j, i]] += EXCLUSION
    quadratic[[i, j], [i, j]] += EXCLUSION


def _index(name: str) -> int:
    return ARKIT_NAMES.index(name)
