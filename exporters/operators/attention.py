"""The three custom operators of the attention face model, as standard ONNX operators.

The model finds 468 points, cuts the eyes and the lips out of an early feature map with an affine
map that those points give, and refines them. What the operators compute is defined by MediaPipe
(``mediapipe/util/tflite/operations``, version 2 of each). Grishchenko et al., *Attention Mesh*,
2020, describes the network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelFileError
from exporters.tflite_reader import Operator
from exporters.translation import Translation

AXES = (("x", "width"), ("y", "height"))
OUTSIDE = 4.0
"""A grid coordinate whose sample is zero: the image ends at 1."""


def landmarks_to_transform_matrix(translation: Translation, operator: Operator) -> None:
    """Points (1, N, 3) to the affine map (1, 4, 4) from a crop's pixels to the image's.

    The crop's x axis runs from the left to the right rotation point, and it holds the rotated
    bounding box of the chosen points times ``scale``: ``M = T(c) R D(s) T(-o/2)``, with the box's
    centre ``c``, ``R = [[a, -b], [b, a]]``, the scale ``s = scale · size / output`` and the crop's
    size ``o``.

    Raises:
        ModelFileError: another version of the operator, or a target angle other than zero.
    """
    _require_version_2(operator)
    if operator.options["target_rotation_radians"] != 0.0:
        raise ModelFileError("expected a target rotation of zero in Landmarks2TransformMatrix")
    add, constant = translation.builder.add, translation.builder.constant
    points = translation.plain(operator.inputs[0])
    rotation = _rotation(translation, operator, points)

    # Row vectors: p R turns a point of the image into the crop's axes, and q Rᵀ back.
    subset = np.array(operator.options["subset_idxs"], np.int64)
    chosen = _gather_xy(translation, points, subset)
    turned = add("MatMul", chosen, rotation)
    axes = translation.builder.integers(1)
    high, low = (add(kind, turned, axes, keepdims=1) for kind in ("ReduceMax", "ReduceMin"))
    factor = [operator.options[f"scale_{a}"] / operator.options[f"output_{b}"] for a, b in AXES]
    scale = add("Mul", add("Sub", high, low), constant(np.array(factor, np.float32)))
    linear = add("Mul", rotation, scale)

    # T(c) R D(s) T(-o/2): c is the middle of the turned box, so the shift is R (c' - s o/2).
    middle = add("Mul", add("Add", high, low), constant(np.array([0.5], np.float32)))
    half = np.array([operator.options[f"output_{b}"] / 2 for _, b in AXES], np.float32)
    corner = add("Sub", middle, add("Mul", scale, constant(half)))
    shift = add("MatMul", rotation, add("Transpose", corner, perm=(0, 2, 1)))
    zeros = constant(np.zeros((1, 2, 1), np.float32))
    rows = add("Concat", linear, zeros, shift, axis=2)
    rest = constant(np.eye(4, dtype=np.float32)[None, 2:])
    translation.define_plain(operator.outputs[0], add("Concat", rows, rest, axis=1))


def _rotation(translation: Translation, operator: Operator, points: str) -> str:
    """R (1, 2, 2), whose first column is the unit vector between the two rotation points."""
    add = translation.builder.add
    ends = [operator.options[f"{side}_rotation_idx"] for side in ("left", "right")]
    pair = _gather_xy(translation, points, np.array(ends, np.int64))
    difference = translation.builder.constant(np.array([[[-1, 1]]], np.float32))
    along = add("LpNormalization", add("MatMul", difference, pair), axis=2, p=2)
    # (a, b) times this matrix is (a, -b, b, a): R in row-major order.
    spread = np.array([[1, 0, 0, 1], [0, -1, 1, 0]], np.float32)
    entries = add("MatMul", along, translation.builder.constant(spread))
    return add("Reshape", entries, translation.builder.integers(1, 2, 2))


def _gather_xy(translation: Translation, points: str, index: NDArray[np.int64]) -> str:
    """The x and y of some points: (1, N, 3) to (1, len(index), 2)."""
    builder = translation.builder
    chosen = builder.add("Gather", points, builder.constant(index), axis=1)
    bounds = (builder.integers(0), builder.integers(2), builder.integers(2))
    return builder.add("Slice", chosen, *bounds)


def transform_tensor_bilinear(translation: Translation, operator: Operator) -> None:
    """Sample an image (1, H, W, C) under an affine map: bilinear, zero outside.

    MediaPipe maps pixel centres, ``t = M (o + 1/2) - 1/2``, which is GridSample without aligned
    corners at ``g = 2 M (o + 1/2) / size - 1``. It drops a sample whose place lies outside the
    outermost pixel *centres*; GridSample would still blend those within half a pixel, so they are
    sent far outside.
    """
    _require_version_2(operator)
    add, constant = translation.builder.add, translation.builder.constant
    data, matrix = operator.inputs
    _, height, width, _ = translation.shape(data)
    rows, columns = operator.options["output_height"], operator.options["output_width"]
    y, x = np.mgrid[:rows, :columns] + 0.5
    pixels = np.stack([x, y, np.zeros_like(x), np.ones_like(x)], axis=-1)

    size = np.array([width, height], np.float32)
    columns_xy = _affine_columns(translation, matrix, 0, 4)
    places = add("MatMul", constant(pixels.reshape(1, -1, 4).astype(np.float32)), columns_xy)
    grid = add("Sub", add("Mul", places, constant(2 / size)), constant(np.array([1], np.float32)))
    is_inside = add("LessOrEqual", add("Abs", grid), constant(1 - 1 / size))
    grid = add("Where", is_inside, grid, constant(np.array([OUTSIDE], np.float32)))
    grid = add("Reshape", grid, translation.builder.integers(1, rows, columns, 2))
    sampled = add("GridSample", translation.image(data), grid, align_corners=0)
    translation.define_image(operator.outputs[0], sampled)


def transform_landmarks(translation: Translation, operator: Operator) -> None:
    """Points (1, N, 2) under an affine map (1, 4, 4).

    Raises:
        ModelFileError: another version of the operator, or points with a depth.
    """
    _require_version_2(operator)
    points, matrix = operator.inputs
    if translation.shape(points)[2] != 2:
        raise ModelFileError("expected flat points in TransformLandmarks, found a third axis")
    add = translation.builder.add
    linear = _affine_columns(translation, matrix, 0, 2)
    shift = _affine_columns(translation, matrix, 3, 4)
    moved = add("Add", add("MatMul", translation.plain(points), linear), shift)
    translation.define_plain(operator.outputs[0], moved)


def _affine_columns(translation: Translation, matrix: int, start: int, stop: int) -> str:
    """Columns of the map's first two rows, transposed: (1, stop - start, 2)."""
    builder = translation.builder
    bounds = (builder.integers(0, start), builder.integers(2, stop), builder.integers(1, 2))
    rows = builder.add("Slice", translation.plain(matrix), *bounds)
    return builder.add("Transpose", rows, perm=(0, 2, 1))


def _require_version_2(operator: Operator) -> None:
    if operator.version != 2:
        raise ModelFileError(f"expected version 2 of {operator.kind}, found {operator.version}")
