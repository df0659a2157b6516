"""One file per family of TFLite operators; :data:`TRANSLATORS` finds the one for an operator."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from exporters.operators import arithmetic, attention, convolution, pooling, resampling, shaping
from exporters.tflite_reader import Operator
from exporters.translation import Translation

Translator = Callable[[Translation, Operator], None]

TRANSLATORS: Mapping[str, Translator] = {
    "ADD": arithmetic.add,
    "MUL": arithmetic.multiply,
    "RELU": arithmetic.relu,
    "LOGISTIC": arithmetic.logistic,
    "PRELU": arithmetic.prelu,
    "FULLY_CONNECTED": arithmetic.fully_connected,
    "CONV_2D": convolution.convolution,
    "DEPTHWISE_CONV_2D": convolution.depthwise_convolution,
    "MAX_POOL_2D": pooling.max_pool,
    "AVERAGE_POOL_2D": pooling.average_pool,
    "MEAN": pooling.mean,
    "RESIZE_BILINEAR": resampling.resize_bilinear,
    "DEPTH_TO_SPACE": resampling.depth_to_space,
    "PAD": shaping.pad,
    "RESHAPE": shaping.reshape,
    "CONCATENATION": shaping.concatenation,
    "STRIDED_SLICE": shaping.strided_slice,
    "Landmarks2TransformMatrix": attention.landmarks_to_transform_matrix,
    "TransformTensorBilinear": attention.transform_tensor_bilinear,
    "TransformLandmarks": attention.transform_landmarks,
}
