"""Collects ONNX nodes and constants, and puts a checked model together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 10


class OnnxBuilder:
    """An ONNX graph under construction. Values are named by the operator that makes them."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []
        self._constant_names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, array: NDArray[Any]) -> str:
        """The name of a constant; equal constants are stored once."""
        array = np.ascontiguousarray(array)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constant_names:
            name = f"c{len(self._constants)}"
            self._constants.append(numpy_helper.from_array(array, name))
            self._constant_names[key] = name
        return self._constant_names[key]

    def integers(self, *values: int) -> str:
        """The name of an int64 vector constant."""
        return self.constant(np.array(values, np.int64))

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        output = output or f"{kind}_{len(self._nodes)}"
        node = helper.make_node(kind, list(inputs), [output], name=output, **attributes)
        self._nodes.append(node)
        return output

    def model(
        self,
        name: str,
        inputs: Sequence[tuple[str, Sequence[int]]],
        outputs: Sequence[tuple[str, Sequence[int]]],
    ) -> onnx.ModelProto:
        """The finished model, float32 in and out, checked with shape inference."""
        graph = helper.make_graph(
            self._nodes,
            name,
            [_float_info(*value) for value in inputs],
            [_float_info(*value) for value in outputs],
            self._constants,
        )
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(
            graph, producer_name="sars", opset_imports=[opset], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _float_info(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))
