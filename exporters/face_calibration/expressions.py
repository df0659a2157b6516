"""Random faces people could make: a few actions at a time, mostly the same on both sides.

Half of what is drawn are single actions, so that each is told from all others; the other half are
what one muscle does to several of them at once (FACS action units: Ekman, Friesen 1978), because
no face squints its cheeks and not its eyes. Eyes look somewhere in most pictures.
"""

from __future__ import annotations

import numpy as np

from engine.types import ARKIT_NAMES, F64

TONGUE = ARKIT_NAMES.index("tongueOut")
NEUTRAL_SHARE = 0.12
SYMMETRIC_SHARE = 0.7
UNIT_SHARE = 0.5
GAZE_SHARE = 0.6
BLINK_SHARE = 0.12
EXCLUSIVE = (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"))
UNITS: tuple[dict[str, float], ...] = (
    {"browInnerUp": 1.0, "browOuterUpLeft": 1.0},
    {"browInnerUp": 0.8, "browOuterUpLeft": 0.9, "eyeWideLeft": 0.8},
    {"browInnerUp": 0.9, "browDownLeft": 0.5},
    {"browDownLeft": 1.0, "eyeSquintLeft": 0.6},
    {"cheekSquintLeft": 1.0, "eyeSquintLeft": 0.9},
    {"mouthSmileLeft": 1.0, "cheekSquintLeft": 0.7, "eyeSquintLeft": 0.5},
    {"mouthSmileLeft": 0.9, "jawOpen": 0.5},
    {"noseSneerLeft": 1.0, "mouthUpperUpLeft": 0.6, "browDownLeft": 0.4},
    {"mouthFrownLeft": 1.0, "mouthShrugLower": 0.6},
    {"mouthShrugLower": 1.0, "mouthShrugUpper": 0.6},
    {"mouthFunnel": 1.0, "jawOpen": 0.3},
    {"mouthPucker": 1.0, "mouthFunnel": 0.3},
    {"mouthRollLower": 1.0, "mouthRollUpper": 0.9},
    {"mouthPressLeft": 1.0, "mouthDimpleLeft": 0.7},
    {"mouthStretchLeft": 1.0, "mouthLowerDownLeft": 0.7},
    {"mouthUpperUpLeft": 1.0, "mouthLowerDownLeft": 0.8},
    {"jawOpen": 1.0, "mouthLowerDownLeft": 0.5},
)
"""What muscles do together, at full strength; a side's other half is added where it is absent."""


def index(name: str) -> int:
    """Where an ARKit action is in an expression vector."""
    return ARKIT_NAMES.index(name)


def other_side(name: str) -> str:
    """The same action on the other side of the face; the name itself if it has no side."""
    if "Left" in name:
        return name.replace("Left", "Right")
    return name.replace("Right", "Left")


def random_expression(rng: np.random.Generator) -> F64:
    """(52,) one to four actions or units in [0.2, 1] with gaze and blinks, or a neutral face."""
    expression = np.zeros(len(ARKIT_NAMES))
    if rng.random() < NEUTRAL_SHARE:
        return expression
    for _ in range(rng.integers(1, 5)):
        if rng.random() < UNIT_SHARE:
            _add_unit(expression, UNITS[rng.integers(len(UNITS))], rng)
        else:
            _add_action(expression, int(rng.integers(len(ARKIT_NAMES))), rng)
    if rng.random() < GAZE_SHARE:
        _look(expression, rng.uniform(-1.0, 1.0), rng.uniform(-0.8, 0.8))
    if rng.random() < BLINK_SHARE:
        expression[[index("eyeBlinkLeft"), index("eyeBlinkRight")]] = rng.uniform(0.3, 1.0)
    return _possible(expression)


def _add_unit(expression: F64, unit: dict[str, float], rng: np.random.Generator) -> None:
    """The same strength for all of it, nearly."""
    strength, one_sided = rng.uniform(0.2, 1.0), rng.random() > SYMMETRIC_SHARE
    side = rng.integers(2)
    for name, share in unit.items():
        for place, action in enumerate((name, other_side(name))):
            if "Left" not in name or not one_sided or place == side:
                value = np.clip(strength * share + rng.normal(0, 0.06), 0.0, 1.0)
                expression[index(action)] = max(expression[index(action)], value)


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
    """Both eyes to the person's left and up, each in [-1, 1]; wherever they looked before."""
    expression[[k for k, name in enumerate(ARKIT_NAMES) if name.startswith("eyeLook")]] = 0.0
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
