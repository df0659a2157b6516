"""Element-wise operators and the dense layer."""

from __future__ import annotations

import numpy as np

from exporters.tflite_reader import Operator
from exporters.translation import Translation


def add(translation: Translation, operator: Operator) -> None:
    """``ADD``: a + b with broadcasting."""
    _binary(translation, operator, "Add")


def multiply(translation: Translation, operator: Operator) -> None:
    """``MUL``: a * b with broadcasting."""
    _binary(translation, operator, "Mul")


def relu(translation: Translation, operator: Operator) -> None:
    """``RELU``."""
    _unary(translation, operator, "Relu")


def logistic(translation: Translation, operator: Operator) -> None:
    """``LOGISTIC``: 1 / (1 + exp(-x))."""
    _unary(translation, operator, "Sigmoid")


def prelu(translation: Translation, operator: Operator) -> None:
    """``PRELU`` with a slope per channel, TFLite's (1, 1, C)."""
    data, slope = operator.inputs
    channels_first = np.transpose(translation.constant(slope), (2, 0, 1))
    slopes = translation.builder.constant(channels_first)
    name = translation.builder.add("PRelu", translation.image(data), slopes)
    translation.define_image(operator.outputs[0], name)


def fully_connected(translation: Translation, operator: Operator) -> None:
    """``FULLY_CONNECTED``: x Wᵀ + b with x (N, I), W (O, I), b (O,)."""
    data, weights, *bias = operator.inputs
    operands = [translation.plain(index) for index in (data, weights, *bias) if index >= 0]
    name = translation.builder.add("Gemm", *operands, transB=1)
    name = translation.activation(name, operator.options["FusedActivationFunction"])
    translation.define_plain(operator.outputs[0], name)


def _unary(translation: Translation, operator: Operator, kind: str) -> None:
    name = translation.builder.add(kind, translation.operand(operator.inputs[0]))
    translation.define(operator.outputs[0], name)


def _binary(translation: Translation, operator: Operator, kind: str) -> None:
    rank = len(translation.shape(operator.outputs[0]))
    operands = [_broadcast(translation, index, rank) for index in operator.inputs]
    name = translation.builder.add(kind, *operands)
    name = translation.activation(name, operator.options["FusedActivationFunction"])
    translation.define(operator.outputs[0], name)


def _broadcast(translation: Translation, index: int, rank: int) -> str:
    """An operand whose rank may be lower: TFLite lines up the last axes, the channels."""
    shape = translation.shape(index)
    if rank != 4 or len(shape) == 4:
        return translation.operand(index)
    padded = translation.constant(index).reshape((1,) * (4 - len(shape)) + shape)
    return translation.builder.constant(np.transpose(padded, (0, 3, 1, 2)))
