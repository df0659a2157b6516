"""A small network's reading of the 52 actions, from the same evidence as the least squares.

Under a linear response with Gaussian noise, ``G S^-1 f`` and the view hold all that a frame says
about the actions. Least squares turns that into the likeliest few actions; the network has seen
how actions really mix in the landmarks (a pucker on an open jaw, lids that follow the gaze) and
gives their mean. Each errs where the other does not, so the fit reports the average of both.

The file beside this module is written by ``exporters/train_expression_network.py``. Derived from
renders of Anny (Apache-2.0, data CC0) and MediaPipe's face landmark network (Apache-2.0); licence
of the file: Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numba import njit

from engine.avatar.array_file import open_arrays
from engine.errors import ModelFileError
from engine.types import ARKIT_NAMES, F32, F64

FILE = Path(__file__).with_name("expression_network.npz")
FORMAT_VERSION = 1
ACTIONS = len(ARKIT_NAMES)
INPUTS = ACTIONS + 2
LEAST_INFORMATION = 1.0
"""An action that landmarks do not move with has none, and is not divided by it."""
FURTHEST = 6.0
"""Standard deviations at which an input is cut off: what nobody trained on means nothing."""
CURE = "install the package again, or run `python -m exporters.train_expression_network`"
_MAX_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class ExpressionNetwork:
    """Two hidden layers of rectified units; several trained networks' mean, side by side."""

    mean: F32
    """(54,) of the inputs, as trained on."""
    scale: F32
    """(54,) one over their standard deviation."""
    weights: tuple[F32, F32, F32]
    """(H, 54), (K, H), (52, K)."""
    biases: tuple[F32, F32, F32]
    """(H,), (K,), (52,)."""

    def read(self, hessian: F64, gradient: F64, yaw: float, pitch: float) -> F64:
        """The mean of each action given one frame.

        Args:
            hessian: (52, 52) ``G S^-1 G'`` at this yaw.
            gradient: (52,) ``G S^-1 f``.
            yaw: of the head as the camera sees it, rad.
            pitch: likewise.

        Returns:
            (52,) in [0, 1].
        """
        evidence = matched(np.diagonal(hessian), gradient)
        inputs = np.append(evidence, (yaw, pitch)).astype(np.float32)
        inputs = np.clip((inputs - self.mean) * self.scale, -FURTHEST, FURTHEST)
        actions = _forward(inputs, *self.weights, *self.biases)
        return np.asarray(actions, np.float64)


def matched(information: F64, gradient: F64) -> F64:
    """(..., 52) each action's strength if it were the only one: its matched filter's answer."""
    return np.asarray(gradient / np.maximum(information, LEAST_INFORMATION))


# Not np.dot: Numba's needs SciPy's linear algebra, 60 MB and 0.2 s at the start.
@njit(cache=True, nogil=True, fastmath=True)
def _layer(weights: F32, x: F32, bias: F32) -> F32:
    """(M,) ``max(W x + b, 0)``."""
    out = np.empty_like(bias)
    for m in range(weights.shape[0]):
        total = bias[m]
        for n in range(weights.shape[1]):
            total += weights[m, n] * x[n]
        out[m] = max(total, np.float32(0.0))
    return out


@njit(cache=True, nogil=True)
def _forward(x: F32, w0: F32, w1: F32, w2: F32, b0: F32, b1: F32, b2: F32) -> F32:
    out = _layer(w2, _layer(w1, _layer(w0, x, b0), b1), b2)
    return np.minimum(out, np.float32(1.0))


def load_network(path: Path = FILE) -> ExpressionNetwork:
    """Read and check the weights.

    Raises:
        ModelFileError: the file is missing, damaged, or of another version or shape.
    """
    with open_arrays(path, _MAX_BYTES, CURE) as file:
        arrays = {name: file.read(name) for name in file.names}
    version = arrays.get("format_version")
    if version is None or not np.array_equal(version, FORMAT_VERSION):
        raise ModelFileError(
            f"{path} is not an expression network of version {FORMAT_VERSION}; {CURE}"
        )
    names = ("mean", "scale", "w0", "w1", "w2", "b0", "b1", "b2")
    if not all(name in arrays and arrays[name].dtype.kind == "f" for name in names):
        raise ModelFileError(f"{path} should hold the float arrays {', '.join(names)}; {CURE}")
    mean, scale, w0, w1, w2, b0, b1, b2 = (
        np.ascontiguousarray(arrays[name], np.float32) for name in names
    )
    hidden, second = b0.size, b1.size
    expected = (
        (mean, (INPUTS,)), (scale, (INPUTS,)), (w0, (hidden, INPUTS)), (w1, (second, hidden)),
        (w2, (ACTIONS, second)), (b0, (hidden,)), (b1, (second,)), (b2, (ACTIONS,)),
    )  # fmt: skip
    for array, shape in expected:
        if array.shape != shape or not np.isfinite(array).all():
            raise ModelFileError(
                f"{path}: expected finite layers that fit each other from {INPUTS} inputs to "
                f"{ACTIONS} actions, found an array of shape {array.shape}; {CURE}"
            )
    return ExpressionNetwork(mean, scale, (w0, w1, w2), (b0, b1, b2))


@cache
def default_network() -> ExpressionNetwork:
    """The weights that ship with the package, read once."""
    return load_network()
