"""The hand-over between stages: order, what is dropped, how it ends."""

from __future__ import annotations

import asyncio

import pytest

from engine.slot import Policy, Slot


async def test_latest_keeps_the_newest_and_counts_what_it_dropped() -> None:
    slot: Slot[int] = Slot(Policy.LATEST)
    for item in range(5):
        await slot.put(item)
    await slot.close()
    assert [item async for item in slot] == [4]
    assert slot.dropped == 4


async def test_block_loses_nothing_and_keeps_order() -> None:
    slot: Slot[int] = Slot(Policy.BLOCK)

    async def send() -> None:
        for item in range(20):
            await slot.put(item)
        await slot.close()

    sender = asyncio.create_task(send())
    received = [item async for item in slot]
    await sender
    assert received == list(range(20))
    assert slot.dropped == 0


async def test_close_releases_a_waiting_sender() -> None:
    slot: Slot[int] = Slot(Policy.BLOCK)
    await slot.put(0)
    waiting = asyncio.create_task(slot.put(1))
    await asyncio.sleep(0)
    await slot.close()
    await asyncio.wait_for(waiting, 1.0)
    assert [item async for item in slot] == [0]


async def test_the_receiver_gets_the_items_then_the_reason() -> None:
    slot: Slot[int] = Slot(Policy.LATEST)
    await slot.put(7)
    await slot.close(ValueError("unplugged"))
    assert await anext(slot) == 7
    with pytest.raises(ValueError, match="unplugged"):
        await anext(slot)
