"""Set-up: downloads are checked and mended, interruptions cost one file, a second run nothing."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console

from engine.errors import SetupError
from engine.inference.catalog import NETWORKS, WHEELS, Wheel
from engine.inference.compiled import COMPILED_FOLDER
from engine.inference.store import BODY_FILE, MANIFEST, REQUIRED, ModelStore, sha256_of
from exporters import setup, warming, wheels
from exporters.setup import LOCK_FILE, WHEEL_FOLDER, run_setup
from exporters.wheels import fetch_wheel, read_member
from viewer import rehearsal_stamp

CONTENT = b"what the index serves"


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    """A pinned wheel of which an index could serve CONTENT."""
    served = tmp_path / "served"
    served.write_bytes(CONTENT)
    pinned = WHEELS["mediapipe"]
    return replace(pinned, sha256=sha256_of(served), size=len(CONTENT))


class Index:
    """Stands for pip: serves the given contents one after the other."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *contents: bytes) -> None:
        self.contents = list(contents)
        self.options: list[tuple[str, ...]] = []
        monkeypatch.setattr(wheels, "_run_pip", self.run)

    def run(self, wheel: Wheel, folder: Path, options: tuple[str, ...], _report: object) -> None:
        self.options.append(options)
        (folder / wheel.file_name).write_bytes(self.contents.pop(0))


def ignore(_done: int, _total: int) -> None:
    pass


def test_a_sound_wheel_is_fetched_once(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(monkeypatch, CONTENT)
    folder = tmp_path / "wheels"
    assert fetch_wheel(wheel, folder, ignore) == fetch_wheel(wheel, folder, ignore)
    assert index.options == [()]
    assert [path.name for path in folder.iterdir()] == [wheel.file_name]


def test_a_damaged_download_is_fetched_again_past_the_cache(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = Index(monkeypatch, CONTENT[:-1] + b"?", CONTENT)
    assert fetch_wheel(wheel, tmp_path, ignore).read_bytes() == CONTENT
    assert index.options == [(), ("--no-cache-dir",)]


@pytest.mark.parametrize("left", [b"", CONTENT[:5], CONTENT[:-1] + b"?"])
def test_a_damaged_copy_on_disk_is_mended(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: bytes
) -> None:
    Index(monkeypatch, CONTENT)
    (tmp_path / wheel.file_name).write_bytes(left)
    assert fetch_wheel(wheel, tmp_path, ignore).read_bytes() == CONTENT


def test_a_wheel_that_stays_wrong_is_an_error(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Index(monkeypatch, b"other", b"other")
    with pytest.raises(SetupError, match="wrong SHA-256"):
        fetch_wheel(wheel, tmp_path, ignore)
    assert not (tmp_path / wheel.file_name).exists()


def test_no_network_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(SetupError, match="can reach its package index") as caught:
        fetch_wheel(WHEELS["mediapipe"], tmp_path / "wheels", ignore)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "wheels").iterdir())


@pytest.mark.parametrize("damage", ["missing", "not a zip", "no member", "other member"])
def test_a_wheel_without_its_network_is_refused(tmp_path: Path, damage: str) -> None:
    network = NETWORKS["iris"]
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("else" if damage == "no member" else network.member, b"other")
    content = b"no zip" if damage == "not a zip" else archive.getvalue()
    if damage != "missing":
        (tmp_path / WHEELS["mediapipe"].file_name).write_bytes(content)
    with pytest.raises(SetupError, match=r"iris_landmark\.tflite"):
        read_member(tmp_path, network)


@pytest.mark.parametrize(
    ("manager", "said"),
    [
        ("apt-get", "sudo apt-get install -y libegl1 libgl1-mesa-dri"),
        ("dnf", "sudo dnf install -y mesa-libEGL mesa-dri-drivers"),
        ("pacman", "sudo pacman -S --needed mesa"),
        ("none", "Debian's libegl1 libgl1-mesa-dri"),
    ],
)
def test_the_exact_packages_are_named(tmp_path: Path, manager: str, said: str) -> None:
    """For a user who may not install them without asking, on whatever system."""
    for name, output in ((manager, ""), ("id", "echo 1000")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{output}\n")
        (tmp_path / name).chmod(0o755)
    script = Path(__file__).resolve().parents[1] / ".ci" / "packages"
    shell = shutil.which("sh")
    assert shell is not None, "make needs one too"
    ran = subprocess.run(
        [shell, script, "opengl"], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert ran.returncode == 1
    assert said in ran.stderr


@pytest.fixture
def fresh_store(
    model_cache: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ModelStore:
    """An empty store with the wheels at hand; bodies bake and networks compile at once."""
    (tmp_path / WHEEL_FOLDER).mkdir()
    for pinned in WHEELS.values():
        source = model_cache.folder / WHEEL_FOLDER / pinned.file_name
        (tmp_path / WHEEL_FOLDER / pinned.file_name).symlink_to(source)
    monkeypatch.setattr("exporters.anny_bake.bake", lambda path, _report: path.write_bytes(b"body"))
    monkeypatch.setattr(warming, "open_session", Compiler)
    return ModelStore(tmp_path)


class Compiler:
    """Stands for a session of a backend that keeps what it compiles."""

    def __init__(self, name: str, store: ModelStore) -> None:
        self.image = None
        folder = store.folder / COMPILED_FOLDER
        folder.mkdir(exist_ok=True)
        (folder / f"{name}-new.blob").touch()

    def __call__(self, _image: object) -> None:
        pass


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_set_up_completes_and_a_second_run_is_quick(fresh_store: ModelStore) -> None:
    run_setup(fresh_store, quiet())
    assert fresh_store.is_complete()
    times = {name: (fresh_store.folder / name).stat().st_mtime_ns for name in REQUIRED}
    start = time.perf_counter()
    run_setup(fresh_store, quiet())
    assert time.perf_counter() - start < 0.5
    assert times == {name: (fresh_store.folder / name).stat().st_mtime_ns for name in REQUIRED}


def test_an_interrupted_set_up_goes_on_where_it_was(
    fresh_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    translate = setup.translate_network

    def interrupted(content: bytes, network: object) -> bytes:
        if len(made) == 3:
            raise KeyboardInterrupt
        return record(content, network)

    def record(content: bytes, network: object) -> bytes:
        made.append(network.name)  # type: ignore[attr-defined]
        return translate(content, network)  # type: ignore[arg-type]

    monkeypatch.setattr(setup, "translate_network", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_setup(fresh_store, quiet())
    assert not fresh_store.is_complete()
    monkeypatch.setattr(setup, "translate_network", record)
    run_setup(fresh_store, quiet())
    assert fresh_store.is_complete()
    assert made == list(NETWORKS)


@pytest.mark.parametrize("name", ["gender.onnx", BODY_FILE, MANIFEST])
def test_damage_is_found_and_mended(fresh_store: ModelStore, name: str) -> None:
    run_setup(fresh_store, quiet())
    before = (fresh_store.folder / "gender.onnx").read_bytes()
    (fresh_store.folder / name).write_bytes(b"\0" * 100)
    run_setup(fresh_store, quiet())
    assert fresh_store.is_complete()
    assert (fresh_store.folder / "gender.onnx").read_bytes() == before


@pytest.mark.slow
def test_force_starts_over(fresh_store: ModelStore) -> None:
    run_setup(fresh_store, quiet())
    before = (fresh_store.folder / "gender.onnx").stat().st_mtime_ns
    run_setup(fresh_store, quiet(), force=True)
    assert (fresh_store.folder / "gender.onnx").stat().st_mtime_ns > before


def test_what_an_interrupted_download_left_is_removed(fresh_store: ModelStore) -> None:
    left = fresh_store.folder / WHEEL_FOLDER / "partial-x"
    left.mkdir()
    (left / "half").write_bytes(b"1")
    run_setup(fresh_store, quiet())
    assert not left.exists()


@pytest.mark.parametrize("change", ["a blob is gone", "a stale one is there", "an upgrade"])
def test_networks_are_compiled_again_when_they_must_be(
    fresh_store: ModelStore, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Else the next start compiles for ten seconds, or the cache grows with every upgrade."""
    run_setup(fresh_store, quiet())
    assert warming.is_warm(fresh_store)
    compiled = fresh_store.folder / COMPILED_FOLDER
    expected = {f"{name}-new.blob" for name in NETWORKS}
    if change == "a blob is gone":
        (compiled / "iris-new.blob").unlink()
    elif change == "a stale one is there":
        (compiled / "iris-old.blob").touch()
    else:
        monkeypatch.setattr(warming, "version", lambda _package: "9999.1")
    assert not warming.is_warm(fresh_store)
    run_setup(fresh_store, quiet())
    assert warming.is_warm(fresh_store)
    assert {path.name for path in compiled.glob("*.blob")} == expected


def test_two_set_ups_at_once_do_not_disturb_each_other(fresh_store: ModelStore) -> None:
    """`make demo` beside `make test`: the second must not delete what the first is fetching."""
    fetching = fresh_store.folder / WHEEL_FOLDER / "partial-x"
    fetching.mkdir()
    output = io.StringIO()
    second = threading.Thread(target=run_setup, args=(fresh_store, Console(file=output)))
    with FileLock(fresh_store.folder / LOCK_FILE):
        second.start()
        end = time.monotonic() + 10.0
        while "waiting for another" not in output.getvalue():
            assert time.monotonic() < end
            time.sleep(0.01)
        assert fetching.exists()
    second.join()
    assert fresh_store.is_complete()


@pytest.mark.parametrize("package", ["filelock", "onnx"])
def test_a_package_that_is_not_installed_is_named(
    fresh_store: ModelStore, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.delitem(sys.modules, "exporters.onnx_adoption", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SetupError, match=rf"{package}.*pip install 'sars-engine\[setup\]'"):
        run_setup(fresh_store, quiet())


def test_a_rehearsal_holds_for_one_numba_and_one_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal_stamp, "STAMP", tmp_path / "cache" / "rehearsed")
    assert not rehearsal_stamp.is_fresh()
    rehearsal_stamp.renew()
    assert rehearsal_stamp.is_fresh()
    with monkeypatch.context() as upgraded:
        upgraded.setattr(rehearsal_stamp, "version", lambda _package: "9999.1")
        assert not rehearsal_stamp.is_fresh()
    with monkeypatch.context() as moved:
        moved.setenv("SARS_CACHE", str(tmp_path))
        assert not rehearsal_stamp.is_fresh()


def test_a_program_folder_of_somebody_else_is_no_obstacle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(rehearsal_stamp, "STAMP", tmp_path / "file" / "rehearsed")
    rehearsal_stamp.renew()
    assert not rehearsal_stamp.is_fresh()


@pytest.mark.parametrize(
    "script", ["calibrate_face_embedding", "calibrate_landmarks", "embed_landmarks"]
)
def test_scripts_that_made_our_files_tell_their_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str
) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        import_module(f"exporters.{script}").main()
    assert ended.value.code == 0
    assert f"python -m exporters.{script}" in capsys.readouterr().out


def test_the_body_s_landmarks_are_those_that_the_script_finds(model_cache: ModelStore) -> None:
    """Vertices may differ where a left one and a right one are equally near."""
    from engine.body import landmark_embedding
    from exporters.embed_landmarks import embedding

    made = embedding(model_cache.folder / BODY_FILE)
    path = Path(landmark_embedding.__file__).with_suffix(".json")
    kept = json.loads(path.read_text())
    for name, entries in kept.items():
        for ours, theirs in zip(made[name], entries, strict=True):
            for key in ("name", "bone", "joints", "offset"):
                assert ours.get(key) == theirs.get(key)
            assert len(ours.get("vertices", {})) == len(theirs.get("vertices", {}))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(SetupError, match="SARS_CACHE"):
        run_setup(ModelStore(tmp_path / "file" / "cache"), quiet())


@pytest.mark.slow
def test_warming_fills_the_compiled_cache(
    model_cache: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="only OpenVINO keeps compiled networks")
    from rich.progress import Progress

    for name in (*REQUIRED, MANIFEST):
        shutil.copy2(model_cache.folder / name, tmp_path)
    monkeypatch.setenv("SARS_BACKEND", "openvino")
    with Progress(console=quiet()) as progress:
        warming.warm(ModelStore(tmp_path), progress)
    assert len(list((tmp_path / COMPILED_FOLDER).glob("*.blob"))) == len(NETWORKS)
    assert warming.is_warm(ModelStore(tmp_path))
