"""Sessions: one interface, chosen backend, clear errors for what a user can break."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from crops import as_input, astronaut_face

from engine.errors import AvatarError, ModelFileError
from engine.inference import openvino_backend
from engine.inference.catalog import NETWORKS
from engine.inference.session import choose_backend, open_session
from engine.inference.store import MANIFEST, ModelStore, write_atomically
from engine.perception.networks import Networks

NAME = "face_landmarks"
NETWORK = NETWORKS[NAME]
BACKENDS = ("openvino", "onnxruntime")


@pytest.fixture
def own_store(model_cache: ModelStore, tmp_path: Path) -> ModelStore:
    """A store of one network, which a test may damage."""
    shutil.copy2(model_cache.folder / NETWORK.file_name, tmp_path)
    shutil.copy2(model_cache.folder / MANIFEST, tmp_path)
    return ModelStore(tmp_path)


@pytest.mark.parametrize("backend", BACKENDS)
def test_outputs_are_reused_and_follow_the_picture(model_cache: ModelStore, backend: str) -> None:
    session = open_session(NAME, model_cache, backend)
    face = as_input(astronaut_face(), NETWORK)
    first = session(face)
    kept = first[0].copy()
    second = session(np.roll(face, 20, axis=2))
    assert all(a is b for a, b in zip(first, second, strict=True))
    assert np.abs(second[0] - kept).max() > 10
    np.testing.assert_array_equal(session(face)[0], kept)


@pytest.mark.parametrize("name", ["pose_landmarks", "hand_landmarks", "face_attention"])
def test_both_sets_of_kernels_agree(model_cache: ModelStore, name: str) -> None:
    """Which of them runs is a matter of time alone."""
    core = openvino_backend._core()
    model = core.read_model(model_cache.path(NETWORKS[name].file_name))
    prepared = (
        openvino_backend._channels_last(model.clone()),
        openvino_backend._blocked(core, model),
    )
    # Else newer processors would round to 16 bits, each set of kernels in its own way.
    options = {"NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    usual, blocked = (core.compile_model(each, "CPU", options) for each in prepared)
    picture = as_input(astronaut_face(), NETWORKS[name])
    first, second = usual(np.moveaxis(picture, 1, -1)), blocked(picture)
    for expected, found in zip(first.values(), second.values(), strict=True):
        turned = np.moveaxis(expected, -1, 1) if expected.ndim == 4 else expected
        assert np.abs(turned).max() > 0
        np.testing.assert_allclose(found, turned, atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_picture_written_in_place_needs_no_copy(model_cache: ModelStore, backend: str) -> None:
    session = open_session(NAME, model_cache, backend)
    face = as_input(astronaut_face(), NETWORK)
    expected = session(face)[0].copy()
    session.image[...] = 0
    session(session.image)
    session.image[...] = face
    np.testing.assert_array_equal(session(session.image)[0], expected)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_rest_changes_nothing_but_memory(model_cache: ModelStore, backend: str) -> None:
    session = open_session("pose_detection", model_cache, backend)
    session.image[...] = 0.25
    before = [output.copy() for output in session(session.image)]
    session.rest()
    for expected, found in zip(before, session(session.image), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_the_session_names_itself(model_cache: ModelStore) -> None:
    session = open_session(NAME, model_cache)
    assert (session.name, session.backend) == (NAME, choose_backend())
    assert session.output_names == ("landmarks", "presence")
    assert session.image.shape == NETWORK.input_shape


def test_sessions_of_two_threads_do_not_disturb_each_other(model_cache: ModelStore) -> None:
    face = as_input(astronaut_face(), NETWORK)
    pictures = [face, np.ascontiguousarray(face[..., ::-1])]
    expected = [open_session(NAME, model_cache)(picture)[0].copy() for picture in pictures]
    wrong: list[int] = []

    def run(which: int) -> None:
        session = open_session(NAME, model_cache)
        same = [np.array_equal(session(pictures[which])[0], expected[which]) for _ in range(20)]
        if not all(same):
            wrong.append(which)

    threads = [threading.Thread(target=run, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("size", [(1, 3, 1, 1), (1, 192, 192, 3), (2, 3, 192, 192)])
def test_a_picture_of_another_size_is_refused(
    model_cache: ModelStore, size: tuple[int, ...]
) -> None:
    session = open_session(NAME, model_cache)
    with pytest.raises(ValueError, match="expected a picture of shape"):
        session(np.zeros(size, np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_a_damaged_network_names_the_cure(own_store: ModelStore, backend: str, damage: str) -> None:
    path = own_store.folder / NETWORK.file_name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.unlink()
    if damage != "remove":
        length = {"flip": len(content), "truncate": len(content) // 2, "empty": 0}[damage]
        path.write_bytes(content[:length])
    with pytest.raises(ModelFileError, match="run `sars setup`"):
        open_session(NAME, own_store, backend)


def test_a_copied_cache_is_read_again_and_accepted(own_store: ModelStore) -> None:
    (own_store.folder / NETWORK.file_name).touch()
    assert open_session(NAME, own_store).name == NAME


def test_damaged_compiled_networks_are_compiled_again(own_store: ModelStore) -> None:
    face = as_input(astronaut_face(), NETWORK)
    expected = open_session(NAME, own_store, "openvino")(face)[0].copy()
    (blob,) = (own_store.folder / "compiled").glob("*.blob")
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 0xFF
    blob.write_bytes(content)
    # Not to the bit: which kernels are the faster ones may be found otherwise this time.
    again = open_session(NAME, own_store, "openvino")(face)[0]
    np.testing.assert_allclose(again, expected, atol=1e-3)
    assert blob.read_bytes() != content


def test_a_store_that_cannot_be_written_still_serves(
    own_store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr("engine.inference.compiled.write_atomically", refuse)
    assert open_session(NAME, own_store, "openvino").name == NAME
    assert not list((own_store.folder / "compiled").glob("*"))


@pytest.mark.parametrize("name", ["face_detection", "palm_detection", "pose_detection"])
def test_a_damaged_detector_is_known_at_the_start(
    model_cache: ModelStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Detectors are first used when somebody is searched for, which may be in mid-run."""

    def load(wanted: str, *_store_and_backend: object) -> object:
        if wanted == name:
            raise ModelFileError("damaged")
        return object()

    monkeypatch.setattr("engine.perception.networks.open_session", load)
    loading = Networks(model_cache)
    with pytest.raises(ModelFileError, match="damaged"), loading.preload():
        loading.shared(name)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"iris.onnx": 3}', '{"iris.onnx": {}}'])
def test_a_damaged_manifest_names_the_cure(tmp_path: Path, text: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ModelFileError, match="run `sars setup`"):
        ModelStore(tmp_path).path("iris.onnx")


def test_a_network_of_another_version_names_the_cure(own_store: ModelStore) -> None:
    manifest = own_store.folder / MANIFEST
    manifest.write_text(manifest.read_text().replace("translation ", "translation 0."))
    with pytest.raises(ModelFileError, match="another version"):
        open_session(NAME, own_store)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_who_may_read_a_file_is_the_user_s_choice(tmp_path: Path, umask: int, mode: int) -> None:
    """A store that one user fills for everybody must be readable to everybody."""
    before = os.umask(umask)
    try:
        write_atomically(tmp_path / "file", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_atomically(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_an_empty_store_is_incomplete(tmp_path: Path) -> None:
    assert not ModelStore(tmp_path / "absent").is_complete()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "tensorrt"}, "not built yet"),
        ({"backend": "abacus"}, "found abacus"),
        ({"threads": 0}, "threads"),
        ({"threads": 10_000}, "threads"),
        ({"precision": "int3"}, "found int3"),
        ({"backend": "onnxruntime", "precision": "bf16"}, "f32 only"),
    ],
)
def test_what_cannot_be_had_is_refused(
    model_cache: ModelStore, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(AvatarError, match=message):
        open_session(NAME, model_cache, **arguments)  # type: ignore[arg-type]


def test_an_unknown_network_is_refused(model_cache: ModelStore) -> None:
    with pytest.raises(ModelFileError, match="no network named"):
        open_session("nose", model_cache)


def test_the_environment_chooses_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SARS_BACKEND", "onnxruntime")
    assert choose_backend() == "onnxruntime"
    assert choose_backend("openvino") == "openvino"
    monkeypatch.setenv("SARS_BACKEND", "tensorrt")
    with pytest.raises(AvatarError, match="not built yet"):
        choose_backend()
