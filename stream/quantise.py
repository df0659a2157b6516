"""AvatarState <-> whole numbers: what the motion packet carries, before bit packing.

A unit quaternion is written as its three smallest components ("smallest three"): the largest is
made positive (q and -q are one rotation) and follows from the unit norm; the others lie in
[-1/sqrt 2, 1/sqrt 2]. Zero is exact, so a joint at rest stays exactly at rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from engine.types import ARKIT_NAMES, F32, I32, JOINT_COUNT, AvatarState, Camera
from stream.protocol import EXPRESSION_BITS, TRANSLATION_UNIT_M, joint_bits

_OTHERS = np.array([[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2]])
"""Row i: the components that travel when component i is the largest."""
_JOINTS = np.arange(JOINT_COUNT)
COMPONENT_LIMITS: I32 = ((1 << (joint_bits() - 1)) - 1).astype(np.int32)
"""(104,): the whole number that stands for 1/sqrt 2."""
_UNITS = (np.sqrt(0.5) / COMPONENT_LIMITS)[:, None]
EXPRESSION_LIMIT = (1 << EXPRESSION_BITS) - 1
REST_LARGEST = 3


@dataclass(frozen=True, slots=True)
class QuantisedState:
    """An AvatarState in whole numbers; equal numbers give equal bytes."""

    index: int
    captured_at_ns: int
    identity_version: int
    largest: I32
    """(104,) index of the component that is left out, 0..3 for x, y, z, w."""
    components: I32
    """(104, 3) the others in ascending order, within +-COMPONENT_LIMITS."""
    expression: I32
    """(52,) in [0, EXPRESSION_LIMIT]."""
    translation: tuple[int, int, int]
    """In TRANSLATION_UNIT_M."""
    confidences: tuple[int, int, int, int]
    """Body, face, left hand, right hand in [0, 255]."""
    camera: Camera
    active: I32 = field(repr=False)
    """(104,) 1 where the joint is not at rest."""


def quantise(state: AvatarState) -> QuantisedState:
    """Round a state to what the wire can carry.

    Raises:
        ValueError: the state has the wrong shape or numbers that are not finite.
    """
    largest, components = quantise_rotations(state.rotations_xyzw)
    return QuantisedState(
        state.index,
        state.captured_at_ns,
        state.identity_version,
        largest,
        components,
        _quantise_expression(state.expression),
        _quantise_translation(state.translation_m),
        _quantise_confidences(state),
        state.camera,
        active_joints(largest, components),
    )


def active_joints(largest: I32, components: I32) -> I32:
    """1 for every joint that is not the identity, (104,)."""
    active: I32 = ((largest != REST_LARGEST) | components.any(axis=1)).astype(np.int32)
    return active


def quantise_rotations(rotations_xyzw: F32) -> tuple[I32, I32]:
    """Smallest-three form of (104, 4) quaternions: largest (104,) and components (104, 3)."""
    if rotations_xyzw.shape != (JOINT_COUNT, 4):
        raise ValueError(f"rotations must be ({JOINT_COUNT}, 4), not {rotations_xyzw.shape}")
    norms = np.linalg.norm(rotations_xyzw.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(norms).all() and (norms > 1e-6).all()):
        raise ValueError("rotations must be finite quaternions of unit length")
    unit = rotations_xyzw / norms
    largest = np.abs(unit).argmax(axis=1)
    signs = np.where(unit[_JOINTS, largest] < 0, -1.0, 1.0)[:, None]
    kept = unit[_JOINTS[:, None], _OTHERS[largest]] * signs
    limits = COMPONENT_LIMITS[:, None]
    components = np.clip(np.rint(kept / _UNITS), -limits, limits)
    return largest.astype(np.int32), components.astype(np.int32)


def dequantise_rotations(largest: I32, components: I32) -> F32:
    """(104, 4) unit quaternions; always finite, whatever the numbers are."""
    kept = components * _UNITS
    rotations = np.empty((JOINT_COUNT, 4))
    rotations[_JOINTS[:, None], _OTHERS[largest]] = kept
    rotations[_JOINTS, largest] = np.sqrt(np.maximum(0.0, 1.0 - np.square(kept).sum(axis=1)))
    rotations /= np.linalg.norm(rotations, axis=1, keepdims=True)
    return rotations.astype(np.float32)


def dequantise(numbers: QuantisedState) -> AvatarState:
    """The state that a receiver poses its avatar with."""
    confidences = [value / 255.0 for value in numbers.confidences]
    return AvatarState(
        numbers.index,
        numbers.captured_at_ns,
        numbers.identity_version,
        dequantise_rotations(numbers.largest, numbers.components),
        (np.array(numbers.translation) * TRANSLATION_UNIT_M).astype(np.float32),
        (numbers.expression / EXPRESSION_LIMIT).astype(np.float32),
        numbers.camera,
        *confidences,
    )


def _quantise_expression(expression: F32) -> I32:
    if expression.shape != (len(ARKIT_NAMES),) or not np.isfinite(expression).all():
        raise ValueError(f"expression must be {len(ARKIT_NAMES)} finite numbers")
    scaled = np.rint(np.clip(expression, 0.0, 1.0) * EXPRESSION_LIMIT)
    return scaled.astype(np.int32)


def _quantise_translation(translation_m: F32) -> tuple[int, int, int]:
    if translation_m.shape != (3,) or not np.isfinite(translation_m).all():
        raise ValueError("translation must be three finite numbers")
    x, y, z = (round(float(value) / TRANSLATION_UNIT_M) for value in translation_m)
    return x, y, z


def _quantise_confidences(state: AvatarState) -> tuple[int, int, int, int]:
    body, face, left, right = (
        round(255 * min(max(value, 0.0), 1.0))
        for value in (
            state.body_confidence,
            state.face_confidence,
            state.left_hand_confidence,
            state.right_hand_confidence,
        )
    )
    return body, face, left, right
