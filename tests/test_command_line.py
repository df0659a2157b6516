"""The command line as a user meets it: bad input gets one sentence, never a traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sars
from engine.avatar.glb_reader import read_glb
from engine.inference.store import ModelStore

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Calls ``sars`` in this process; gives its exit status and what it says of errors."""

    def call(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["sars", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            sars.main()
        return int(ended.value.code or 0), capsys.readouterr().err

    return call


def is_one_sentence(error: str, *words: str) -> bool:
    lines = error.strip().splitlines()
    return len(lines) == 1 and lines[0].startswith("sars: ") and all(w in error for w in words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("missing.mp4", None, ("missing.mp4", "SOURCE")),
        ("empty.mp4", b"", ("zero bytes",)),
        ("text.mp4", b"not a video, only words\n" * 50, ("cannot be read",)),
        ("noise.mkv", bytes(range(256)) * 40, ("cannot be read",)),
        ("cut.png", b"\x89PNG\r\n\x1a\n" + bytes(30), ("cut.png",)),
        ("broken.bvh", b"HIERARCHY\nROOT Hips\n{", ("broken.bvh",)),
    ],
)
def test_a_source_that_cannot_be_read(
    run: Run, tmp_path: Path, name: str, content: bytes | None, words: tuple[str, ...]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    source = f"performer:{path}" if name.endswith(".bvh") else path
    status, error = run("run", source, "--no-window", "--out", tmp_path / "out")
    assert status == 1
    assert is_one_sentence(error, *words), error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "{}", "--model", "{}/none.npz"), ("none.npz does not exist",)),
        (("convert", "spin", "{}/none.pt", "{}/o.onnx"), ("none.pt does not exist",)),
        (("eval", "3dpw", "{}"), ("sequenceFiles",)),
        (("eval", "3dpw", "{}", "--regressor", "{}/r.npy"), ("--regressor needs --models",)),
        (("eval", "ehf", "{}", "--model", "{}/none.npz"), ("01_img.png",)),
        (("eval", "micc", "{}"), ("subject_01",)),
        (("eval", "micc", "{}", "--lpips", "{}/n.onnx", "{}/w.npz"), ("n.onnx",)),
    ],
)
def test_data_sets_and_models_that_are_not_there(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    status, error = run(*(word.format(tmp_path) for word in arguments))
    assert status == 1
    assert is_one_sentence(error, *words), error
    assert not list(tmp_path.iterdir())


def test_a_picture_of_one_pixel(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    status, error = run("run", tmp_path / "dot.png", "--no-window", "--out", tmp_path / "out")
    assert status == 1
    assert is_one_sentence(error, "1x1", "at least"), error


def test_a_camera_that_is_not_there(run: Run, tmp_path: Path) -> None:
    if Path("/dev/video7").exists():
        pytest.skip("this machine has eight cameras")
    status, error = run("run", "7", "--no-window", "--out", tmp_path)
    assert status == 1
    assert is_one_sentence(error, "camera 7"), error


def test_models_that_were_never_set_up(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SARS_CACHE", str(tmp_path / "nothing"))
    status, error = run("bench", "engine", "--frames", 10)
    assert status == 1
    assert is_one_sentence(error, "sars setup"), error


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pose_landmarks.onnx", "palm_detection.onnx", "anny.npz"])
def test_a_damaged_model_is_named_with_its_cure(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model_cache: ModelStore, name: str
) -> None:
    folder = tmp_path / "store"
    ignored = shutil.ignore_patterns("compiled", "wheels", "peer-env", "paint*")
    shutil.copytree(model_cache.folder, folder, ignore=ignored)
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 0xFF
    (folder / name).write_bytes(data)
    monkeypatch.setenv("SARS_CACHE", str(folder))
    status, error = run("bench", "engine", "--frames", 10)
    assert status == 1
    assert is_one_sentence(error, name.split(".")[0], "sars setup"), error


def test_an_output_folder_that_is_a_file(run: Run, tmp_path: Path, model_cache: ModelStore) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    status, error = run("run", "portrait", "--no-window", "--out", taken)
    assert status == 1
    assert is_one_sentence(error, "taken"), error
    assert taken.read_text() == "mine"


def test_a_backend_that_is_not_there(run: Run, model_cache: ModelStore) -> None:
    status, error = run("bench", "engine", "--backend", "abacus", "--frames", 10)
    assert status == 1
    assert is_one_sentence(error, "openvino", "abacus"), error


@pytest.mark.parametrize("command", ["run", "serve"])
@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--age", "101", ("age_years", "0 to 100")),
        ("--age", "nan", ("age_years", "0 to 100")),
        ("--gender", "-0.1", ("gender", "0 to 1")),
        ("--proportions", "inf", ("proportions", "0 to 1")),
    ],
)
def test_a_person_that_cannot_be(
    run: Run, command: str, option: str, value: str, words: tuple[str, ...]
) -> None:
    status, error = run(command, option, value)
    assert status == 1
    assert is_one_sentence(error, *words), error


@pytest.mark.slow
def test_an_age_that_was_asked_for_is_the_avatars(
    run: Run, tmp_path: Path, model_cache: ModelStore
) -> None:
    """From the first frame on, and with --pin until the last."""
    Image.new("RGB", (64, 64)).save(tmp_path / "dark.png")
    status, error = run(
        "run", tmp_path / "dark.png", "--no-window", "--out", tmp_path, "--age", 8, "--pin"
    )
    assert status == 0, error
    avatar = read_glb((tmp_path / "avatar.glb").read_bytes())
    assert 0.9 < np.ptp(avatar.rest_vertices_m[:, 1]) < 1.4


@pytest.mark.slow
def test_a_server_that_is_not_there(run: Run) -> None:
    status, error = run("view", "http://127.0.0.1:9", "--headless", "--seconds", 1)
    assert status == 1
    assert is_one_sentence(error, "127.0.0.1:9"), error


@pytest.mark.slow
def test_a_large_picture_without_anybody_gives_a_report_of_nobody(
    run: Run, tmp_path: Path, model_cache: ModelStore
) -> None:
    grey = np.full((4320, 7680, 3), 127, np.uint8)
    Image.fromarray(grey).save(tmp_path / "8k.png")
    report = tmp_path / "report.json"
    status, error = run(
        "bench", "engine", "--source", tmp_path / "8k.png", "--frames", 8, "--json", report
    )
    assert status == 0, error
    tracking = json.loads(report.read_text())["tracking"]
    assert tracking == {"face": 0, "body": 0, "left_hand": 0, "right_hand": 0}
