"""``sars eval expressions``: the peer is MediaPipe's own, and its figures mean what they say."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.blendshape_peer import MEMBER, BlendshapePeer
from benchmarks.child import sars_numbers
from benchmarks.expressions import correlation, lag_frames
from engine.errors import ModelFileError
from engine.inference.store import ModelStore
from engine.types import ARKIT_NAMES

PORTRAIT = (820, 1024)
"""Size of the picture that MediaPipe's expected landmarks were found in, px."""


@pytest.fixture
def task(shared_data: Path) -> Path:
    pytest.importorskip("ai_edge_litert")
    return shared_data / "models" / "face_landmarker.task"


@pytest.mark.parametrize(
    ("landmarks", "scores", "tolerance"),
    [
        ("face_blendshapes_in_landmarks.prototxt", "face_blendshapes_out.prototxt", 1e-4),
        # MediaPipe's own test allows as much: its landmarks are rounded.
        ("portrait_expected_face_landmarks.pbtxt", "portrait_expected_blendshapes.pbtxt", 1e-2),
    ],
)
def test_the_peer_says_what_mediapipe_says(
    task: Path, shared_data: Path, landmarks: str, scores: str, tolerance: float
) -> None:
    folder = shared_data / "face_geometry" / "expected"
    text, answer = ((folder / name).read_text() for name in (landmarks, scores))
    points = np.array(
        [re.findall(rf"\b{axis}: (\S+)", text) for axis in "xy"], np.float32
    ).T * np.array(PORTRAIT, np.float32)
    expected = dict(
        zip(
            re.findall(r'label: "(\w+)"', answer),
            map(float, re.findall(r"score: (\S+)", answer)),
            strict=True,
        )
    )
    found = BlendshapePeer(task).read(points)
    for name, score in zip(ARKIT_NAMES, found, strict=True):
        assert score == pytest.approx(expected.get(name, 0.0), abs=tolerance)


def test_a_missing_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"found no file; name yours with --model"):
        BlendshapePeer(tmp_path / "face_landmarker.task")


@pytest.mark.parametrize("content", [None, b"no network"])
def test_a_file_that_is_no_task_says_so(tmp_path: Path, content: bytes | None) -> None:
    pytest.importorskip("ai_edge_litert")
    path = tmp_path / "face_landmarker.task"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other" if content is None else MEMBER, content or b"")
    with pytest.raises(ModelFileError):
        BlendshapePeer(path)


@pytest.fixture
def acting() -> np.ndarray:
    """(300, 3) smooth actions."""
    rng = np.random.default_rng(0)
    time = np.arange(300)[:, None] / 25.0
    return 0.5 + 0.4 * np.sin(rng.uniform(2.0, 9.0, 3) * time + rng.uniform(0, 6, 3))


@pytest.mark.parametrize("frames", [-3, 0, 2])
def test_a_lag_is_found_whatever_the_strengths(acting: np.ndarray, frames: int) -> None:
    late = np.roll(acting, frames, axis=0) * [0.3, 1.0, 2.0] + 0.1
    assert lag_frames(late, acting) == pytest.approx(frames, abs=0.15)


def test_half_a_frame_is_a_lag(acting: np.ndarray) -> None:
    late = (acting + np.roll(acting, 1, axis=0)) / 2
    assert lag_frames(late, acting) == pytest.approx(0.5, abs=0.15)


def test_what_rests_agrees_with_nothing(acting: np.ndarray) -> None:
    assert lag_frames(np.zeros_like(acting), acting) is None
    assert correlation(np.zeros(300), acting[:, 0]) == 0.0
    assert correlation(acting[:, 0] * 0.2 + 0.3, acting[:, 0]) == pytest.approx(1.0)


@pytest.mark.slow
def test_a_talker_is_read_as_the_peer_reads_them(
    model_cache: ModelStore, task: Path, shared_data: Path, tmp_path: Path
) -> None:
    """Whoever watches an avatar talk sees jaw and lids move when the person's do."""
    clip, picture = shared_data / "clips" / "brbk7n.mpg", tmp_path / "worst.png"
    arguments = ["eval", "expressions", str(clip), "--model", str(task)]
    numbers = sars_numbers([*arguments, "--picture", str(picture)])
    assert numbers["frames"] == 75
    found = numbers["correlation"]
    assert min(found[name] for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileLeft")) > 0.8
    assert abs(numbers["lag_ms"]) < 40.0
    sheet = cv2.imread(str(picture))
    assert sheet is not None
    assert sheet.std() > 20.0, "faces, not blank panels"
