"""SPIN: the public layout is read, ONNX says what torch says, and its camera puts people right.

There are no weights to be had here: checkpoints are made of random numbers in the public layout.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import ModelFileError
from engine.types import Camera
from exporters.fitting.spin_start import SIDE, crop_of, person_square, place_of
from exporters.spin import Spin, convert_spin, read_spin, rotations_of


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = Spin()
    weights = network.state_dict()
    weights["init_pose"] = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0, 0.0] * 24])
    weights["init_cam"] = torch.tensor([[0.9, 0.0, 0.0]])
    path = tmp_path_factory.mktemp("spin") / "model_checkpoint.pt"
    torch.save({"model": weights, "epoch": 3}, path)
    return path


def test_the_layout_is_the_public_one(checkpoint: Path) -> None:
    """Names and sizes as torchvision's ResNet-50 and HMR's regressor have them."""
    own = {name: tuple(w.shape) for name, w in Spin().state_dict().items()}
    assert own["conv1.weight"] == (64, 3, 7, 7)
    assert own["layer1.0.downsample.0.weight"] == (256, 64, 1, 1)
    assert own["layer3.5.conv2.weight"] == (256, 256, 3, 3)
    assert own["layer4.2.bn3.running_var"] == (2048,)
    assert own["fc1.weight"] == (1024, 2048 + 144 + 13)
    assert own["init_pose"] == (1, 144)
    assert sum("conv" in name or "downsample.0" in name for name in own) == 53
    assert not read_spin(checkpoint).training


def test_the_regressor_is_three_corrections(checkpoint: Path) -> None:
    """Against the loop in numpy, from the features that the trunk gives."""
    network = read_spin(checkpoint)
    image = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        x = network.maxpool(torch.relu(network.bn1(network.conv1(image))))
        for n in range(1, 5):
            x = getattr(network, f"layer{n}")(x)
        features = x.mean(dim=(2, 3)).numpy().astype(np.float64)
        found = [tensor.numpy() for tensor in network(image)]
    w = {name: tensor.numpy().astype(np.float64) for name, tensor in network.state_dict().items()}
    state = np.concatenate([w["init_pose"], w["init_shape"], w["init_cam"]], 1).repeat(2, axis=0)
    for _ in range(3):
        hidden = np.concatenate([features, state], axis=1)
        for name in ("fc1", "fc2"):
            hidden = hidden @ w[f"{name}.weight"].T + w[f"{name}.bias"]
        steps = [
            hidden @ w[f"{n}.weight"].T + w[f"{n}.bias"] for n in ("decpose", "decshape", "deccam")
        ]
        state = state + np.concatenate(steps, axis=1)
    np.testing.assert_allclose(found[1], state[:, 144:154], atol=1e-3)
    np.testing.assert_allclose(found[2], state[:, 154:], atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16))
def test_two_columns_make_a_rotation(seed: int) -> None:
    columns = torch.randn(3, 24 * 6, generator=torch.Generator().manual_seed(seed)).double()
    turns = rotations_of(columns).numpy()
    np.testing.assert_allclose(
        turns @ turns.swapaxes(-1, -2), np.eye(3)[None, None].repeat(3, 0).repeat(24, 1), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(turns), 1.0)
    again = torch.from_numpy(np.ascontiguousarray(turns[..., :2]).reshape(3, -1))
    np.testing.assert_allclose(rotations_of(again).numpy(), turns, atol=1e-9)


@pytest.mark.slow
def test_onnx_says_what_torch_says(checkpoint: Path, tmp_path: Path) -> None:
    assert convert_spin(checkpoint, tmp_path / "spin.onnx") < 1e-4
    assert (tmp_path / "spin.onnx").stat().st_size > 90_000_000


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("cut", "no checkpoint of tensors"),
        ("pickle", "no checkpoint of tensors"),
        ("missing", "found no decpose.weight"),
        ("strange", "head.weight, which SPIN has not"),
        ("shape", "expected init_cam"),
        ("nan", "init_shape holds numbers that are not finite"),
        ("list", "no dictionary of weights"),
    ],
)
def test_other_files_are_refused(checkpoint: Path, tmp_path: Path, damage: str, says: str) -> None:
    path = tmp_path / "other.pt"
    weights = torch.load(checkpoint, weights_only=True)["model"]
    if damage == "cut":
        path.write_bytes(checkpoint.read_bytes()[:100_000])
    elif damage == "pickle":
        path.write_bytes(b"cos\nsystem\n(S'touch /tmp/never'\ntR.")
    elif damage == "list":
        torch.save([1, 2], path)
    else:
        if damage == "missing":
            del weights["decpose.weight"]
        elif damage == "strange":
            weights["head.weight"] = torch.zeros(1)
        elif damage == "shape":
            weights["init_cam"] = torch.zeros(1, 4)
        else:
            weights["init_shape"] = torch.full((1, 10), float("nan"))
        torch.save({"model": weights}, path)
    with pytest.raises(ModelFileError, match=says):
        read_spin(path)


def test_a_weak_camera_puts_the_person_where_the_crop_is() -> None:
    """Scale 1: a metre spans half the crop, seen from f * 2 / side metres away."""
    camera = Camera.from_size(640, 480)
    middle, side = np.array([400.0, 300.0]), 300.0
    place = place_of(np.array([1.0, 0.1, 0.2]), middle, side, camera)
    assert -place[2] == pytest.approx(2.0 * camera.focal_px / side)
    scale = camera.focal_px / -place[2]
    drawn = np.array([camera.cx + scale * place[0], camera.cy - scale * place[1]])
    np.testing.assert_allclose(drawn, middle + np.array([0.1, 0.2]) * side / 2.0)


def test_the_crop_is_centred_on_the_person_and_black_beyond_the_picture() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:60, 90:110] = 255
    middle, side = person_square(np.array([[80.0, 30.0], [120.0, 70.0]]))
    np.testing.assert_allclose(middle, [100.0, 50.0])
    crop = crop_of(image, middle, side)
    assert crop.shape == (1, 3, SIDE, SIDE)
    assert crop[0, :, 112, 112].min() > 2.0
    assert crop[0, :, 5, 5].max() < -1.7
    beyond = crop_of(image, np.array([0.0, 0.0]), 50.0)
    assert beyond[0, :, 20, 20].max() < -1.7
