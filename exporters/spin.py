"""SPIN's network (Kolotouros et al. 2019), from the public checkpoint's layout to ONNX.

ResNet-50 (He et al. 2016) to 2048 features, then HMR's regressor three times over (Kanazawa et al.
2018): features, pose, shape and camera in, a correction of the last three out. Rotations are told
by two columns each (Zhou et al. 2019). Written anew here; nobody has run the published weights
through it, whose licence is for research alone.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.errors import ModelFileError
from engine.inference.store import write_atomically

SIDE = 224
JOINTS, BETAS, CAMERA = 24, 10, 3
FEATURES = 2048
ITERATIONS = 3
MAX_BYTES = 1 << 30
_LAYERS = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
OUTPUTS = ("rotations", "betas", "camera")
_CURE = "name SPIN's own model_checkpoint.pt"


class _Bottleneck(nn.Module):
    """1 x 1, 3 x 3, 1 x 1, and past them the input: four times as wide at the end."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        out = 4 * width
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out, 1, bias=False), nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride != 1 or width_in != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(width_in, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        past = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + past)


class Spin(nn.Module):
    """Names of parameters are the checkpoint's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        width_in = 64
        for n, (width, blocks, stride) in enumerate(_LAYERS, 1):
            layer = []
            for block in range(blocks):
                layer.append(_Bottleneck(width_in, width, stride if block == 0 else 1))
                width_in = 4 * width
            setattr(self, f"layer{n}", nn.Sequential(*layer))
        state = 6 * JOINTS + BETAS + CAMERA
        self.fc1, self.fc2 = nn.Linear(FEATURES + state, 1024), nn.Linear(1024, 1024)
        self.decpose = nn.Linear(1024, 6 * JOINTS)
        self.decshape, self.deccam = nn.Linear(1024, BETAS), nn.Linear(1024, CAMERA)
        for name, count in (("pose", 6 * JOINTS), ("shape", BETAS), ("cam", CAMERA)):
            self.register_buffer(f"init_{name}", torch.zeros(1, count))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """From a crop to a body.

        Args:
            image: (B, 3, 224, 224), normalised by ImageNet's mean and spread.

        Returns:
            (B, 24, 3, 3) rotations relative to the parent, (B, 10) betas, (B, 3) weak-perspective
            camera: scale, x, y.
        """
        x = self.maxpool(torch.relu(self.bn1(self.conv1(image))))
        for n in range(1, 5):
            x = self.get_submodule(f"layer{n}")(x)
        features = x.mean(dim=(2, 3))
        count = image.shape[0]
        pose, shape, camera = (
            self.get_buffer(f"init_{name}").expand(count, -1) for name in ("pose", "shape", "cam")
        )
        for _ in range(ITERATIONS):
            # Dropout, which the original has here, is nothing when weights are frozen.
            x = self.fc2(self.fc1(torch.cat([features, pose, shape, camera], dim=1)))
            pose, shape = pose + self.decpose(x), shape + self.decshape(x)
            camera = camera + self.deccam(x)
        return rotations_of(pose), shape, camera


def rotations_of(columns: Tensor) -> Tensor:
    """(B, J, 3, 3) of (B, 6 J): for each joint a (3, 2) of two columns, made orthonormal."""
    pairs = columns.reshape(columns.shape[0], -1, 3, 2)
    first = nn.functional.normalize(pairs[..., 0], dim=-1)
    second = pairs[..., 1] - (first * pairs[..., 1]).sum(dim=-1, keepdim=True) * first
    second = nn.functional.normalize(second, dim=-1)
    third = torch.linalg.cross(first, second)
    return torch.stack([first, second, third], dim=-1)


def read_spin(path: Path) -> Spin:
    """The network with a checkpoint's weights, for inference.

    Only tensors are read: a checkpoint that would call anything is refused.

    Raises:
        ModelFileError: it is missing, damaged, hostile, or has other weights than SPIN's.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; {_CURE}")
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{path} is larger than {MAX_BYTES >> 30} GB; {_CURE}")
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, zipfile and pickle each have their own
        raise ModelFileError(f"{path} is no checkpoint of tensors alone; {_CURE}") from error
    weights = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise ModelFileError(f"{path} holds no dictionary of weights named model; {_CURE}")
    network = Spin()
    own = network.state_dict()
    missing = [name for name in own if name not in weights and "num_batches" not in name]
    strange = [name for name in weights if name not in own]
    if missing or strange:
        named = f"no {missing[0]}" if missing else f"{strange[0]}, which SPIN has not"
        raise ModelFileError(f"{path}: found {named}; {_CURE}")
    for name, tensor in weights.items():
        if tensor.shape != own[name].shape:
            raise ModelFileError(
                f"{path}: expected {name} {tuple(own[name].shape)}, found {tuple(tensor.shape)}"
            )
        if not torch.isfinite(tensor).all():
            raise ModelFileError(f"{path}: {name} holds numbers that are not finite; {_CURE}")
    network.load_state_dict(weights, strict=False)
    return network.eval()


def convert_spin(path: Path, out: Path) -> float:
    """Write the network as ONNX; returns how far ONNX Runtime is from torch on a made-up picture.

    Raises:
        ModelFileError: as :func:`read_spin`, or the two disagree.
    """
    import onnxruntime

    network = read_spin(path)
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, SIDE, SIDE))).float()
    with torch.no_grad(), TemporaryDirectory() as folder:
        expected = [tensor.numpy() for tensor in network(image)]
        written = Path(folder) / "spin.onnx"
        torch.onnx.export(
            network,
            (image,),
            written,
            input_names=["image"],
            output_names=list(OUTPUTS),
            opset_version=17,
            dynamo=False,
        )
        content = written.read_bytes()
    onnx.checker.check_model(onnx.load_from_string(content))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    found: list[NDArray[np.float32]] = session.run(list(OUTPUTS), {"image": image.numpy()})
    apart = max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))
    if not apart < 1e-3:
        raise ModelFileError(f"{path}: ONNX Runtime and torch differ by {apart:.2g}")
    write_atomically(out, content)
    return apart
