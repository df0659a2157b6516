"""Random faces people could make: a few actions at a time, mostly the same on both sides."""

from __future__ import annotations

import numpy as np

from engine.types import ARKIT_NAMES, F64

TONGUE = ARKIT_NAMES.index("tongueOut")
NEUTRAL_SHARE = 0.12
SYMMETRIC_SHARE = 0.7
EXCLUSIVE = (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"))


def index(name: str) -> int:
    """Where an ARKit action is in an expression vector."""
    return ARKIT_NAMES.index(name)


def other_side(name: str) -> str:
    """The same action on the other side of the face; the name itself if it has no side."""
    if "Left" in name:
        return name.replace("Left", "Right")
    return name.replace("Right", "Left")


def random_expression(rng: np.random.Generator) -> F64:
    """(52,) one to four actions in [0.2, 1], or a neutral face."""
    expression = np.zeros(len(ARKIT_NAMES))
    if rng.random() < NEUTRAL_SHARE:
        return expression
    for _ in range(rng.integers(1, 5)):
        _add_action(expression, int(rng.integers(len(ARKIT_NAMES))), rng)
    return _possible(expression)


def _add_action(expression: F64, k: int, rng: np.random.Generator) -> None:
    name, strength = ARKIT_NAMES[k], rng.uniform(0.2, 1.0)
    if k == TONGUE:
        return
    if name.startswith("eyeLook"):
        _look(expression, rng.uniform(-1.0, 1.0), rng.uniform(-0.8, 0.8))
    elif name == "mouthClose":
        expression[index("jawOpen")] = max(expression[index("jawOpen")], strength)
        expression[k] = strength * rng.uniform(0.3, 1.0)
    else:
        expression[k] = strength
        if rng.random() < SYMMETRIC_SHARE:
            expression[index(other_side(name))] = np.clip(strength + rng.normal(0, 0.08), 0, 1)


def _look(expression: F64, left: float, up: float) -> None:
    """Both eyes to the person's left and up, each in [-1, 1]."""
    for side in ("Left", "Right"):
        inward = (left > 0) == (side == "Right")
        expression[index(("eyeLookIn" if inward else "eyeLookOut") + side)] = abs(left)
        expression[index(("eyeLookUp" if up > 0 else "eyeLookDown") + side)] = abs(up)


def _possible(expression: F64) -> F64:
    """Take out what no face can do: both ways at once, closed lips on a closed jaw."""
    for one, two in EXCLUSIVE:
        weaker = one if expression[index(one)] <= expression[index(two)] else two
        expression[index(weaker)] = 0.0
    for side in ("Left", "Right"):
        if expression[index("eyeBlink" + side)] > 0:
            expression[index("eyeWide" + side)] = 0.0
    close = index("mouthClose")
    expression[close] = min(expression[close], expression[index("jawOpen")])
    return expression
