"""Convolutions, and the padding rule that they share with pooling."""

from __future__ import annotations

import numpy as np
import tflite
from numpy.typing import NDArray

from exporters.tflite_reader import Operator
from exporters.translation import NO_PADS, Pads, Translation


def same_pads(size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int]) -> Pads:
    """The zeros that TFLite's ``SAME`` adds: the odd one goes to the bottom and to the right.

    Args:
        size: height and width of the image.
        kernel: height and width that the (dilated) kernel covers.
        stride: vertical and horizontal step.
    """
    needed = [
        max((-(-extent // step) - 1) * step + window - extent, 0)
        for extent, window, step in zip(size, kernel, stride, strict=True)
    ]
    top, left = needed[0] // 2, needed[1] // 2
    return top, left, needed[0] - top, needed[1] - left


def convolution(translation: Translation, operator: Operator) -> None:
    """``CONV_2D``: weights (O, kh, kw, I) become ONNX's (O, I, kh, kw)."""
    weights = translation.constant(operator.inputs[1])
    _convolve(translation, operator, np.transpose(weights, (0, 3, 1, 2)), group=1)


def depthwise_convolution(translation: Translation, operator: Operator) -> None:
    """``DEPTHWISE_CONV_2D``: weights (1, kh, kw, C·m) become (C·m, 1, kh, kw) in C groups."""
    weights = translation.constant(operator.inputs[1])
    channels = translation.shape(operator.inputs[0])[3]
    _convolve(translation, operator, np.transpose(weights, (3, 0, 1, 2)), group=channels)


def _convolve(
    translation: Translation, operator: Operator, weights: NDArray[np.float32], group: int
) -> None:
    options, builder = operator.options, translation.builder
    strides = (options["StrideH"], options["StrideW"])
    dilations = (options["DilationHFactor"], options["DilationWFactor"])
    kernel = weights.shape[2:]
    data, pads = translation.padded_image(operator.inputs[0])
    if options["Padding"] == tflite.Padding.SAME:
        _, height, width, _ = translation.shape(operator.inputs[0])
        reach = ((kernel[0] - 1) * dilations[0] + 1, (kernel[1] - 1) * dilations[1] + 1)
        same = same_pads((height, width), reach, strides)
        pads = tuple(np.add(pads, same).tolist())
    bias = [translation.plain(index) for index in operator.inputs[2:] if index >= 0]
    name = builder.add(
        "Conv",
        data,
        builder.constant(weights),
        *bias,
        group=group,
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=pads,
    )
    name = translation.activation(name, options["FusedActivationFunction"])
    translation.define_image(operator.outputs[0], name, NO_PADS)
