"""Pooling and reduction over an image."""

from __future__ import annotations

import tflite

from engine.errors import ModelFileError
from exporters.operators.convolution import same_pads
from exporters.tflite_reader import Operator
from exporters.translation import NO_PADS, Translation


def max_pool(translation: Translation, operator: Operator) -> None:
    """``MAX_POOL_2D``."""
    _pool(translation, operator, "MaxPool")


def average_pool(translation: Translation, operator: Operator) -> None:
    """``AVERAGE_POOL_2D``: added zeros do not count, in TFLite as in ONNX."""
    _pool(translation, operator, "AveragePool")


def mean(translation: Translation, operator: Operator) -> None:
    """``MEAN`` over height and width: (1, H, W, C) to (1, C) or (1, 1, 1, C).

    Raises:
        ModelFileError: the mean is taken over other axes.
    """
    data, axes = operator.inputs
    if sorted(translation.constant(axes).tolist()) != [1, 2]:
        raise ModelFileError("expected a TFLite MEAN over height and width, found other axes")
    name = translation.builder.add("GlobalAveragePool", translation.image(data))
    if not operator.options["KeepDims"]:
        name = translation.builder.add("Flatten", name)
    translation.define(operator.outputs[0], name)


def _pool(translation: Translation, operator: Operator, kind: str) -> None:
    options = operator.options
    kernel = (options["FilterHeight"], options["FilterWidth"])
    strides = (options["StrideH"], options["StrideW"])
    _, height, width, _ = translation.shape(operator.inputs[0])
    same = options["Padding"] == tflite.Padding.SAME
    name = translation.builder.add(
        kind,
        translation.image(operator.inputs[0]),
        kernel_shape=kernel,
        strides=strides,
        pads=same_pads((height, width), kernel, strides) if same else NO_PADS,
    )
    name = translation.activation(name, options["FusedActivationFunction"])
    translation.define_image(operator.outputs[0], name)
