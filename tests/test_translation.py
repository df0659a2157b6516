"""Translated networks compute what the originals compute under LiteRT and ONNX Runtime."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from crops import as_input, astronaut, astronaut_face, video_frame

from engine.errors import ModelFileError
from engine.inference.catalog import NETWORKS, Network
from engine.inference.session import open_session
from engine.inference.store import ModelStore
from engine.perception.landmarks import sigmoid
from engine.types import F32
from exporters.setup import WHEEL_FOLDER
from exporters.tflite_to_onnx import translate
from exporters.wheels import read_member

PARITY = 1e-3
"""Largest difference in an output: pixels of the crop, metres, or logits."""
ROUNDING = 1e-5
"""Of an output's largest value. LiteRT's own float32 rounding exceeds PARITY where depths reach
340 pixels: against a float64 evaluation it is 1.8e-3 off there, OpenVINO 4e-4."""
BACKENDS = ("openvino", "onnxruntime")
PLAIN = [name for name, n in NETWORKS.items() if n.wheel == "mediapipe" and "attention" not in name]
LIPS = (
    61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409,
    78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 191, 80, 81, 82, 13, 312, 311, 310, 415,
)  # fmt: skip
"""The first 40 of the attention network's lip points: the outer and the inner rim."""
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 466, 388, 387, 386, 385, 384, 398)
"""The first 16 points of each eye: its rim."""


def original(store: ModelStore, network: Network) -> bytes:
    return read_member(store.folder / WHEEL_FOLDER, network)


def lite_rt(content: bytes, image: F32) -> list[F32]:
    """Outputs of a TFLite file for an NHWC picture."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(o["index"]) for o in interpreter.get_output_details()]


def crop_for(network: Network) -> F32:
    whole = network.name.startswith("pose_") or network.name == "face_detection"
    face = astronaut_face()
    eye = face[75:100, 65:90]
    picture = astronaut() if whole else eye if network.name == "iris" else face
    return as_input(picture, network)


def assert_parity(network: Network, outputs: tuple[F32, ...], expected: list[F32]) -> None:
    for output, found in zip(network.outputs, outputs, strict=True):
        wanted = expected[output.source]
        if len(output.shape) == 4:
            wanted = wanted.transpose(0, 3, 1, 2)
        if output.name == "silhouette":  # logits reach 1600, where float32 rounds to tenths
            found, wanted = sigmoid(found), sigmoid(wanted)
        tolerance = max(PARITY, ROUNDING * float(np.abs(wanted).max()))
        difference = np.abs(found - wanted.reshape(output.shape)).max()
        assert difference <= tolerance, f"{network.name}.{output.name}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", PLAIN)
def test_portrait_parity(model_cache: ModelStore, name: str, backend: str) -> None:
    network = NETWORKS[name]
    image = crop_for(network)
    outputs = open_session(name, model_cache, backend)(image)
    assert_parity(network, outputs, lite_rt(original(model_cache, network), nhwc(image)))


@pytest.mark.parametrize("name", ["palm_detection", "hand_landmarks", "pose_landmarks"])
def test_video_parity(model_cache: ModelStore, shared_data: Path, name: str) -> None:
    network = NETWORKS[name]
    frame = video_frame(shared_data / "clips" / "signing_book.mkv", 60)
    image = as_input(frame[:, 80:560], network)
    outputs = open_session(name, model_cache)(image)
    assert_parity(network, outputs, lite_rt(original(model_cache, network), nhwc(image)))


@pytest.mark.parametrize("name", ["age", "gender"])
def test_adopted_networks_are_unchanged(model_cache: ModelStore, name: str) -> None:
    import onnxruntime

    network = NETWORKS[name]
    image = crop_for(network)
    session = onnxruntime.InferenceSession(original(model_cache, network))
    (expected,) = session.run(None, {"images": image})
    (found,) = open_session(name, model_cache)(image)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_astronaut_is_a_woman_in_her_thirties_or_forties(model_cache: ModelStore) -> None:
    tight = astronaut()[55:175, 162:282]
    (ages,) = open_session("age", model_cache)(as_input(tight, NETWORKS["age"]))
    (genders,) = open_session("gender", model_cache)(as_input(tight, NETWORKS["gender"]))
    assert 25 <= float(ages[0] @ np.arange(81)) <= 45
    assert genders[0, 0] > 0.9


def test_attention_mesh_agrees_with_the_plain_landmarker(model_cache: ModelStore) -> None:
    attention = run_by_name(model_cache, "face_attention")
    plain = run_by_name(model_cache, "face_landmarks")["landmarks"][0, :, :2]
    assert attention["presence"][0, 0] > 5
    assert mean_distance(attention["landmarks"][0, :, :2], plain) < 2.0
    assert mean_distance(attention["lips"][0, : len(LIPS)], plain[list(LIPS)]) < 2.5
    assert mean_distance(attention["right_eye"][0, : len(RIGHT_EYE)], plain[list(RIGHT_EYE)]) < 3
    assert mean_distance(attention["left_eye"][0, : len(LEFT_EYE)], plain[list(LEFT_EYE)]) < 3


def test_attention_refinement_agrees_with_the_478_landmarker(
    model_cache: ModelStore, shared_data: Path
) -> None:
    """A newer network without custom operators, for the same points on the same crop."""
    attention = run_by_name(model_cache, "face_attention")
    with zipfile.ZipFile(shared_data / "models" / "face_landmarker.task") as archive:
        content = archive.read("face_landmarks_detector.tflite")
    large = as_input(astronaut_face(), resized(NETWORKS["face_landmarks"], 256))
    points = lite_rt(content, nhwc(large))[0].reshape(478, 3)[:, :2] * 192 / 256
    assert mean_distance(attention["lips"][0, : len(LIPS)], points[list(LIPS)]) < 1.5
    assert mean_distance(attention["right_eye"][0, : len(RIGHT_EYE)], points[list(RIGHT_EYE)]) < 1.5
    assert mean_distance(attention["left_eye"][0, : len(LEFT_EYE)], points[list(LEFT_EYE)]) < 1.5
    assert mean_distance(attention["right_iris"][0], points[468:473]) < 1.5
    assert mean_distance(attention["left_iris"][0], points[473:478]) < 1.5


@pytest.mark.parametrize("backend", BACKENDS)
def test_attention_survives_any_picture(model_cache: ModelStore, backend: str) -> None:
    session = open_session("face_attention", model_cache, backend)
    for value in (0.0, 1.0, np.inf, np.nan):
        session(np.full(session.image.shape, value, np.float32))
    outputs = session(crop_for(NETWORKS["face_attention"]))
    assert all(np.isfinite(output).all() for output in outputs)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 64])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ModelFileError, match="TFLite"):
        translate(content, NETWORKS["iris"])


def test_another_network_is_refused(model_cache: ModelStore) -> None:
    content = original(model_cache, NETWORKS["iris"])
    with pytest.raises(ModelFileError, match="expected one input"):
        translate(content, NETWORKS["face_landmarks"])


def nhwc(image: F32) -> F32:
    return np.ascontiguousarray(image.transpose(0, 2, 3, 1))


def resized(network: Network, size: int) -> Network:
    from dataclasses import replace

    return replace(network, size=(size, size))


def run_by_name(store: ModelStore, name: str) -> dict[str, F32]:
    session = open_session(name, store)
    return dict(zip(session.output_names, session(crop_for(NETWORKS[name])), strict=True))


def mean_distance(points: F32, others: F32) -> float:
    return float(np.linalg.norm(points - others, axis=-1).mean())
