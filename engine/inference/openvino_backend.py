"""OpenVINO on the CPU: the fastest of the backends on x86, AMD's included.

Its convolutions keep channels last. Pictures and maps pass in and out that way, as transposed
views: turning them over would take a fifth of the pose network's time (6.4 ms, then 5.1, with
AVX-512). With AVX2 alone the older kernels over blocks of eight channels can be a tenth faster
than those that OpenVINO would choose (pose 11.1 ms, then 10.0; hand 9.7, then 8.6; but the face
3.6 instead of 2.1): there both are timed when a network is first compiled.
"""

from __future__ import annotations

import mmap
import tempfile
import time
import xml.etree.ElementTree as ET
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

CHANNELS = 3
MAP = 4
"""Axes of a picture or map; everything else is a list of numbers."""
BLOCKED_KERNELS = {"Convolution": "jit_avx2_1x1,jit_avx2", "GroupConvolution": "jit_avx2_dw"}
"""oneDNN's names, in the order in which they are tried before OpenVINO's own choice."""
TIMED_RUNS = 20


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A compiled network, and the file that it reads its weights from in place."""

    compiled: Any
    file: mmap.mmap | None = None
    memory: Any = None
    """The file as OpenVINO was given it: it must live as long as the network."""

    @property
    def channels_last(self) -> bool:
        """Whether pictures and maps are (1, H, W, C)."""
        return bool(self.compiled.input().shape[-1] == CHANNELS)

    def give_back(self) -> None:
        """Let go of the file's pages; what is needed again is read again."""
        if self.file is not None and hasattr(mmap, "MADV_DONTNEED"):
            self.file.madvise(mmap.MADV_DONTNEED)


class OpenVinoSession:
    """One network, for one caller at a time; see :class:`engine.inference.session.Session`."""

    backend: BackendName = "openvino"

    def __init__(self, network: Network, loaded: _Loaded, precision: Precision) -> None:
        """Bind input and outputs to memory of our own, once.

        Raises:
            ModelFileError: the compiled network is not the one of the catalogue.
        """
        _check_shapes(network, loaded)
        self._loaded = loaded
        self.name = network.name
        self.precision = precision
        self.output_names = tuple(output.name for output in network.outputs)
        self._request = loaded.compiled.create_infer_request()
        last = loaded.channels_last
        image = _memory(network.input_shape, last)
        self._request.set_input_tensor(ov.Tensor(image, shared_memory=True))
        self.image: F32 = _channels_first(image, last)
        outputs = [_memory(output.shape, last) for output in network.outputs]
        for index, array in enumerate(outputs):
            self._request.set_output_tensor(index, ov.Tensor(array, shared_memory=True))
        self._outputs = tuple(_channels_first(array, last) for array in outputs)

    def __call__(self, image: F32) -> tuple[F32, ...]:
        """Run the network; the returned arrays are overwritten by the next call."""
        fill(self.image, image)
        self._request.infer()
        return self._outputs

    def rest(self) -> None:
        """Give back memory until the next call; see :class:`engine.inference.session.Session`."""
        self._loaded.give_back()


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
        "the faster kernels"
    )
    saved = CompiledCache(store, path.stem, recipe)
    blob = saved.read()
    if blob is not None:
        # As a tensor OpenVINO reads it in place; bytes it would copy first.
        memory = ov.Tensor(np.frombuffer(blob, np.uint8), shared_memory=True)
        loaded = _Loaded(core.import_model(memory, "CPU", options), blob, memory)
        loaded.give_back()  # most weights have been repacked
        return loaded
    compiled = _fastest(core, core.read_model(path), options)
    saved.write(compiled.export_model().getvalue())
    return _Loaded(compiled)


def _fastest(core: Any, model: Any, options: Mapping[str, Any]) -> Any:
    """The compiled model, by the kernels that run it in the least time on this machine."""
    usual = core.compile_model(_channels_last(model.clone()), "CPU", options)
    if _has_avx512(core):
        return usual
    blocked = core.compile_model(_blocked(core, model), "CPU", options)
    usual_s, blocked_s = _least_seconds(usual, blocked)
    return blocked if blocked_s < usual_s else usual


def _least_seconds(*compiled: Any) -> list[float]:
    """Of each, the shortest of some runs, taken in turns: whatever else runs slows all of them."""
    requests = [each.create_infer_request() for each in compiled]
    least = [float("inf")] * len(requests)
    for _ in range(TIMED_RUNS):
        for index, request in enumerate(requests):
            started = time.perf_counter()
            request.infer()
            least[index] = min(least[index], time.perf_counter() - started)
    return least


def _has_avx512(core: Any) -> bool:
    """OpenVINO names Winograd's convolutions among the abilities of such processors only."""
    return "WINOGRAD" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def _channels_last(model: Any) -> Any:
    """The model with its picture, and every output that is a map, as (1, H, W, C)."""
    steps = PrePostProcessor(model)
    ports = [steps.input()]
    ports += [steps.output(i) for i, port in enumerate(model.outputs) if len(port.shape) == MAP]
    for port in ports:
        port.tensor().set_layout(ov.Layout("NHWC"))
        port.model().set_layout(ov.Layout("NCHW"))
    return steps.build()


def _blocked(core: Any, model: Any) -> Any:
    """The model with a word for each convolution about which kernels to try first.

    OpenVINO takes that word only from its own file format.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        ov.serialize(model, path)
        weights = np.fromfile(path.with_suffix(".bin"), np.uint8)
        # Written a line above by OpenVINO itself.
        network = ET.parse(path).getroot()
    for layer in network.iter("layer"):
        kernels = BLOCKED_KERNELS.get(layer.get("type", ""))
        if kernels is None:
            continue
        notes = layer.find("rt_info")
        if notes is None:
            notes = ET.Element("rt_info")
            layer.insert(1, notes)
        ET.SubElement(notes, "attribute", name="primitives_priority", version="0", value=kernels)
    return core.read_model(ET.tostring(network), ov.Tensor(weights))


def _stored_shape(shape: tuple[int, ...], channels_last: bool) -> tuple[int, ...]:
    """Of the catalogue's shape, the one in memory."""
    turned = channels_last and len(shape) == MAP
    return (shape[0], *shape[2:], shape[1]) if turned else shape


def _memory(shape: tuple[int, ...], channels_last: bool) -> F32:
    return np.zeros(_stored_shape(shape, channels_last), np.float32)


def _channels_first(array: F32, channels_last: bool) -> F32:
    """A view with the catalogue's shape."""
    return np.moveaxis(array, -1, 1) if channels_last and array.ndim == MAP else array


@cache
def _core() -> Any:
    return ov.Core()


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "no reason given")


def _check_shapes(network: Network, loaded: _Loaded) -> None:
    found = [tuple(port.shape) for port in (*loaded.compiled.inputs, *loaded.compiled.outputs)]
    shapes = [network.input_shape, *(output.shape for output in network.outputs)]
    expected = [_stored_shape(shape, loaded.channels_last) for shape in shapes]
    if found != expected:
        raise ModelFileError(f"{network.name}: expected shapes {expected}, found {found}; {CURE}")
