"""LPIPS (Zhang et al. 2018) of two pictures, from the user's own weights: the measure of Table II.

    d(x, y) = sum_l mean over places of w_l . (f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)|)^2

The features f_l come from an ONNX network (AlexNet's or VGG's activations), the weights w_l >= 0
from an ``.npz``; neither is shipped, for none may be fetched here. The network takes ``image``
(1, 3, H, W), RGB in [-1, 1], normalised by the constants of LPIPS itself.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from engine.avatar.array_file import open_arrays
from engine.errors import ModelFileError
from engine.types import F32, F64, U8

MAX_BYTES = 1 << 30
MOST_LAYERS = 16
_SHIFT = np.array([-0.030, -0.088, -0.188], np.float32).reshape(1, 3, 1, 1)
_SCALE = np.array([0.458, 0.448, 0.450], np.float32).reshape(1, 3, 1, 1)
TINY = 1e-10


class Lpips:
    """A feature network and the weights of its layers."""

    def __init__(self, network: Path, weights: Path) -> None:
        """Load both.

        Args:
            network: ONNX with the input ``image`` and one output (1, C_l, h, w) a layer.
            weights: ``.npz`` of ``lin0``, ``lin1``, ... (C_l,), in the order of the outputs.

        Raises:
            ModelFileError: one is missing, damaged, or they do not belong together.
        """
        if not network.is_file() or network.stat().st_size > MAX_BYTES:
            raise ModelFileError(f"expected a feature network as ONNX at {network}")
        try:
            self._session = onnxruntime.InferenceSession(
                network.read_bytes(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a class of its own for every fault
            raise ModelFileError(f"{network} is no network that can be read") from error
        names = [one.name for one in self._session.get_inputs()]
        if names != ["image"]:
            raise ModelFileError(f"expected {network} to take `image`, found {names}")
        count = len(self._session.get_outputs())
        if not 0 < count <= MOST_LAYERS:
            raise ModelFileError(f"expected 1 to {MOST_LAYERS} layers in {network}, found {count}")
        cure = "name the .npz of lin0, lin1 and so on"
        with open_arrays(weights, MAX_BYTES, cure) as file:
            self._weights = [file.read(f"lin{n}").astype(np.float64).ravel() for n in range(count)]
        if any(not np.isfinite(w).all() or (w < 0.0).any() for w in self._weights):
            raise ModelFileError(f"expected weights that are not negative in {weights}")

    def __call__(self, a: U8, b: U8) -> float:
        """How different two pictures (H, W, 3) of one size look; 0 for the same.

        Raises:
            ModelFileError: a layer has another number of channels than its weights, or the network
                does not run on such a picture.
        """
        total = 0.0
        pairs = zip(self._features(a), self._features(b), self._weights, strict=True)
        for n, (one, other, weights) in enumerate(pairs):
            if one.ndim != 4 or one.shape[1] != len(weights):
                raise ModelFileError(
                    f"expected layer {n} as (1, {len(weights)}, h, w), as many channels as it has "
                    f"weights, found {one.shape}"
                )
            apart = (_unit(one) - _unit(other)) ** 2
            total += float(np.einsum("c,chw->hw", weights, apart[0]).mean())
        return total

    def _features(self, picture: U8) -> list[F32]:
        image = picture.astype(np.float32).transpose(2, 0, 1)[None] / 127.5 - 1.0
        try:
            found: list[F32] = self._session.run(None, {"image": (image - _SHIFT) / _SCALE})
        except Exception as error:  # onnxruntime raises a class of its own for every fault
            raise ModelFileError(
                f"the feature network does not run on pictures {image.shape} ({error})"
            ) from error
        return found


def _unit(features: F32) -> F64:
    """Every place's (1, C, h, w) features at length one."""
    wide = features.astype(np.float64)
    return np.asarray(wide / (np.sqrt((wide**2).sum(axis=1, keepdims=True)) + TINY), np.float64)
