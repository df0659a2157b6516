"""Messages have one definition, and the browser's reader agrees with it bit by bit."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from states import moving_states

from engine.errors import PeerError
from engine.identity_edit import RANGES
from stream import generate_ts, protocol
from stream.motion_codec import MotionEncoder, decode_motion

WEB = generate_ts.OUTPUT.parents[1]


def test_the_committed_reader_is_up_to_date() -> None:
    assert generate_ts.OUTPUT.read_text() == generate_ts.generate(), (
        "run `python -m stream.generate_ts` and commit viewer/web/src/protocol.ts"
    )


def test_joint_bits_cover_the_skeleton() -> None:
    bits = protocol.joint_bits()
    assert bits.shape == (104,)
    assert bits[[0, 48, 52, 56, 57, 101, 103]].tolist() == [15, 15, 13, 13, 11, 13, 11]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            protocol.Hello(1, "test"),
            '{"type":"hello","protocol":1,"agent":"test","tiers":["motion"]}',
        ),
        (protocol.Ping(5), '{"type":"ping","sent_at_us":5}'),
        (protocol.Pong(5, 9), '{"type":"pong","sent_at_us":5,"received_at_us":9}'),
        (
            protocol.AvatarHeader(1, "0" * 64, 3),
            '{"type":"avatar","identity_version":1,"sha256":"' + "0" * 64 + '","size":3}',
        ),
        (protocol.Statistics({"fps": 30.0}), '{"type":"statistics","values":{"fps":30.0}}'),
        (protocol.Progress(7), '{"type":"progress","received":7}'),
        (protocol.SourceNews("ended"), '{"type":"source","state":"ended"}'),
        (
            protocol.IdentityNews(
                2, 70.0, 0.25, 0.5, 0.5, 0.5, 0.5, 1.0, 0.8, locked=True, pinned=False, open=True
            ),
            '{"type":"identity","version":2,"age_years":70.0,"gender":0.25,"weight":0.5,'
            '"muscle":0.5,"height":0.5,"proportions":0.5,"caricature":1.0,"confidence":0.8,'
            '"locked":true,"pinned":false,"open":true}',
        ),
        (protocol.Edit(), '{"type":"edit"}'),
        (
            protocol.Edit(age_years=70.0, pin=False, reset=True, camera="abc"),
            '{"type":"edit","age_years":70.0,"pin":false,"reset":true,"camera":"abc"}',
        ),
        (protocol.Refusal("no"), '{"type":"refused","reason":"no"}'),
        (protocol.Failure("gone"), '{"type":"error","reason":"gone"}'),
    ],
)
def test_golden_control_messages(message: protocol.ControlMessage, text: str) -> None:
    assert protocol.encode_control(message) == text
    assert protocol.decode_control(text) == message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '{"type":"nonsense"}',
        '{"type":"ping"}',
        '{"type":"ping","sent_at_us":-1}',
        '{"type":"avatar","identity_version":0,"sha256":"00","size":1}',
        '{"type":"avatar","identity_version":0,"sha256":"' + "0" * 64 + '","size":1000000000}',
        '{"type":"hello","protocol":1,"agent":"x","tiers":["motion","mesh","motion"]}',
        '{"type":"error","reason":"' + "x" * 201 + '"}',
        '{"type":"error","reason":"' + "x" * 5000 + '"}',
        "[" * 3000,
        '"\ud800"',
        '{"type":"source","state":"asleep"}',
        '{"type":"identity","version":1}',
    ],
)
def test_bad_control_messages_are_refused(text: str) -> None:
    with pytest.raises(PeerError):
        protocol.decode_control(text)


BAD_EDITS = (
    '{"type":"edit","age_years":101}',
    '{"type":"edit","age_years":-1}',
    '{"type":"edit","age_years":NaN}',
    '{"type":"edit","age_years":1e999}',
    '{"type":"edit","age_years":"70"}',
    '{"type":"edit","weight":[0.5]}',
    '{"type":"edit","gender":true}',
    '{"type":"edit","caricature":2.1}',
    '{"type":"edit","pin":1}',
    '{"type":"edit","reset":null}',
    '{"type":"edit","camera":"' + "x" * 201 + '"}',
)


@pytest.mark.parametrize("text", BAD_EDITS)
def test_an_edit_that_is_none_is_told_from_garbage(text: str) -> None:
    """Whoever sent it is told, and stays."""
    with pytest.raises(protocol.BadEditError):
        protocol.decode_control(text)


def test_every_number_of_an_edit_has_the_engines_range() -> None:
    """Else the server would refuse what the engine takes, or the engine break on an edit."""
    for name, (least, greatest) in RANGES.items():
        for value in (least, greatest):
            text = json.dumps({"type": "edit", name: value})
            edit = protocol.decode_control(text)
            assert isinstance(edit, protocol.Edit)
            assert getattr(edit.identity_edit(), name) == value
            assert protocol.Edit.of(edit.identity_edit()) == edit
        for value in (least - 1e-6, greatest + 1e-6):
            with pytest.raises(protocol.BadEditError):
                protocol.decode_control(json.dumps({"type": "edit", name: value}))


@given(st.text(max_size=200))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(PeerError):
        protocol.decode_control(text)


@pytest.mark.parametrize(
    "layout",
    [protocol.MOTION_HEADER, protocol.PREVIOUS_HEADER, protocol.MESH_FRAGMENT_HEADER],
)
def test_a_short_record_is_refused(layout: generate_ts.Layout) -> None:
    with pytest.raises(PeerError, match=str(layout.size)):
        layout.unpack(bytes(layout.size - 1))


@pytest.fixture(scope="module")
def browser_reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated reader as JavaScript."""
    esbuild = WEB / "node_modules" / ".bin" / "esbuild"
    if shutil.which("node") is None or not esbuild.exists():
        pytest.skip("needs node, and `npm ci` in viewer/web, to run the browser's reader")
    out = tmp_path_factory.mktemp("reader") / "protocol.mjs"
    subprocess.run(
        [esbuild, generate_ts.OUTPUT, "--format=esm", f"--outfile={out}", "--log-level=error"],
        check=True,
    )
    return out


RUN = """
import { decodeMotion, ProtocolError } from "./protocol.mjs";
import { readFileSync } from "node:fs";
const packets = JSON.parse(readFileSync("packets.json"));
const plain = (s) => s && { ...s, rotations: [...s.rotations], expression: [...s.expression] };
const read = (hex) => {
  try {
    const { sequence, state, previous } = decodeMotion(Buffer.from(hex, "hex"));
    return { sequence, state: plain(state), previous: plain(previous) };
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return null;
  }
};
console.log(JSON.stringify(packets.map(read)));
"""


def in_browser(reader: Path, packets: list[bytes]) -> list[dict | None]:
    (reader.parent / "packets.json").write_text(json.dumps([packet.hex() for packet in packets]))
    (reader.parent / "run.mjs").write_text(RUN)
    done = subprocess.run(
        ["node", "run.mjs"], cwd=reader.parent, check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


def same(browser: dict, state) -> None:
    np.testing.assert_allclose(
        np.reshape(browser["rotations"], (104, 4)), state.rotations_xyzw, atol=1e-6
    )
    np.testing.assert_allclose(browser["expression"], state.expression, atol=1e-6)
    np.testing.assert_allclose(browser["translation"], state.translation_m, atol=1e-6)
    assert browser["index"] == state.index
    assert browser["capturedAtMs"] == pytest.approx(state.captured_at_ns / 1e6)
    assert browser["camera"]["focalPx"] == pytest.approx(state.camera.focal_px)
    assert browser["confidences"][0] == pytest.approx(state.body_confidence)


def test_the_browser_reads_what_python_reads(browser_reader: Path) -> None:
    encoder = MotionEncoder()
    packets = [encoder.encode(state) for state in moving_states(8)]
    for packet, browser in zip(packets, in_browser(browser_reader, packets), strict=True):
        ours = decode_motion(packet)
        assert browser is not None
        assert browser["sequence"] == ours.sequence
        same(browser["state"], ours.state)
        assert (browser["previous"] is None) == (ours.previous is None)
        if ours.previous is not None:
            same(browser["previous"], ours.previous)


def test_the_browser_refuses_what_python_refuses(browser_reader: Path) -> None:
    rng = np.random.default_rng(0)
    encoder = MotionEncoder()
    good = [encoder.encode(state) for state in moving_states(2)][1]
    packets = [good[:60], good + b"\0", bytes(1101), b""]
    for _ in range(200):
        data = bytearray(good)
        data[rng.integers(len(data))] = rng.integers(256)
        packets.append(bytes(data))
    for packet, browser in zip(packets, in_browser(browser_reader, packets), strict=True):
        try:
            decode_motion(packet)
        except PeerError:
            assert browser is None
        else:
            assert browser is not None
