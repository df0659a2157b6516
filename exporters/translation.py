"""What an operator's translation needs: the tensors made so far, in the layout it asks for.

TFLite's images are NHWC, ONNX's are NCHW. Every computed rank-4 tensor is kept as NCHW from one
operator to the next, and all others as TFLite has them, so that a transpose appears only where a
network itself turns an image into a list (the detectors' heads).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from engine.errors import ModelFileError
from exporters.onnx_builder import OnnxBuilder
from exporters.tflite_reader import Graph

Pads = tuple[int, int, int, int]
"""Top, left, bottom, right: ONNX's order."""
NO_PADS: Pads = (0, 0, 0, 0)
TO_NCHW = (0, 3, 1, 2)
TO_NHWC = (0, 2, 3, 1)
_ACTIVATIONS = {
    tflite.ActivationFunctionType.NONE: "",
    tflite.ActivationFunctionType.RELU: "Relu",
    tflite.ActivationFunctionType.RELU6: "Clip",
    tflite.ActivationFunctionType.TANH: "Tanh",
}


@dataclass(frozen=True, slots=True)
class Value:
    """An ONNX value that stands for a TFLite tensor."""

    name: str
    channels_first: bool
    pads: Pads = NO_PADS
    """Zeros that TFLite has added around the image and that a convolution can take over."""


class Translation:
    """A TFLite graph on its way to ONNX."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.builder = OnnxBuilder()
        self._values: dict[int, Value] = {}

    def shape(self, index: int) -> tuple[int, ...]:
        """The tensor's shape in TFLite's order."""
        return self.graph.tensors[index].shape

    def constant(self, index: int) -> NDArray[Any]:
        """A weight.

        Raises:
            ModelFileError: the tensor is computed, so it cannot become an ONNX attribute.
        """
        tensor = self.graph.tensors[index]
        if tensor.data is None:
            raise ModelFileError(f"expected the TFLite tensor {tensor.name} to be a constant")
        return tensor.data

    def is_constant(self, index: int) -> bool:
        """Whether the tensor is a weight."""
        return self.graph.tensors[index].data is not None

    def define_image(self, index: int, name: str, pads: Pads = NO_PADS) -> None:
        """Say that an NCHW ONNX value stands for this tensor."""
        self._values[index] = Value(name, channels_first=True, pads=pads)

    def define_plain(self, index: int, name: str) -> None:
        """Say that an ONNX value in TFLite's own order stands for this tensor."""
        self._values[index] = Value(name, channels_first=False)

    def define(self, index: int, name: str) -> None:
        """Define in the layout that a tensor of this rank is kept in."""
        if len(self.shape(index)) == 4:
            self.define_image(index, name)
        else:
            self.define_plain(index, name)

    def operand(self, index: int) -> str:
        """The tensor in the layout that its rank is kept in."""
        return self.image(index) if len(self.shape(index)) == 4 else self.plain(index)

    def padded_image(self, index: int) -> tuple[str, Pads]:
        """The tensor as NCHW, and the zeros still to be added around it."""
        value = self._as_image(index)
        return value.name, value.pads

    def image(self, index: int) -> str:
        """The tensor as NCHW, with its padding done."""
        value = self._as_image(index)
        if value.pads == NO_PADS:
            return value.name
        top, left, bottom, right = value.pads
        pads = self.builder.integers(0, 0, top, left, 0, 0, bottom, right)
        name = self.builder.add("Pad", value.name, pads)
        self._values[index] = replace(value, name=name, pads=NO_PADS)
        return name

    def plain(self, index: int) -> str:
        """The tensor in TFLite's own order."""
        if self.is_constant(index):
            return self.builder.constant(self.constant(index))
        value = self._values[index]
        if not value.channels_first:
            return value.name
        name = self.image(index)
        shape = self.shape(index)
        if shape[1] * shape[2] == 1 or shape[3] == 1:
            return self.builder.add("Reshape", name, self.builder.integers(*shape))
        return self.builder.add("Transpose", name, perm=TO_NHWC)

    def activation(self, name: str, fused: int) -> str:
        """Apply the activation that TFLite fuses into an operator.

        Raises:
            ModelFileError: the activation is none of those that the networks use.
        """
        if fused not in _ACTIVATIONS:
            raise ModelFileError(f"the TFLite activation {fused} has no translation yet")
        kind = _ACTIVATIONS[fused]
        if kind == "Clip":
            bounds = [self.builder.constant(np.array(limit, np.float32)) for limit in (0, 6)]
            return self.builder.add(kind, name, *bounds)
        return self.builder.add(kind, name) if kind else name

    def _as_image(self, index: int) -> Value:
        if self.is_constant(index):
            data = np.transpose(self.constant(index), TO_NCHW)
            return Value(self.builder.constant(data), channels_first=True)
        value = self._values[index]
        if not value.channels_first:
            name = self.builder.add("Transpose", value.name, perm=TO_NCHW)
            value = self._values[index] = Value(name, channels_first=True)
        return value
