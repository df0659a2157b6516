"""The learned reading of the actions: what ships is sound, and what is broken is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelFileError
from engine.face.expression import SEEN_DIRECTLY, ExpressionSolver
from engine.face.expression_network import FILE, FURTHEST, default_network, load_network
from engine.face.expression_prior import default_prior
from engine.face.landmark_embedding import default_embedding
from engine.face.response import LandmarkResponse
from engine.types import ARKIT_NAMES

NOTHING = np.zeros(52)


@pytest.fixture(scope="module")
def response() -> LandmarkResponse:
    return LandmarkResponse(default_embedding())


def seen(response: LandmarkResponse, yaw: float, **strengths: float) -> np.ndarray:
    """(1434,) features of a face by the calibrated response."""
    expression = NOTHING.copy()
    for name, strength in strengths.items():
        expression[ARKIT_NAMES.index(name)] = strength
    return response.features(expression, yaw)


def read(response: LandmarkResponse, features: np.ndarray, yaw: float = 0.0) -> np.ndarray:
    return default_network().read(*response.normal_equations(features, yaw), yaw, 0.0)


def test_it_is_the_network_that_its_layers_say(response: LandmarkResponse) -> None:
    network = default_network()
    hessian, gradient = response.normal_equations(seen(response, 0.2, mouthSmileLeft=0.7), 0.2)
    x = np.append(gradient / np.maximum(np.diagonal(hessian), 1.0), (0.2, 0.1))
    x = np.clip((x - network.mean) * network.scale, -FURTHEST, FURTHEST)
    for weight, bias in zip(network.weights[:2], network.biases[:2], strict=True):
        x = np.maximum(weight @ x + bias, 0.0)
    expected = np.clip(network.weights[2] @ x + network.biases[2], 0.0, 1.0)
    np.testing.assert_allclose(network.read(hessian, gradient, 0.2, 0.1), expected, atol=1e-4)


@pytest.mark.parametrize("yaw", [-0.4, 0.0, 0.4])
@pytest.mark.parametrize("name", ["mouthSmile", "mouthFrown", "browDown", "mouthUpperUp"])
def test_an_action_is_read_where_it_is(response: LandmarkResponse, name: str, yaw: float) -> None:
    sides = [name + "Left", name + "Right"]
    found = read(response, seen(response, yaw, **dict.fromkeys(sides, 0.9)), yaw)
    strongest = {ARKIT_NAMES[k] for k in np.argsort(found)[-2:]}
    assert strongest == set(sides)
    assert min(found[ARKIT_NAMES.index(side)] for side in sides) > 0.4


def test_a_neutral_face_is_neutral(response: LandmarkResponse) -> None:
    assert read(response, np.zeros(1434, np.float32)).mean() < 0.02


def test_nonsense_stays_within_bounds(response: LandmarkResponse) -> None:
    found = read(response, np.full(1434, 900.0, np.float32))
    assert np.isfinite(found).all()
    assert found.min() >= 0.0
    assert found.max() <= 1.0


def test_what_is_seen_directly_is_left_to_least_squares(response: LandmarkResponse) -> None:
    features = seen(response, 0.0, jawOpen=0.6, browInnerUp=0.8, mouthSmileLeft=0.8)
    plain, helped = (
        ExpressionSolver(response, default_prior(), network)
        .solve(features, (0.0, 0.0), NOTHING)
        .expression
        for network in (None, default_network())
    )
    direct = np.array([name.startswith(SEEN_DIRECTLY) for name in ARKIT_NAMES])
    np.testing.assert_array_equal(plain[direct], helped[direct])
    assert np.abs(plain - helped)[~direct].max() > 0.01


def damaged(tmp_path: Path, **changes: np.ndarray | None) -> Path:
    with np.load(FILE) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    path = tmp_path / "network.npz"
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.mark.parametrize(
    "changes",
    [
        {"format_version": np.array(99)},
        {"format_version": np.array("one")},
        {"w1": None},
        {"w1": np.zeros((3, 3), np.float32)},
        {"b2": np.full(52, np.nan, np.float32)},
        {"mean": np.array(["a"] * 54)},
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, changes: dict[str, np.ndarray | None]) -> None:
    with pytest.raises(ModelFileError, match=r"network\.npz"):
        load_network(damaged(tmp_path, **changes))


def test_a_file_that_is_no_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "network.npz"
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ModelFileError, match="not a file of arrays"):
        load_network(path)


def test_flipped_bits_are_named(tmp_path: Path) -> None:
    path, content = tmp_path / "network.npz", bytearray(FILE.read_bytes())
    content[2000:2400] = bytes(value ^ 0x5A for value in content[2000:2400])
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged"):
        load_network(path)
