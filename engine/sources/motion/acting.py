"""Facial acting: one clear expression after the other, blinks and a wandering gaze throughout."""

from __future__ import annotations

import numpy as np

from engine.types import ARKIT_NAMES, F32

Strengths = dict[str, float]


def _both(name: str, strength: float = 1.0) -> Strengths:
    return {name + "Left": strength, name + "Right": strength}


EXPRESSIONS: tuple[Strengths, ...] = (
    _both("mouthSmile"),
    {"jawOpen": 0.8},
    {"browInnerUp": 1.0, **_both("browOuterUp")},
    _both("browDown"),
    {"mouthPucker": 1.0},
    {"mouthFunnel": 0.9, "jawOpen": 0.2},
    _both("mouthFrown"),
    {"mouthLeft": 0.8},
    {"mouthRight": 0.8},
    _both("eyeWide"),
    _both("eyeSquint") | _both("cheekSquint"),
    _both("noseSneer"),
    {"jawOpen": 0.5, **_both("mouthSmile", 0.8)},
    {"mouthShrugLower": 0.8, "mouthShrugUpper": 0.5},
    {"mouthRollLower": 0.8, "mouthRollUpper": 0.8},
    {"browOuterUpLeft": 1.0},
    {"browOuterUpRight": 1.0},
    {"eyeBlinkLeft": 1.0},
    {"eyeBlinkRight": 1.0},
    _both("mouthStretch"),
    _both("mouthUpperUp", 0.8) | _both("mouthLowerDown", 0.6),
    {"cheekPuff": 0.9},
    {"jawLeft": 0.8},
    {"jawRight": 0.8},
    {"mouthSmileLeft": 0.9},
    {"mouthSmileRight": 0.9},
    _both("mouthDimple") | _both("mouthPress"),
)
EXPRESSION_S = 1.4
"""From one expression to the next; each is held for half of it."""
BLINK_S = 0.24
BLINK_EVERY_S = 2.9
GAZE_S = 1.7


def bump(phase: float, edge: float = 0.3) -> float:
    """0 at 0 and 1, held at 1 between ``edge`` and ``1 - edge``, smooth."""
    t = min(max(min(phase, 1.0 - phase) / edge, 0.0), 1.0)
    return t * t * (3.0 - 2.0 * t)


def expression_at(seconds: float, seed: int) -> F32:
    """(52,) activations in [0, 1]; the order of expressions and the gaze depend on the seed."""
    values = np.zeros(len(ARKIT_NAMES), np.float32)
    for name, strength in _acted(seconds, seed).items():
        values[ARKIT_NAMES.index(name)] = strength
    _look(values, seconds, seed)
    _blink(values, seconds, seed)
    return np.clip(values, 0.0, 1.0)


def _acted(seconds: float, seed: int) -> Strengths:
    turn, number = divmod(int(seconds / EXPRESSION_S), len(EXPRESSIONS))
    rng = np.random.default_rng([seed, turn, 0xFACE])
    order = rng.permutation(len(EXPRESSIONS)) if (turn or seed) else np.arange(len(EXPRESSIONS))
    strength = 1.0 if turn == 0 else rng.uniform(0.5, 1.0)
    rise = strength * bump((seconds / EXPRESSION_S) % 1.0)
    return {name: value * rise for name, value in EXPRESSIONS[order[number]].items()}


def _look(values: F32, seconds: float, seed: int) -> None:
    """Both eyes jump to a new target every GAZE_S and rest there; every third is straight on."""
    number = int(seconds / GAZE_S)
    now, before = _target(number, seed), _target(number - 1, seed)
    share = min((seconds - number * GAZE_S) / 0.12, 1.0)
    right, up = before + (now - before) * share
    sides = {"Left": right, "Right": -right}
    for side, outward in sides.items():
        # The person's left eye looks outward when both look to the person's left (+X).
        values[ARKIT_NAMES.index(f"eyeLookOut{side}")] = max(outward, 0.0)
        values[ARKIT_NAMES.index(f"eyeLookIn{side}")] = max(-outward, 0.0)
        values[ARKIT_NAMES.index(f"eyeLookUp{side}")] = max(up, 0.0)
        values[ARKIT_NAMES.index(f"eyeLookDown{side}")] = max(-up, 0.0)


def _target(number: int, seed: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if number < 0 or number % 3 == 0:
        return np.zeros(2)
    angle = np.random.default_rng([seed, number, 0xE7E]).uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), 0.7 * np.sin(angle)]) * 0.8


def _blink(values: F32, seconds: float, seed: int) -> None:
    number = int(seconds / BLINK_EVERY_S)
    start = np.random.default_rng([seed, number, 0xB11]).uniform(0.5, BLINK_EVERY_S - BLINK_S)
    phase = (seconds - number * BLINK_EVERY_S - start) / BLINK_S
    closed = bump(phase, 0.4) if 0.0 < phase < 1.0 else 0.0
    for name in ("eyeBlinkLeft", "eyeBlinkRight"):
        place = ARKIT_NAMES.index(name)
        values[place] = max(float(values[place]), closed)
