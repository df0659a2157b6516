"""Operators that change the resolution of an image."""

from __future__ import annotations

import numpy as np

from exporters.tflite_reader import Operator
from exporters.translation import Translation


def resize_bilinear(translation: Translation, operator: Operator) -> None:
    """``RESIZE_BILINEAR`` under any of TFLite's three rules for where pixels lie."""
    data, _ = operator.inputs
    before, after = translation.shape(data), translation.shape(operator.outputs[0])
    scales = np.array([1, 1, after[1] / before[1], after[2] / before[2]], np.float32)
    name = translation.builder.add(
        "Resize",
        translation.image(data),
        "",
        translation.builder.constant(scales),
        mode="linear",
        coordinate_transformation_mode=_coordinates(operator),
    )
    translation.define_image(operator.outputs[0], name)


def _coordinates(operator: Operator) -> str:
    if operator.options["AlignCorners"]:
        return "align_corners"
    return "half_pixel" if operator.options["HalfPixelCenters"] else "asymmetric"


def depth_to_space(translation: Translation, operator: Operator) -> None:
    """``DEPTH_TO_SPACE``: TFLite splits the channels as (row, column, depth), ONNX's DCR."""
    name = translation.builder.add(
        "DepthToSpace",
        translation.image(operator.inputs[0]),
        blocksize=operator.options["BlockSize"],
        mode="DCR",
    )
    translation.define_image(operator.outputs[0], name)
