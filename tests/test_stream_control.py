"""Who may change somebody's avatar, over real connections, and what becomes of an edit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from test_stream_loopback import Picture, peer, publish, serving, until, watching

from engine.identity_edit import IdentityEdit
from engine.identity_keeper import IdentityKeeper
from engine.types import Identity
from stream.client import AvatarClient, ClientOptions, ClientThread
from stream.feed import LiveFeed
from stream.protocol import Edit, encode_control
from stream.server import StreamServer
from stream.signalling import Access


class Person:
    """A feed's identity without an engine: the keeper, edited on the event loop."""

    def __init__(self) -> None:
        self.keeper = IdentityKeeper(Identity())
        self.edits: list[IdentityEdit] = []
        self.feed = LiveFeed()
        self.feed.steer(lambda: self.keeper.status, self.edit)

    def edit(self, edit: IdentityEdit) -> None:
        self.edits.append(edit)
        self.keeper.edit(edit)


@pytest.fixture
def person() -> Person:
    return Person()


@asynccontextmanager
async def watched(
    person: Person, **access: object
) -> AsyncIterator[tuple[AvatarClient, list[str], str, StreamServer]]:
    """A connected watcher, what it was refused, the server's URL, and the server."""
    refusals: list[str] = []
    async with (
        serving(person.feed, access=Access(**access)) as (url, server),
        watching(url, token=access.get("token")) as client,
    ):
        client.on_refusal = refusals.append
        await until(lambda: client.identity is not None)
        yield client, refusals, url, server


async def test_a_mere_watcher_changes_nobody(person: Person) -> None:
    """Somebody's avatar is theirs: a link to watch is no licence to disfigure."""
    async with watched(person, token="secret") as (client, refusals, _, _):
        assert client.identity is not None and not client.identity.open
        for camera in (None, "", "guess", "\u00fc", "x" * 200):
            client.edit(Edit(age_years=90, camera=camera))
        await until(lambda: len(refusals) == 5)
        assert "--allow-control" in refusals[0]
        assert person.edits == []


async def test_a_server_that_allows_control_takes_everybodys_edits(person: Person) -> None:
    async with watched(person, allow_control=True) as (client, refusals, url, _):
        async with watching(url) as other:
            client.edit(Edit(age_years=70, gender=0.25))
            await until(lambda: other.identity is not None and other.identity.age_years == 70)
            assert other.identity is not None and other.identity.open
            assert (other.identity.gender, other.identity.version) == (0.25, 1)
            other.edit(Edit(pin=True))
            await until(lambda: client.identity is not None and client.identity.pinned)
        assert refusals == []


async def test_who_sends_the_camera_may_edit_until_it_ends(person: Person) -> None:
    async with watched(person) as (client, refusals, url, server):
        connection, location = await publish(url, Picture())
        session = location.rsplit("/", 1)[1]
        camera = await asyncio.wait_for(anext(server.cameras), 15)
        camera.__enter__()
        client.edit(Edit(weight=0.9, camera=session))
        await until(lambda: client.identity is not None and client.identity.weight == 0.9)
        second, _ = await publish(url, Picture())
        await asyncio.wait_for(anext(server.cameras), 15)
        assert camera.closed
        client.edit(Edit(weight=0.1, camera=session))
        await until(lambda: len(refusals) == 1)
        assert person.edits == [IdentityEdit(weight=0.9)]
        await connection.close()
        await second.close()


async def test_a_camera_that_is_not_shown_gives_no_right(person: Person) -> None:
    """A server that shows its own film would else be anybody's who sends it a camera."""
    async with watched(person) as (client, refusals, url, server):
        connection, location = await publish(url, Picture())
        await asyncio.wait_for(anext(server.cameras), 15)
        client.edit(Edit(weight=0.9, camera=location.rsplit("/", 1)[1]))
        await until(lambda: len(refusals) == 1)
        assert person.edits == []
        await connection.close()


async def test_nobody_is_there_to_change_yet() -> None:
    async with serving(access=Access(allow_control=True)) as (url, _), watching(url) as client:
        refusals: list[str] = []
        client.on_refusal = refusals.append
        await until(lambda: client.source == "waiting")
        client.edit(Edit(pin=True))
        await until(lambda: bool(refusals))
        assert "cannot be changed" in refusals[0]


async def test_an_oversized_edit_ends_its_sender_alone(person: Person, caplog) -> None:
    caplog.set_level(logging.INFO, "stream")
    async with watched(person, allow_control=True) as (client, _, url, _):
        async with peer(url) as bad:
            edit = encode_control(Edit(age_years=50))
            bad._channels["control"].send(edit + " " * 5000)
            await asyncio.wait_for(bad.ended(), 10)
        assert "bytes on control, which takes 4096" in caplog.text
        client.edit(Edit(age_years=51))
        await until(lambda: person.edits == [IdentityEdit(age_years=51)])
    assert "Traceback" not in caplog.text


async def test_confidence_reaches_who_watches_without_any_frame(person: Person) -> None:
    """A camera that is covered sends no faces; its viewers should see why nothing changes."""
    async with watched(person) as (client, _, _, _):
        person.feed.steer(lambda: replace(person.keeper.status, confidence=0.3141), person.edit)
        await until(lambda: client.identity is not None and client.identity.confidence == 0.31)


async def test_a_window_edits_from_its_own_thread(person: Person) -> None:
    async with serving(person.feed, access=Access(allow_control=True)) as (url, _):
        with ClientThread(ClientOptions(url)) as thread:
            await until(lambda: thread.client.identity is not None)
            thread.edit(Edit(height=0.75))
            await until(lambda: person.edits == [IdentityEdit(height=0.75)])
            await asyncio.to_thread(thread.close)
            thread.edit(Edit(height=0.1))  # too late is no error


async def test_the_key_to_an_avatar_is_not_in_the_log(caplog) -> None:
    caplog.set_level(logging.DEBUG, "stream")
    async with serving() as (url, server):
        connection, location = await publish(url, Picture())
        await asyncio.wait_for(anext(server.cameras), 15)
        await connection.close()
        await until(lambda: "left: " in caplog.text)
    assert "camera" in caplog.text
    assert location.rsplit("/", 1)[1] not in caplog.text
