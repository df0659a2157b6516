"""One interface over the inference backends: a picture in, arrays out.

A session belongs to one thread at a time; open one for each thread that runs a network. Running
releases the GIL.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, Protocol, cast, get_args

import numpy as np

from engine.errors import AvatarError
from engine.inference.catalog import find_network
from engine.inference.store import ModelStore
from engine.types import F32

BackendName = Literal["openvino", "onnxruntime"]
Precision = Literal["f32", "bf16"]
BACKEND_VARIABLE = "SARS_BACKEND"
PRECISION_VARIABLE = "SARS_PRECISION"
MAX_THREADS = 64
_MODULES: Mapping[BackendName, str] = {
    "openvino": "engine.inference.openvino_backend",
    "onnxruntime": "engine.inference.onnxruntime_backend",
}


class Session(Protocol):
    """A loaded network."""

    name: str
    """As in the catalogue."""
    backend: BackendName
    precision: Precision
    """Of the arithmetic; pictures and outputs are float32 in either."""
    image: F32
    """(1, 3, H, W): the input's own memory. A picture written here needs no copy."""
    output_names: tuple[str, ...]

    def __call__(self, image: F32) -> tuple[F32, ...]:
        """Run the network.

        Args:
            image: (1, 3, H, W) in the catalogue's value range; ``session.image`` itself, or any
                array that is copied there.

        Raises:
            ValueError: the picture has another shape.

        Returns:
            The outputs in the catalogue's order, with the catalogue's shapes. They are the
            session's own memory: the next call overwrites them, so copy what must outlive it.
        """
        ...

    def rest(self) -> None:
        """Give back the memory that can be read again: for a network that runs now and then.

        The next call takes about a millisecond longer.
        """
        ...


def open_session(
    name: str,
    store: ModelStore,
    backend: str = "auto",
    threads: int = 1,
    precision: str = "auto",
) -> Session:
    """Load a network of the catalogue.

    Args:
        name: as in the catalogue.
        store: where set-up put the networks.
        backend: ``openvino``, ``onnxruntime``, or ``auto``: ``$SARS_BACKEND`` if set, else
            OpenVINO on x86 and ONNX Runtime elsewhere.
        threads: how many one call may use.
        precision: ``f32``, ``bf16``, or ``auto``: ``$SARS_PRECISION`` if set, else ``f32``.

    Raises:
        ModelFileError: the model is unknown, missing or damaged.
        AvatarError: the backend, the precision or the number of threads is not one we have.
    """
    network = find_network(name)
    if not 1 <= threads <= MAX_THREADS:
        raise AvatarError(f"expected 1 to {MAX_THREADS} inference threads, found {threads}")
    opener = import_module(_MODULES[choose_backend(backend)])
    return cast(
        "Session", opener.open_network(network, store, threads, choose_precision(precision))
    )


def choose_backend(asked: str = "auto") -> BackendName:
    """The backend to use.

    Raises:
        AvatarError: it is unknown, not built yet, or not installed.
    """
    if asked == "auto":
        asked = os.environ.get(BACKEND_VARIABLE) or "auto"
    if asked == "auto":
        asked = "openvino" if _prefers_openvino() else "onnxruntime"
    known = get_args(BackendName)
    if asked == "tensorrt":
        raise AvatarError(f"the TensorRT backend is not built yet; choose {' or '.join(known)}")
    if asked not in known:
        raise AvatarError(f"expected the inference backend {' or '.join(known)}, found {asked}")
    if find_spec(asked) is None:
        raise AvatarError(f"the inference backend {asked} is not installed: pip install {asked}")
    return cast("BackendName", asked)


def choose_precision(asked: str = "auto") -> Precision:
    """The arithmetic to use.

    Raises:
        AvatarError: it is unknown.
    """
    if asked == "auto":
        asked = os.environ.get(PRECISION_VARIABLE) or "f32"
    if asked not in get_args(Precision):
        known = " or ".join(get_args(Precision))
        raise AvatarError(f"expected the inference precision {known}, found {asked}")
    return cast("Precision", asked)


def fill(target: F32, image: F32) -> None:
    """Copy a picture into a session's input, unless it is that input.

    Raises:
        ValueError: the picture has another shape; numpy would broadcast it.
    """
    if image is target:
        return
    if image.shape != target.shape:
        raise ValueError(f"expected a picture of shape {target.shape}, found {image.shape}")
    np.copyto(target, image)


def _prefers_openvino() -> bool:
    on_x86 = platform.machine().lower() in ("x86_64", "amd64")
    return on_x86 and find_spec("openvino") is not None
