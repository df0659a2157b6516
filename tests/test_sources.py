"""Sources: what they deliver, and the one sentence they say about bad input."""

from __future__ import annotations

import sys
import threading
import time
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engine.errors import SourceError
from engine.inference.store import ModelStore
from engine.sources import open_source
from engine.sources.picture import PictureSource, camera_motion
from engine.sources.repeated import Repeated
from engine.sources.sequence import Chained, open_auto
from engine.sources.video import VideoSource
from engine.sources.webcam import NoCameraError, WebcamSource


def picture(width: int = 96, height: int = 64, value: int = 0) -> np.ndarray:
    """Left half dark, right half bright, so that turning shows."""
    image = np.full((height, width, 3), 20 + value, np.uint8)
    image[:, width // 2 :] = 220 - value
    return image


def write_video(
    path: Path,
    frames: int = 12,
    size: tuple[int, int] = (96, 64),
    times: list[int] | None = None,
    rough: bool = False,
) -> Path:
    """A short MPEG-4 clip; rough ones are noise, so that the frames take up the file."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        for index in range(frames):
            image = picture(*size, value=index)
            if rough:
                image = rng.integers(0, 255, image.shape, np.uint8)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = times[index] if times else index
            frame.time_base = Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sentence(spec: str | Path) -> str:
    with pytest.raises(SourceError) as caught:
        open_source(str(spec))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_video_gives_every_frame_in_order(tmp_path: Path) -> None:
    with open_source(str(write_video(tmp_path / "clip.mp4"))) as source:
        frames = list(source)
    assert source.size == (96, 64)
    assert source.fps == pytest.approx(25.0)
    assert not source.live
    assert [frame.index for frame in frames] == list(range(12))
    assert all(frame.image.shape == (64, 96, 3) for frame in frames)
    assert all(frame.image.flags.c_contiguous for frame in frames)
    times = [frame.captured_at_ns for frame in frames]
    assert times == sorted(times)
    assert frames[0].image[:, 60:].mean() > 180 > 60 > frames[0].image[:, :36].mean()


def test_pictures_of_a_video_do_not_share_memory(tmp_path: Path) -> None:
    with open_source(str(write_video(tmp_path / "clip.mp4"))) as source:
        first, second, *_ = source
    assert not np.shares_memory(first.image, second.image)


def test_a_turned_video_comes_upright(tmp_path: Path) -> None:
    """The rotation is in the track header's matrix; phones write it there."""
    path = write_video(tmp_path / "phone.mp4")
    data = path.read_bytes()
    place = data.index(b"tkhd") + 4 + 4 + 5 * 4 + 4 * 4
    one, zero = (65536).to_bytes(4, "big"), bytes(4)
    minus, unit = (-65536).to_bytes(4, "big", signed=True), (1 << 30).to_bytes(4, "big")
    matrix = zero + one + zero + minus + zero + zero + zero + zero + unit
    path.write_bytes(data[:place] + matrix + data[place + 36 :])
    with VideoSource(path) as source:
        frame = next(iter(source))
    assert source.size == (64, 96)
    assert frame.image.shape == (96, 64, 3)
    # Turned a quarter clockwise for display: the coded left half is on top.
    assert frame.image[:36].mean() < 60 < 180 < frame.image[60:].mean()


def test_a_paced_video_keeps_its_own_uneven_times(tmp_path: Path) -> None:
    path = write_video(tmp_path / "vfr.mkv", 4, times=[0, 1, 6, 7])
    with open_source(str(path), paced=True) as source:
        assert source.live
        times = [frame.captured_at_ns / 1e9 for frame in source]
    gaps = np.diff(times)
    assert gaps[1] == pytest.approx(0.2, abs=0.06)
    assert gaps[0] < 0.1


def test_a_damaged_middle_is_left_out(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 40, rough=True)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = bytes(range(200))
    path.write_bytes(bytes(data))
    with open_source(str(path)) as source:
        count = len(list(source))
    assert 5 <= count <= 40


def test_a_video_that_breaks_off_ends(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.avi", 40, rough=True)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(str(path)) as source:
        assert 0 < len(list(source)) < 40


def test_a_huge_video_is_scaled_down(tmp_path: Path) -> None:
    path = write_video(tmp_path / "big.mp4", 2, (2560, 1440))
    with open_source(str(path)) as source:
        assert source.size == (1280, 720)
        assert next(iter(source)).image.shape == (720, 1280, 3)


def test_an_8k_picture_is_scaled_down(tmp_path: Path) -> None:
    path = tmp_path / "8k.jpg"
    cv2.imwrite(str(path), picture(7680, 4320))
    with open_source(str(path), frames=2) as source:
        assert source.size == (1280, 720)
        assert len(list(source)) == 2


@pytest.mark.parametrize("name", ["empty.mp4", "empty.png"])
def test_zero_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    assert "empty" in sentence(tmp_path / name)


@pytest.mark.parametrize("name", ["notes.txt", "notes.mp4", "notes.png"])
def test_not_a_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("this is a shopping list\n" * 50)
    assert "cannot be read" in sentence(tmp_path / name)


def test_only_sound(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "song.wav"), "wb") as song:
        song.setnchannels(1)
        song.setsampwidth(2)
        song.setframerate(8000)
        song.writeframes(bytes(16000))
    assert "no pictures" in sentence(tmp_path / "song.wav")


def test_one_pixel(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "dot.png"), picture(1, 1))
    assert "1x1" in sentence(tmp_path / "dot.png")


def test_a_picture_with_its_end_missing(tmp_path: Path) -> None:
    path = tmp_path / "half.png"
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    cv2.imwrite(str(path), noise)
    path.write_bytes(path.read_bytes()[:60])
    assert "half.png" in sentence(path)


def test_what_does_not_exist_is_told_what_source_may_be() -> None:
    message = sentence("no/such/clip.mp4")
    assert all(word in message for word in ("webcam", "video", "picture", "portrait", "performer"))


def test_a_folder(tmp_path: Path) -> None:
    assert "not a file" in sentence(tmp_path)


def test_an_absent_camera() -> None:
    assert "camera 97" in sentence("97")


@pytest.mark.parametrize(
    "spec",
    [
        "performer:~nosuchuser/x.bvh",
        "performer:webcam,seed=" + "9" * 5000,
        "performer:" + "z" * 300,
    ],
)
def test_a_performance_that_cannot_be(spec: str, model_cache: ModelStore) -> None:
    assert len(sentence(spec)) < 600


@pytest.mark.parametrize(
    "spec", ["x" * 300, "~nosuchuser/clip.mp4", "9" * 5000, "clip\0.mp4", "y" * 100_000]
)
def test_a_name_that_no_file_can_have(spec: str) -> None:
    assert len(sentence(spec)) < 400


def test_a_folder_that_is_closed_to_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> bool:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "exists", refuse)
    assert "Permission denied" in sentence("private/clip.mp4")


def test_auto_says_nothing_where_there_is_no_camera(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    no_camera(monkeypatch, NoCameraError("none"))
    with open_auto() as source:
        assert source.size == (512, 512)
    assert caplog.messages == []


def test_auto_tells_of_a_camera_that_it_cannot_use(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else the user waves at a camera while a portrait plays."""
    no_camera(monkeypatch, SourceError("another program has the camera"))
    with open_auto() as source:
        assert source.size == (512, 512)
    assert caplog.messages == ["another program has the camera"]


def no_camera(monkeypatch: pytest.MonkeyPatch, error: SourceError) -> None:
    def refuse(_number: int) -> WebcamSource:
        raise error

    monkeypatch.setattr("engine.sources.webcam.WebcamSource", refuse)


def test_only_a_machine_without_cameras_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "exists", lambda _path: False)
    monkeypatch.setattr(Path, "glob", lambda _path, _pattern: iter([]))
    with pytest.raises(NoCameraError):
        WebcamSource(0)
    monkeypatch.setattr(Path, "glob", lambda _path, _pattern: iter([Path("/dev/video2")]))
    with pytest.raises(SourceError, match="video2") as caught:
        WebcamSource(0)
    assert not isinstance(caught.value, NoCameraError)


class FakeCapture:
    """A camera that gives some pictures and is then unplugged."""

    def __init__(self, pictures: int) -> None:
        self.left = pictures
        self.released = False

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        return (True, picture()[..., ::-1].copy()) if self.left >= 0 else (False, None)

    def set(self, key: int, value: float) -> bool:
        return True

    def get(self, key: int) -> float:
        return 30.0

    def release(self) -> None:
        self.released = True


def test_a_busy_camera_is_given_back() -> None:
    capture = FakeCapture(0)
    with pytest.raises(SourceError, match="another program"):
        WebcamSource(0, open_capture=lambda number: capture)
    assert capture.released


def test_an_unplugged_camera_ends_cleanly_and_says_why() -> None:
    capture = FakeCapture(4)
    with WebcamSource(0, open_capture=lambda number: capture) as source:
        frames = list(source)
    assert len(frames) == 3  # one was taken to see whether it works
    assert source.size == (96, 64)
    assert "unplugged" in str(source.end_reason)
    assert capture.released


def test_a_camera_is_not_released_under_a_read() -> None:
    """OpenCV has no lock there: the process would crash, and with it what was recorded."""
    reading, finish = threading.Event(), threading.Event()
    released_while_reading: list[bool] = []

    class Slow(FakeCapture):
        def read(self) -> tuple[bool, Any]:
            if self.left == 1:
                reading.set()
                finish.wait(5.0)
                reading.clear()
            return super().read()

        def release(self) -> None:
            released_while_reading.append(reading.is_set())
            super().release()

    source = WebcamSource(97, open_capture=lambda _: Slow(3))
    reader = threading.Thread(target=lambda: list(source))
    reader.start()
    assert reading.wait(5.0)
    closing = threading.Thread(target=source.close)
    closing.start()
    closing.join(0.1)
    finish.set()
    closing.join(5.0)
    reader.join(5.0)
    assert released_while_reading == [False]


def test_the_portrait_is_a_person_before_a_moving_camera() -> None:
    with open_source("portrait", frames=40) as source:
        frames = list(source)
    assert len(frames) == 40
    assert source.size == (512, 512)
    first = frames[0].image.astype(int)
    assert np.abs(frames[39].image - first).mean() > 5.0
    with open_source("portrait", frames=40) as again:
        assert all(np.array_equal(a.image, b.image) for a, b in zip(frames, again, strict=True))


def test_the_virtual_camera_starts_on_the_picture_itself() -> None:
    assert camera_motion(0.0, 640, 480) == pytest.approx(np.eye(3)[:2], abs=1e-9)
    image = picture()
    first = next(iter(PictureSource(image, frames=1)))
    assert np.array_equal(first.image, image)


def test_paced_pictures_come_in_real_time() -> None:
    start = time.monotonic()
    frames = list(PictureSource(picture(), frames=7, paced=True))
    assert time.monotonic() - start >= 6 / 30.0
    assert frames[-1].captured_at_ns - frames[0].captured_at_ns >= 0.19e9


def test_a_repeated_source_never_turns_the_clock_back() -> None:
    """Filters and predictors divide by the time between frames."""
    opened = []

    def portrait() -> PictureSource:
        opened.append(PictureSource(picture(), frames=60))
        return opened[-1]

    with Repeated(portrait, 150) as source:
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(150))
    gaps = np.diff([frame.captured_at_ns for frame in frames])
    assert gaps == pytest.approx(1e9 / 30, abs=2)
    assert len(opened) == 3


def test_chained_sources_never_turn_the_clock_back() -> None:
    openers = [lambda: PictureSource(picture(), frames=30)] * 2
    frames = list(Chained(openers))
    assert [frame.index for frame in frames] == list(range(60))
    assert np.diff([frame.captured_at_ns for frame in frames]).min() > 0


def test_live_frames_keep_the_time_at_which_they_were_taken() -> None:
    """Latency is measured from it."""
    with Repeated(lambda: PictureSource(picture(), frames=2, paced=True), 4) as source:
        for frame in source:
            assert 0 <= time.monotonic_ns() - frame.captured_at_ns < 1e9


def test_a_source_repeats_no_more_often_than_it_must() -> None:
    opened = []

    def once() -> PictureSource:
        opened.append(1)
        return PictureSource(picture(), frames=5)

    assert len(list(Repeated(once, 10))) == 10
    assert len(opened) == 2


def test_real_clips_play(shared_data: Path) -> None:
    for name, size, count in (
        ("lbax4n.mpg", (360, 288), 75),
        ("webcam_talking_400x300_25fps.mp4", (400, 300), 1337),
    ):
        with open_source(str(shared_data / "clips" / name)) as source:
            assert source.size == size
            assert sum(1 for _ in source) == count
