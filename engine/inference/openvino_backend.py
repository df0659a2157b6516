"""OpenVINO on the CPU: the fastest of the backends on x86, AMD's included.

Its convolutions keep channels last. Pictures and maps pass in and out that way, as transposed
views: turning them over would take a fifth of the pose network's time (6.4 ms, then 5.1).
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino.preprocess import PrePostProcessor

from engine.errors import ModelFileError
from engine.inference.catalog import Network
from engine.inference.compiled import CompiledCache
from engine.inference.session import BackendName, Precision, fill
from engine.inference.store import CURE, ModelStore
from engine.types import F32

MAP = 4
"""Axes of a picture or map; everything else is a list of numbers."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A compiled network, and the memory that it reads its weights from in place."""

    compiled: Any
    memory: Any


class OpenVinoSession:
    """One network, for one caller at a time; see :class:`engine.inference.session.Session`."""

    backend: BackendName = "openvino"

    def __init__(self, network: Network, loaded: _Loaded, precision: Precision) -> None:
        """Bind input and outputs to memory of our own, once.

        Raises:
            ModelFileError: the compiled network is not the one of the catalogue.
        """
        _check_shapes(network, loaded.compiled)
        self._loaded = loaded
        self.name = network.name
        self.precision = precision
        self.output_names = tuple(output.name for output in network.outputs)
        self._request = loaded.compiled.create_infer_request()
        image = _memory(network.input_shape)
        self._request.set_input_tensor(ov.Tensor(image, shared_memory=True))
        self.image: F32 = _channels_first(image)
        outputs = [_memory(output.shape) for output in network.outputs]
        for index, array in enumerate(outputs):
            self._request.set_output_tensor(index, ov.Tensor(array, shared_memory=True))
        self._outputs = tuple(_channels_first(array) for array in outputs)

    def __call__(self, image: F32) -> tuple[F32, ...]:
        """Run the network; the returned arrays are overwritten by the next call."""
        fill(self.image, image)
        self._request.infer()
        return self._outputs


def open_network(
    network: Network, store: ModelStore, threads: int, precision: Precision
) -> OpenVinoSession:
    """Compile a network, or load what an earlier run compiled.

    Raises:
        ModelFileError: the model is missing or damaged.
    """
    path = store.path(network.file_name)
    options = {
        # More streams would run on threads of OpenVINO's own: 10 % of the frame rate.
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
        # Pinned, every one-thread session would sit on the first core.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        loaded = _load_or_compile(path, store, options)
    except RuntimeError as error:
        raise ModelFileError(
            f"OpenVINO cannot load {path} ({_first_line(error)}); {CURE}"
        ) from error
    return OpenVinoSession(network, loaded, precision)


def _load_or_compile(path: Path, store: ModelStore, options: Mapping[str, Any]) -> _Loaded:
    """OpenVINO's own cache would load a damaged file and compute nonsense; ours has checksums."""
    core = _core()
    source = store.manifest()[path.name].sha256
    device = core.get_property("CPU", "FULL_DEVICE_NAME")
    recipe = (
        f"OpenVINO {ov.__version__} on {device} with {sorted(options.items())} of {source}, "
        "channels last"
    )
    saved = CompiledCache(store, path.stem, recipe)
    blob = saved.read()
    if blob is not None:
        # As a tensor OpenVINO reads it in place; bytes it would copy first.
        memory = ov.Tensor(np.frombuffer(blob, np.uint8), shared_memory=True)
        loaded = _Loaded(core.import_model(memory, "CPU", options), memory)
        if hasattr(mmap, "MADV_DONTNEED"):
            # Most weights have been repacked by now; what is still read comes back from the file.
            blob.madvise(mmap.MADV_DONTNEED)
        return loaded
    compiled = core.compile_model(_channels_last(core.read_model(path)), "CPU", options)
    saved.write(compiled.export_model().getvalue())
    return _Loaded(compiled, None)


def _channels_last(model: Any) -> Any:
    """The model with its picture, and every output that is a map, as (1, H, W, C)."""
    steps = PrePostProcessor(model)
    ports = [steps.input()]
    ports += [steps.output(i) for i, port in enumerate(model.outputs) if len(port.shape) == MAP]
    for port in ports:
        port.tensor().set_layout(ov.Layout("NHWC"))
        port.model().set_layout(ov.Layout("NCHW"))
    return steps.build()


def _stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of the catalogue's shape, the one in memory."""
    return (shape[0], *shape[2:], shape[1]) if len(shape) == MAP else shape


def _memory(shape: tuple[int, ...]) -> F32:
    return np.zeros(_stored_shape(shape), np.float32)


def _channels_first(array: F32) -> F32:
    """A view with the catalogue's shape."""
    return np.moveaxis(array, -1, 1) if array.ndim == MAP else array


@cache
def _core() -> Any:
    return ov.Core()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")


def _check_shapes(network: Network, compiled: Any) -> None:
    found = [tuple(port.shape) for port in (*compiled.inputs, *compiled.outputs)]
    shapes = [network.input_shape, *(output.shape for output in network.outputs)]
    expected = [_stored_shape(shape) for shape in shapes]
    if found != expected:
        raise ModelFileError(f"{network.name}: expected shapes {expected}, found {found}; {CURE}")
