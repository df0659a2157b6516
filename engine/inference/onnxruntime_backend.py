"""ONNX Runtime on the CPU: runs wherever Python does."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime

from engine.errors import AvatarError, ModelFileError
from engine.inference.catalog import IMAGE, Network
from engine.inference.session import BackendName, Precision, fill
from engine.inference.store import CURE, ModelStore
from engine.types import F32

ERRORS_ONLY = 3


class OnnxRuntimeSession:
    """One network; see :class:`engine.inference.session.Session`."""

    backend: BackendName = "onnxruntime"
    precision: Precision = "f32"

    def __init__(self, network: Network, session: Any) -> None:
        """Bind input and outputs to memory of our own, once.

        Raises:
            ModelFileError: the file is not the network of the catalogue.
        """
        _check_shapes(network, session)
        self.name = network.name
        self.output_names = tuple(output.name for output in network.outputs)
        self.image: F32 = np.zeros(network.input_shape, np.float32)
        self._outputs = tuple(np.zeros(output.shape, np.float32) for output in network.outputs)
        self._session = session
        self._binding = session.io_binding()
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        self._binding.bind_ortvalue_input(IMAGE, value(self.image))
        for name, array in zip(self.output_names, self._outputs, strict=True):
            self._binding.bind_ortvalue_output(name, value(array))

    def __call__(self, image: F32) -> tuple[F32, ...]:
        """Run the network; the returned arrays are overwritten by the next call."""
        fill(self.image, image)
        self._session.run_with_iobinding(self._binding)
        return self._outputs

    def rest(self) -> None:
        """Nothing that could be read again."""


def open_network(
    network: Network, store: ModelStore, threads: int, precision: Precision
) -> OnnxRuntimeSession:
    """Load a network.

    Raises:
        ModelFileError: the model is missing or damaged.
        AvatarError: another precision than float32 is asked for.
    """
    if precision != "f32":
        raise AvatarError(f"ONNX Runtime runs these networks in f32 only, found {precision}")
    path = store.path(network.file_name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = ERRORS_ONLY
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exception types share no public base
        raise ModelFileError(f"ONNX Runtime cannot load {path} ({error}); {CURE}") from error
    return OnnxRuntimeSession(network, session)


def _check_shapes(network: Network, session: Any) -> None:
    found = [tuple(port.shape) for port in (*session.get_inputs(), *session.get_outputs())]
    expected = [network.input_shape, *(output.shape for output in network.outputs)]
    if found != expected:
        raise ModelFileError(f"{network.name}: expected shapes {expected}, found {found}; {CURE}")
