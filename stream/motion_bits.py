"""The bit-packed part of a motion packet: joints, expressions, and the previous frame's deltas.

These kernels know whole numbers only; ``PROTOCOL.md`` gives the order of the bits.
"""

from __future__ import annotations

from numba import njit

from engine.types import I32, U8
from stream.bits import get_bits, put_bits, sign_extend, signed_width
from stream.protocol import ABSOLUTE_WIDTH, EXPRESSION_BITS, EXPRESSION_BLOCK, WIDTH_BITS

INVALID = -1
"""Returned instead of a position when the bits make no sense."""


@njit(cache=True, nogil=True)
def _put_joint(buffer: U8, at: int, largest: int, components: I32, bits: int) -> int:
    at = put_bits(buffer, at, largest, 2)
    offset = (1 << (bits - 1)) - 1
    for axis in range(3):
        at = put_bits(buffer, at, components[axis] + offset, bits)
    return at


@njit(cache=True, nogil=True)
def _get_joint(buffer: U8, at: int, bits: int, joint: int, largest: I32, components: I32) -> int:
    largest[joint] = get_bits(buffer, at, 2)
    at += 2
    offset = (1 << (bits - 1)) - 1
    for axis in range(3):
        value = get_bits(buffer, at, bits) - offset
        if value > offset:
            return INVALID
        components[joint, axis] = value
        at += bits
    return at


@njit(cache=True, nogil=True)
def put_current(
    buffer: U8, active: I32, bits: I32, largest: I32, components: I32, expression: I32
) -> int:
    """Write the bitmap, the active joints and the expressions from bit 0; the end position."""
    at = 0
    for joint in range(len(active)):
        at = put_bits(buffer, at, active[joint], 1)
    for joint in range(len(active)):
        if active[joint]:
            at = _put_joint(buffer, at, largest[joint], components[joint], bits[joint])
    for action in range(len(expression)):
        at = put_bits(buffer, at, expression[action], EXPRESSION_BITS)
    return at


@njit(cache=True, nogil=True)
def get_current(
    buffer: U8, active: I32, bits: I32, largest: I32, components: I32, expression: I32
) -> int:
    """Inverse of put_current into outputs that hold rest values; INVALID for nonsense."""
    at = 0
    for joint in range(len(active)):
        active[joint] = get_bits(buffer, at, 1)
        at += 1
    for joint in range(len(active)):
        if active[joint]:
            at = _get_joint(buffer, at, bits[joint], joint, largest, components)
            if at == INVALID:
                return INVALID
    for action in range(len(expression)):
        expression[action] = get_bits(buffer, at, EXPRESSION_BITS)
        at += EXPRESSION_BITS
    return at


@njit(cache=True, nogil=True)
def _coarse(delta: int, shift: int) -> int:
    """``delta`` in units of 2^shift, rounded half up."""
    return (delta + ((1 << shift) >> 1)) >> shift


@njit(cache=True, nogil=True)
def _delta_width(now: I32, then: I32, shift: int) -> int:
    width = 0
    for k in range(len(now)):
        width = max(width, signed_width(_coarse(then[k] - now[k], shift)))
    return width


@njit(cache=True, nogil=True)
def _put_deltas(buffer: U8, at: int, now: I32, then: I32, width: int, shift: int) -> int:
    at = put_bits(buffer, at, width, WIDTH_BITS)
    for k in range(len(now)):
        at = put_bits(buffer, at, _coarse(then[k] - now[k], shift) & ((1 << width) - 1), width)
    return at


@njit(cache=True, nogil=True)
def _get_deltas(
    buffer: U8, at: int, now: I32, then: I32, width: int, shift: int, low: int, high: int
) -> int:
    for k in range(len(now)):
        delta = sign_extend(get_bits(buffer, at, width), width) << shift
        # Rounding may step over the limit, so clamping is part of the format.
        then[k] = min(max(now[k] + delta, low), high)
        at += width
    return at


@njit(cache=True, nogil=True)
def put_previous(
    buffer: U8, at: int, shift: int, active: I32, bits: I32,
    largest: I32, components: I32, expression: I32,
    then_largest: I32, then_components: I32, then_expression: I32,
) -> int:  # fmt: skip
    """Write the previous frame as deltas to the current one from bit ``at``; the end position.

    Joint deltas lose their ``shift`` lowest bits; expressions are exact.
    """
    for joint in range(len(active)):
        if not active[joint]:
            continue
        now, then = components[joint], then_components[joint]
        width = _delta_width(now, then, shift)
        if largest[joint] != then_largest[joint] or width >= bits[joint]:
            at = put_bits(buffer, at, ABSOLUTE_WIDTH, WIDTH_BITS)
            at = _put_joint(buffer, at, then_largest[joint], then, bits[joint])
        else:
            at = _put_deltas(buffer, at, now, then, width, shift)
    for first in range(0, len(expression), EXPRESSION_BLOCK):
        now = expression[first : first + EXPRESSION_BLOCK]
        then = then_expression[first : first + EXPRESSION_BLOCK]
        at = _put_deltas(buffer, at, now, then, _delta_width(now, then, 0), 0)
    return at


@njit(cache=True, nogil=True)
def get_previous(
    buffer: U8, at: int, shift: int, active: I32, bits: I32,
    largest: I32, components: I32, expression: I32,
    then_largest: I32, then_components: I32, then_expression: I32,
) -> int:  # fmt: skip
    """Inverse of put_previous into outputs that hold rest values; INVALID for nonsense."""
    for joint in range(len(active)):
        if not active[joint]:
            continue
        width = get_bits(buffer, at, WIDTH_BITS)
        at += WIDTH_BITS
        if width == ABSOLUTE_WIDTH:
            at = _get_joint(buffer, at, bits[joint], joint, then_largest, then_components)
            if at == INVALID:
                return INVALID
        else:
            then_largest[joint] = largest[joint]
            limit = (1 << (bits[joint] - 1)) - 1
            now, then = components[joint], then_components[joint]
            at = _get_deltas(buffer, at, now, then, width, shift, -limit, limit)
    high = (1 << EXPRESSION_BITS) - 1
    for first in range(0, len(expression), EXPRESSION_BLOCK):
        width = get_bits(buffer, at, WIDTH_BITS)
        now = expression[first : first + EXPRESSION_BLOCK]
        then = then_expression[first : first + EXPRESSION_BLOCK]
        at = _get_deltas(buffer, at + WIDTH_BITS, now, then, width, 0, 0, high)
    return at
