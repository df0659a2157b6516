"""Translate a TFLite network into an ONNX network with NCHW images."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from engine.errors import ModelFileError
from engine.inference.catalog import IMAGE, Network, Output
from exporters.operators import TRANSLATORS
from exporters.tflite_reader import Graph, Operator, read_tflite
from exporters.translation import Translation


def translate(content: bytes, network: Network) -> onnx.ModelProto:
    """Translate a TFLite file into the network that the catalogue describes.

    Outputs that the catalogue leaves out are not computed (the body network's segmentation mask).

    Args:
        content: the TFLite file.
        network: its input and the outputs to keep.

    Raises:
        ModelFileError: the file is not the expected network, or uses an unknown operator.
    """
    graph = read_tflite(content)
    _check_input(graph, network)
    translation = Translation(graph)
    translation.define_image(graph.inputs[0], IMAGE)
    wanted = [graph.outputs[output.source] for output in network.outputs]
    for operator in _needed(graph, wanted):
        if operator.kind not in TRANSLATORS:
            raise ModelFileError(f"the TFLite operator {operator.kind} has no translation yet")
        TRANSLATORS[operator.kind](translation, operator)
    for output, index in zip(network.outputs, wanted, strict=True):
        _define_output(translation, output, index)
    outputs = [(output.name, output.shape) for output in network.outputs]
    return translation.builder.model(network.name, [(IMAGE, network.input_shape)], outputs)


def _check_input(graph: Graph, network: Network) -> None:
    expected = (1, *network.size, 3)
    found = [graph.tensors[index].shape for index in graph.inputs]
    if found != [expected]:
        raise ModelFileError(f"{network.name}: expected one input {expected}, found {found}")


def _needed(graph: Graph, wanted: Sequence[int]) -> list[Operator]:
    """The operators on which the wanted tensors depend, in order."""
    needed, kept = set(wanted), []
    for operator in reversed(graph.operators):
        if needed.intersection(operator.outputs):
            needed.update(operator.inputs)
            kept.append(operator)
    return kept[::-1]


def _define_output(translation: Translation, output: Output, index: int) -> None:
    """Give an output its name; a heat map stays an NCHW image, all else is reshaped."""
    builder = translation.builder
    if len(output.shape) == 4:
        builder.add("Identity", translation.image(index), output=output.name)
        return
    shape = builder.integers(*output.shape)
    builder.add("Reshape", translation.plain(index), shape, output=output.name)
