"""Both sides of a connection over an in-memory link that loses what it may lose."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from states import moving_states, rest_state, sheet
from test_protocol import BAD_EDITS

from engine.errors import PeerError
from engine.types import AvatarState
from stream.avatar_channel import AvatarAssembler, AvatarFile
from stream.avatar_receiver import AvatarReceiver
from stream.clock_sync import ClockSync
from stream.lossy_link import LossyLink
from stream.mesh_codec import MeshEncoder, ReceivedMesh
from stream.motion_codec import MotionEncoder
from stream.motion_receiver import MotionReceiver
from stream.protocol import (
    AVATAR,
    AVATAR_CHUNK_BYTES,
    CONTROL,
    MOTION,
    AvatarHeader,
    Edit,
    Hello,
    Ping,
    SourceNews,
    encode_control,
)
from stream.token_bucket import TokenBucket
from stream.watcher import EDITS_PER_S, MESSAGES_PER_S, SILENCE_S, Watcher

GLB = bytes(range(256)) * 1000


class Clock:
    def __init__(self) -> None:
        self.ns = 10**12

    def __call__(self) -> int:
        return self.ns


class Pair:
    """A watcher's session and its receiver, joined."""

    def __init__(self, lose: Callable[[int], bool] = lambda _: False) -> None:
        self.clock = Clock()
        self.link = LossyLink(lose)
        self.watcher = Watcher(self.link.left, self.clock)
        self.receiver = AvatarReceiver(self.link.right, clock_ns=self.clock)
        self.states: list[AvatarState] = []
        self.avatars: list[AvatarFile] = []
        self.receiver.on_state = self.states.append
        self.receiver.on_avatar = self.avatars.append
        self.meshes: list[ReceivedMesh] = []
        self.receiver.on_mesh = self.meshes.append
        self.edits: list[Edit] = []
        self.watcher.on_edit = self.take_edit
        self.refusals: list[str] = []
        self.receiver.on_refusal = self.refusals.append

    def take_edit(self, edit: Edit) -> str:
        self.edits.append(edit)
        return ""

    def send(self, text: str) -> None:
        """Whatever a watcher's program makes up."""
        self.link.right.send(CONTROL, text)
        self.link.deliver()

    def greet(self) -> None:
        self.link.open()
        self.link.deliver()


async def test_hello_then_avatar_then_frames() -> None:
    pair = Pair()
    encoder = MotionEncoder()
    pair.watcher.send_motion(encoder.encode(rest_state(0)))
    pair.greet()
    assert pair.states == []
    pair.watcher.send_avatar(AvatarFile.of(4, GLB))
    for state in moving_states(10):
        pair.watcher.send_motion(encoder.encode(state))
        pair.link.deliver()
    assert [(a.identity_version, a.glb) for a in pair.avatars] == [(4, GLB)]
    assert [state.index for state in pair.states] == list(range(10))


async def test_a_lost_packet_loses_no_frame() -> None:
    pair = Pair(lose=lambda n: n % 4 == 2)
    pair.greet()
    encoder = MotionEncoder()
    for state in moving_states(40):
        pair.watcher.send_motion(encoder.encode(state))
        pair.link.deliver()
    assert [state.index for state in pair.states] == list(range(40))
    statistics = pair.receiver.motion.statistics()
    assert (statistics.received, statistics.lost, statistics.recovered) == (30, 10, 10)
    assert statistics.delivered == pytest.approx(0.75)


async def test_a_slow_network_gets_the_newest_frame_and_a_queue_of_one() -> None:
    pair = Pair()
    pair.greet()
    encoder = MotionEncoder()
    for state in moving_states(30):
        pair.watcher.send_motion(encoder.encode(state))
        assert pair.link.left.buffered(MOTION) <= 1100
    pair.link.deliver()
    # The first was on its way; of the rest only the newest travels, and brings its neighbour.
    assert [state.index for state in pair.states] == [0, 28, 29]


async def test_an_avatar_never_floods_the_link() -> None:
    pair = Pair()
    pair.greet()
    pair.watcher.send_avatar(AvatarFile.of(1, GLB))
    pair.watcher.send_avatar(AvatarFile.of(2, GLB[1:]))
    pair.watcher.send_avatar(AvatarFile.of(3, GLB[2:]))
    assert pair.link.left.buffered(AVATAR) <= 3 * AVATAR_CHUNK_BYTES
    pair.link.deliver()
    assert [avatar.identity_version for avatar in pair.avatars] == [1, 3]


async def test_ping_tells_the_clock() -> None:
    pair = Pair()
    pair.greet()
    assert pair.receiver.clock.offset_us == 0


def test_clock_offset_comes_from_the_shortest_round_trip() -> None:
    sync = ClockSync()
    assert sync.offset_us is None
    sync.add(sent_us=1000, remote_us=51_000 + 900, now_us=2000)
    sync.add(sent_us=3000, remote_us=53_000 + 50, now_us=3100)
    sync.add(sent_us=5000, remote_us=1, now_us=4000)
    assert (sync.offset_us, sync.round_trip_us) == (50_000, 100)


async def test_a_late_joiner_never_jumps_back_in_time() -> None:
    """The intra mesh that a delta needs may be two seconds old, the last state late."""
    pair, encoder, meshes = Pair(), MotionEncoder(), MeshEncoder()
    pair.receiver._tiers = ("motion", "mesh")
    states = list(moving_states(8))
    packets = [encoder.encode(state) for state in states]
    coded = []
    for state in states:
        mesh = replace(sheet(state.index), captured_at_ns=state.captured_at_ns)
        coded.append(meshes.encode(mesh, state))
    pair.greet()
    pair.watcher.send_last_state(packets[5])
    pair.watcher.send_mesh(coded[6], coded[0])
    pair.link.deliver()
    pair.watcher.send_mesh(coded[7], coded[0])
    pair.watcher.send_motion(packets[7])
    pair.link.deliver()
    pair.watcher.send_last_state(packets[5])
    pair.link.deliver()
    assert [mesh.index for mesh in pair.meshes] == [6, 7]
    assert [state.index for state in pair.states] == [5, 7]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"garbage", "binary"),
        ("garbage", "invalid control message"),
        (encode_control(Hello(99, "future")), "update the older one"),
        (encode_control(AvatarHeader(0, "0" * 64, 1)), "may not send"),
        ('{"type":"progress","received":5}', "received 5 bytes"),
        ("x" * 4097, "4097 bytes"),
    ],
)
async def test_a_watcher_that_sends_garbage_is_ended(message: bytes | str, reason: str) -> None:
    pair = Pair()
    pair.link.right.send(CONTROL, message)
    pair.link.deliver()
    assert reason in (pair.link.left.reason or "")
    assert reason in await asyncio.wait_for(pair.link.left.ended(), 1)


async def test_a_flood_is_ended() -> None:
    pair = Pair()
    for _ in range(MESSAGES_PER_S + 1):
        pair.link.right.send(CONTROL, encode_control(Ping(0)))
    pair.link.deliver()
    assert "messages a second" in (pair.link.left.reason or "")


async def test_a_watcher_that_asks_and_never_reads_is_ended() -> None:
    pair = Pair()
    pair.greet()
    ping = encode_control(Ping(0))
    while pair.link.left.reason is None:
        assert pair.link.left.buffered(CONTROL) < 100_000
        pair.clock.ns += 10**7
        pair.watcher.received(CONTROL, ping)
    assert "does not take the answers" in pair.link.left.reason


@pytest.mark.parametrize("text", BAD_EDITS)
async def test_a_bad_edit_is_refused_and_the_next_one_works(text: str) -> None:
    pair = Pair()
    pair.greet()
    pair.send(text)
    (reason,) = pair.refusals
    assert "invalid" in reason
    assert "\n" not in reason
    assert pair.edits == []
    pair.receiver.edit(Edit(weight=0.7))
    pair.link.deliver()
    assert pair.edits == [Edit(weight=0.7)]
    assert pair.link.left.reason is None


async def test_a_flood_of_edits_is_thinned_out() -> None:
    """Each one may be a new avatar for everybody; the connection stays, and so does the last."""
    pair = Pair()
    pair.greet()
    for n in range(200):
        pair.receiver.edit(Edit(age_years=n % 100))
    pair.link.deliver()
    assert len(pair.edits) == EDITS_PER_S
    assert len(pair.refusals) == 200 - EDITS_PER_S
    assert "edits a second" in pair.refusals[0]
    pair.clock.ns += 10**9
    pair.receiver.edit(Edit(age_years=33))
    pair.link.deliver()
    assert pair.edits[-1] == Edit(age_years=33)
    assert pair.link.left.reason is None


async def test_a_watcher_hears_why_an_edit_was_not_done() -> None:
    pair = Pair()
    pair.greet()
    pair.watcher.on_edit = lambda _: "nobody may " + "x" * 300
    pair.receiver.edit(Edit(pin=True))
    pair.link.deliver()
    assert pair.refusals[0].startswith("nobody may x")


async def test_news_come_after_the_hello_only() -> None:
    pair = Pair()
    pair.watcher.tell(SourceNews("ended"))
    pair.greet()
    assert pair.receiver.source == "live"
    pair.watcher.tell(SourceNews("ended"))
    pair.link.deliver()
    assert pair.receiver.source == "ended"


async def test_a_server_may_not_send_edits() -> None:
    pair = Pair()
    pair.greet()
    pair.link.left.send(CONTROL, encode_control(Edit(pin=True)))
    pair.link.deliver()
    assert "may not send Edit" in (pair.link.right.reason or "")


def test_a_token_bucket_allows_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(10)
    assert sum(bucket.take(0) for _ in range(50)) == 10
    taken = sum(bucket.take(10**8 * n // 10) for n in range(1, 101))  # a hundred in a second
    assert 9 <= taken <= 10
    assert sum(bucket.take(10**11) for _ in range(50)) == 10


async def test_a_silent_watcher_is_noticed() -> None:
    pair = Pair()
    pair.greet()
    pair.watcher.check_alive()
    pair.clock.ns += int((SILENCE_S + 1) * 1e9)
    with pytest.raises(PeerError, match="silent"):
        pair.watcher.check_alive()


@pytest.mark.parametrize(
    ("header", "chunks", "reason"),
    [
        (AvatarHeader(1, "0" * 64, 4), [b"1234"], "SHA-256"),
        (AvatarHeader(1, "0" * 64, 4), [b"12345"], "more bytes"),
        (AvatarHeader(1, "0" * 64, 5_000), [], "announced 5000"),
        (None, [b"1"], "without a header"),
    ],
)
def test_a_false_avatar_is_refused(
    header: AvatarHeader | None, chunks: list[bytes], reason: str
) -> None:
    assembler = AvatarAssembler(max_bytes=1000)
    with pytest.raises(PeerError, match=reason):
        if header is not None:
            assembler.begin(header)
        for chunk in chunks:
            assembler.add(chunk)


def test_late_and_repeated_packets_are_not_shown() -> None:
    encoder, receiver = MotionEncoder(), MotionReceiver()
    packets = [encoder.encode(state) for state in moving_states(6)]

    def shown(number: int) -> list[int]:
        return [state.index for state in receiver.feed(packets[number], 0, None)]

    assert [shown(n) for n in (0, 1, 4, 3, 4, 5)] == [[0], [1], [3, 4], [], [], [5]]
    statistics = receiver.statistics()
    assert (statistics.received, statistics.lost, statistics.late) == (5, 1, 2)


def test_latency_uses_the_senders_clock() -> None:
    receiver = MotionReceiver()
    state = replace(rest_state(1), captured_at_ns=5_000_000_000)
    receiver.feed(MotionEncoder().encode(state), now_us=1_040_000, offset_us=4_000_000)
    assert receiver.statistics().latency_ms_p50 == pytest.approx(40.0)
