"""OpenVINO on the CPU: the fastest of the backends on x86, AMD's included."""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from engine.errors import ModelFileError
from engine.inference.catalog import Network
from engine.inference.compiled import CompiledCache
from engine.inference.session import BackendName, Precision, fill
from engine.inference.store import CURE, ModelStore
from engine.types import F32


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
        self.image: F32 = np.zeros(network.input_shape, np.float32)
        self._request = loaded.compiled.create_infer_request()
        self._request.set_input_tensor(ov.Tensor(self.image, shared_memory=True))
        self._outputs = tuple(np.zeros(output.shape, np.float32) for output in network.outputs)
        for index, array in enumerate(self._outputs):
            self._request.set_output_tensor(index, ov.Tensor(array, shared_memory=True))

    def __call__(self, image: F32) -> tuple[F32, ...]:
        """Run the network; the returned arrays are overwritten by the next call."""
        fill(self.image, image)
        self._request.infer()
        return self._outputs


def open_network(
    network: Network, store: ModelStore, threads: int, precision: Precision, count: int
) -> tuple[OpenVinoSession, ...]:
    """Compile a network, or load what an earlier run compiled, for ``count`` concurrent callers.

    Raises:
        ModelFileError: the model is missing or damaged.
    """
    path = store.path(network.file_name)
    options = {
        # A stream runs one request at a time; the streams of one network share its weights.
        "NUM_STREAMS": count,
        "INFERENCE_NUM_THREADS": threads * count,
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
    return tuple(OpenVinoSession(network, loaded, precision) for _ in range(count))


def _load_or_compile(path: Path, store: ModelStore, options: Mapping[str, Any]) -> _Loaded:
    """OpenVINO's own cache would load a damaged file and compute nonsense; ours has checksums."""
    core = _core()
    source = store.manifest()[path.name].sha256
    device = core.get_property("CPU", "FULL_DEVICE_NAME")
    recipe = f"OpenVINO {ov.__version__} on {device} with {sorted(options.items())} of {source}"
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
    compiled = core.compile_model(path, "CPU", options)
    saved.write(compiled.export_model().getvalue())
    return _Loaded(compiled, None)


@cache
def _core() -> Any:
    return ov.Core()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")


def _check_shapes(network: Network, compiled: Any) -> None:
    found = [tuple(port.shape) for port in (*compiled.inputs, *compiled.outputs)]
    expected = [network.input_shape, *(output.shape for output in network.outputs)]
    if found != expected:
        raise ModelFileError(f"{network.name}: expected shapes {expected}, found {found}; {CURE}")
