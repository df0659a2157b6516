"""Clips as phones and cameras make them, through the networks: the same person each time."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from benchmarks.joint_errors import procrustes_errors_mm
from benchmarks.performer import BODY_JOINTS, posed
from engine.engine import Engine, EngineOptions
from engine.fusion.base_avatar import BaseAvatar
from engine.inference.store import ModelStore
from engine.offline import fit_clip
from engine.slot import Policy
from engine.sources import open_source
from engine.sources.performer import open_performer
from engine.types import AvatarState, Identity, Observation

pytestmark = pytest.mark.slow
FRAMES = 24
TICKS = 960
"""Of the files' clock in a second."""


@pytest.fixture(scope="module")
def person() -> tuple[list[np.ndarray], np.ndarray]:
    """A drawn person, 24 pictures at 30 fps, and the true joints (24, 16, 3)."""
    performer = open_performer("full", frames=FRAMES)
    rows = [performer.avatar.joint_names.index(name) for name in BODY_JOINTS]
    pictures = [frame.image.copy() for frame in performer]
    joints = [posed(performer.avatar, performer.truth(n).state)[rows] for n in range(FRAMES)]
    return pictures, np.array(joints)


def write(
    path: Path, pictures: list[np.ndarray], times_s: list[float], *, turned_deg: int = 0
) -> Path:
    """An MP4 with its own times; ``turned_deg`` as a phone notes it that was held upright."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=240)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 20_000_000
        stream.codec_context.time_base = Fraction(1, TICKS)
        if turned_deg:
            stream.set_display_rotation(turned_deg)
        for picture, seconds in zip(pictures, times_s, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = round(seconds * TICKS), Fraction(1, TICKS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


async def watched(path: Path, store: ModelStore) -> tuple[list[AvatarState], list[Observation]]:
    options = EngineOptions(store=store, identity=False, semantics=False)
    with Engine.open(options) as engine, open_source(str(path)) as source:
        async with engine.pipeline.run(source, Policy.BLOCK, pose=False) as results:
            both = [(result.state, result.observation) async for result in results]
    return [state for state, _ in both], [seen for _, seen in both]


def error_mm(base: BaseAvatar, states: list[AvatarState], true: np.ndarray) -> float:
    avatar = base.average
    rows = [avatar.joint_names.index(name) for name in BODY_JOINTS]
    found = np.array([posed(avatar, state)[rows] for state in states])
    return float(procrustes_errors_mm(found, true).mean())


@pytest.fixture(scope="module")
def base(model_cache: ModelStore) -> BaseAvatar:
    return BaseAvatar.load(model_cache)


async def both_ways(
    path: Path, store: ModelStore, base: BaseAvatar, true: np.ndarray
) -> tuple[float, float, list[int]]:
    """Errors live and of the whole clip, and the times."""
    states, seen = await watched(path, store)
    assert len(states) == len(true), "every frame is there"
    whole = fit_clip(base, Identity(), seen)
    times = [state.captured_at_ns for state in states]
    assert (np.diff(times) > 0).all()
    return error_mm(base, states, true), error_mm(base, whole, true), times


async def test_240_frames_a_second(
    person: tuple[list[np.ndarray], np.ndarray],
    base: BaseAvatar,
    model_cache: ModelStore,
    tmp_path: Path,
) -> None:
    """Slow motion: every picture eight times; filters and contacts go by the clock."""
    pictures, joints = person
    slow = [p for p in pictures[::3] for _ in range(8)]
    path = write(tmp_path / "slow.mp4", slow, [n / 240 for n in range(len(slow))])
    live, whole, times = await both_ways(path, model_cache, base, np.repeat(joints[::3], 8, 0))
    assert live < 60.0 and whole < 60.0
    assert np.median(np.diff(times)) == pytest.approx(1e9 / 240, rel=0.05)


async def test_uneven_times(
    person: tuple[list[np.ndarray], np.ndarray],
    base: BaseAvatar,
    model_cache: ModelStore,
    tmp_path: Path,
) -> None:
    """As screen recorders and browsers write them."""
    pictures, joints = person
    gaps = np.random.default_rng(0).choice([1 / 60, 1 / 30, 1 / 8], FRAMES)
    path = write(tmp_path / "uneven.mp4", pictures, list(np.cumsum(gaps)))
    live, whole, times = await both_ways(path, model_cache, base, joints)
    assert live < 60.0 and whole < 60.0
    np.testing.assert_allclose(np.diff(times) * 1e-9, gaps[1:], atol=2e-3)


async def test_a_phone_held_upright(
    person: tuple[list[np.ndarray], np.ndarray],
    base: BaseAvatar,
    model_cache: ModelStore,
    tmp_path: Path,
) -> None:
    pictures, joints = person
    lying = [np.ascontiguousarray(np.rot90(picture)) for picture in pictures]
    times = [n / 30 for n in range(FRAMES)]
    path = write(tmp_path / "phone.mp4", lying, times, turned_deg=-90)
    live, whole, _ = await both_ways(path, model_cache, base, joints)
    assert live < 60.0 and whole < 60.0


async def test_4k_and_one_frame(
    person: tuple[list[np.ndarray], np.ndarray],
    base: BaseAvatar,
    model_cache: ModelStore,
    tmp_path: Path,
) -> None:
    pictures, joints = person
    large = cv2.resize(pictures[0], (2880, 2160), interpolation=cv2.INTER_CUBIC)
    path = write(tmp_path / "4k.mp4", [large], [0.0])
    live, whole, times = await both_ways(path, model_cache, base, joints[:1])
    assert live < 80.0 and whole < 80.0
    assert len(times) == 1
