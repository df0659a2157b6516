"""Operators that move or cut values without computing."""

from __future__ import annotations

import numpy as np

from engine.errors import ModelFileError
from exporters.tflite_reader import Operator
from exporters.translation import NO_PADS, Translation

NCHW_AXIS = (0, 2, 3, 1)
"""Where TFLite's axis 0 .. 3 of an image lies in ONNX's."""


def pad(translation: Translation, operator: Operator) -> None:
    """``PAD`` with zeros: around the image it waits for the next convolution to take it over."""
    data, amounts = operator.inputs
    before, after = translation.constant(amounts).T.tolist()
    name, waiting = translation.padded_image(data)
    if before[0] == after[0] == before[3] == after[3] == 0:
        around = (before[1], before[2], after[1], after[2])
        pads = tuple(np.add(waiting, around).tolist())
        translation.define_image(operator.outputs[0], name, pads)
        return
    order = (0, 3, 1, 2)
    amount = [side[axis] for side in (before, after) for axis in order]
    operands = (translation.image(data), translation.builder.integers(*amount))
    name = translation.builder.add("Pad", *operands)
    translation.define_image(operator.outputs[0], name, NO_PADS)


def reshape(translation: Translation, operator: Operator) -> None:
    """``RESHAPE``, whose order of elements is TFLite's."""
    shape = translation.shape(operator.outputs[0])
    new_shape = translation.builder.integers(*shape)
    data = translation.plain(operator.inputs[0])
    name = translation.builder.add("Reshape", data, new_shape)
    translation.define_plain(operator.outputs[0], name)


def concatenation(translation: Translation, operator: Operator) -> None:
    """``CONCATENATION`` along one axis."""
    rank = len(translation.shape(operator.outputs[0]))
    axis = operator.options["Axis"] % rank
    operands = [translation.operand(index) for index in operator.inputs]
    onnx_axis = NCHW_AXIS[axis] if rank == 4 else axis
    name = translation.builder.add("Concat", *operands, axis=onnx_axis)
    name = translation.activation(name, operator.options["FusedActivationFunction"])
    translation.define(operator.outputs[0], name)


def strided_slice(translation: Translation, operator: Operator) -> None:
    """``STRIDED_SLICE`` that keeps the rank.

    Raises:
        ModelFileError: the slice uses masks, which none of the networks does.
    """
    data, *bounds = operator.inputs
    if any(operator.options.values()):
        raise ModelFileError("expected a TFLite STRIDED_SLICE without masks, found masks")
    begin, end, step = (translation.constant(index).tolist() for index in bounds)
    rank = len(begin)
    axes = NCHW_AXIS if rank == 4 else tuple(range(rank))
    operands = [translation.builder.integers(*values) for values in (begin, end, axes, step)]
    name = translation.builder.add("Slice", translation.operand(data), *operands)
    translation.define(operator.outputs[0], name)
