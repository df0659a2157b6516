"""The multi-view benchmark: its metrics mean what they are called, and bad folders are named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from states import rest_state

from benchmarks.joint_errors import joint_errors
from benchmarks.multiview import (
    HIPS,
    JOINTS,
    cameras_of,
    posed_landmarks,
    read_recording,
)
from engine.errors import SourceError
from engine.inference.store import ModelStore
from engine.sources.performer import person

RNG = np.random.default_rng(4)


def walk(frames: int = 60) -> np.ndarray:
    """(frames, 12, 3) joints that swing at different speeds."""
    t = np.linspace(0, 2, frames)[:, None, None]
    rest, speed = RNG.normal(size=(1, 12, 3)), RNG.uniform(2, 9, (1, 12, 1))
    return np.asarray(rest + 0.2 * np.sin(speed * t + np.arange(3)))


def turned(points: np.ndarray, scale: float) -> np.ndarray:
    q, _ = np.linalg.qr(RNG.normal(size=(3, 3)))
    return np.asarray(scale * points @ (q * np.linalg.det(q)).T + 3.0)


def test_procrustes_forgives_place_turn_and_size_but_no_mirror_image() -> None:
    truth = walk()
    moved = np.array([turned(frame, 1.7) for frame in truth])
    assert joint_errors(moved, truth, HIPS, 60).pa_mpjpe_mm < 1e-6
    assert joint_errors(truth * [-1, 1, 1], truth, HIPS, 60).pa_mpjpe_mm > 100.0


def test_mpjpe_is_about_the_hips_and_keeps_size() -> None:
    truth = walk()
    assert joint_errors(truth + 5.0, truth, HIPS, 60).mpjpe_mm < 1e-6
    root = truth[:, list(HIPS)].mean(axis=1, keepdims=True)
    expected = 1e3 * 0.1 * np.linalg.norm(truth - root, axis=2).mean()
    assert joint_errors(1.1 * truth, truth, HIPS, 60).mpjpe_mm == pytest.approx(expected)


def test_two_frames_late_is_two_frames_late() -> None:
    truth = walk(80)
    found = joint_errors(truth[8:-12], truth[10:-10], HIPS, 50)
    assert found.lag_ms == pytest.approx(40.0, abs=4.0)
    assert joint_errors(truth[:5], truth[:5], HIPS, 50).lag_ms is None


def test_jitter_is_the_error_of_accelerations() -> None:
    truth, drift = walk(), np.linspace(0, 1, 60)[:, None, None]
    assert joint_errors(truth + drift, truth, HIPS, 60).jitter_mm < 1e-6
    noise = RNG.normal(0, 1e-3, truth.shape)
    expected = 1e3 * np.linalg.norm(np.diff(noise, 2, axis=0), axis=2).mean()
    noisy = truth + noise
    noisy[:, list(HIPS)] = truth[:, list(HIPS)]
    found = joint_errors(noisy, truth, HIPS, 60).jitter_mm
    assert found == pytest.approx(expected * 10 / 12, rel=0.05)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A folder in the recording's layout, its film empty."""
    names = [*JOINTS, "Nose"]
    turn = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
    cameras = {"cam01": {"R": turn, "t": [0, 0, 4]}}
    described = {"cameras": cameras, "keypoint_names": names}
    (tmp_path / "cameras_opencv.json").write_text(json.dumps(described))
    np.save(tmp_path / "keypoints3d_world.npy", RNG.normal(size=(7, len(names), 3)))
    (tmp_path / "cam01.mp4").touch()
    return tmp_path


def test_world_to_camera(recording: Path) -> None:
    """Z up in the world is Y up in a camera that stands level; in front of it is -Z."""
    world = np.load(recording / "keypoints3d_world.npy")[:, :12]
    found = read_recording(recording, "cam01").joints_m
    np.testing.assert_allclose(found[..., 0], world[..., 0])
    np.testing.assert_allclose(found[..., 1], world[..., 2])
    np.testing.assert_allclose(found[..., 2], -world[..., 1] - 4.0)
    assert cameras_of(recording) == ["cam01"]


def test_what_is_wrong_with_a_recording_is_said(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no camera cam09.*it has cam01"):
        read_recording(recording, "cam09")
    truth = recording / "keypoints3d_world.npy"
    for spoilt, words in (
        (np.zeros((7, 5, 3)), r"frames x 13 x 3 metres"),
        (np.full((7, 13, 3), np.nan), "finite metres"),
        (np.zeros((0, 13, 3)), "frames x 13"),
        (np.array([{}]), "array of joints"),
    ):
        np.save(truth, spoilt)
        with pytest.raises(SourceError, match=words):
            read_recording(recording, "cam01")
    truth.unlink()
    with pytest.raises(SourceError, match=r"expected keypoints3d_world\.npy"):
        read_recording(recording, "cam01")
    described = recording / "cameras_opencv.json"
    described.write_text("{}")
    with pytest.raises(SourceError, match="keypoint_names"):
        read_recording(recording, "cam01")
    described.unlink()
    with pytest.raises(SourceError, match=r"expected cameras_opencv\.json"):
        read_recording(recording, "cam01")
    (recording / "cam01.mp4").unlink()
    with pytest.raises(SourceError, match=r"films such as cam01\.mp4"):
        cameras_of(recording)


def test_the_points_on_a_posed_body_move_with_it(model_cache: ModelStore) -> None:
    avatar, state = person(0, model_cache), rest_state()
    rest = posed_landmarks(avatar, state)
    heights = dict(zip(JOINTS, rest[:, 1], strict=True))
    assert heights["RShoulder"] > heights["RElbow"] > heights["RHip"] > heights["RAnkle"]
    assert rest[list(JOINTS).index("LHip"), 0] > 0 > rest[list(JOINTS).index("RHip"), 0]
