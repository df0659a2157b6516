"""Take over a network that is ONNX already: our names, and one picture instead of any number."""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from engine.errors import ModelFileError
from engine.inference.catalog import IMAGE, Network


def adopt(content: bytes, network: Network) -> onnx.ModelProto:
    """Rename input and outputs to the catalogue's, and fix their shapes.

    A fixed shape lets a backend plan its memory once and run without checking it each time.

    Raises:
        ModelFileError: the file is not an ONNX model with the catalogue's inputs and outputs.
    """
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise ModelFileError(f"{network.name}: expected an ONNX model ({error})") from error
    graph = model.graph
    if len(graph.input) != 1 or len(graph.output) != len(network.outputs):
        raise ModelFileError(f"{network.name}: expected one input and the catalogue's outputs")
    names = {graph.input[0].name: IMAGE}
    _fix_shape(graph.input[0], network.input_shape)
    for output in network.outputs:
        names[graph.output[output.source].name] = output.name
        _fix_shape(graph.output[output.source], output.shape)
    _rename(graph, names)
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model


def _fix_shape(info: onnx.ValueInfoProto, shape: Sequence[int]) -> None:
    for dimension, size in zip(info.type.tensor_type.shape.dim, shape, strict=True):
        dimension.dim_value = size


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for info in (*graph.input, *graph.output):
        info.name = names.get(info.name, info.name)
    for node in graph.node:
        for values in (node.input, node.output):
            values[:] = [names.get(name, name) for name in values]
