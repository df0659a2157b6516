"""Reading and writing unsigned integers of any width in a byte array, lowest bit first."""

from __future__ import annotations

from numba import njit

from engine.types import U8


@njit(cache=True, nogil=True)
def put_bits(buffer: U8, position: int, value: int, width: int) -> int:
    """Write ``width`` bits of ``value`` at bit ``position`` of a zeroed buffer; the next position.

    The caller makes the buffer large enough.
    """
    for bit in range(width):
        if (value >> bit) & 1:
            at = position + bit
            buffer[at >> 3] |= 1 << (at & 7)
    return position + width


@njit(cache=True, nogil=True)
def get_bits(buffer: U8, position: int, width: int) -> int:
    """Read ``width`` bits at bit ``position``; bits after the end of the buffer read as zero."""
    value = 0
    for bit in range(width):
        at = position + bit
        if (at >> 3) < len(buffer) and (buffer[at >> 3] >> (at & 7)) & 1:
            value |= 1 << bit
    return value


@njit(cache=True, nogil=True)
def signed_width(value: int) -> int:
    """Bits of the two's complement of ``value``; zero needs none."""
    if value == 0:
        return 0
    magnitude = value if value > 0 else -value - 1
    width = 1
    while magnitude:
        magnitude >>= 1
        width += 1
    return width


@njit(cache=True, nogil=True)
def sign_extend(value: int, width: int) -> int:
    """The signed number whose two's complement of ``width`` bits is ``value``."""
    if width > 0 and (value >> (width - 1)) & 1:
        return value - (1 << width)
    return value
