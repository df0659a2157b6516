"""The three custom operators against slow, obvious twins written from MediaPipe's definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest

from engine.errors import ModelFileError
from engine.types import F32
from exporters.operators import TRANSLATORS
from exporters.tflite_reader import Graph, Operator, Tensor
from exporters.translation import Translation

POINTS = 40
OPTIONS = {
    "left_rotation_idx": 3,
    "right_rotation_idx": 11,
    "subset_idxs": [3, 11, 5, 8, 21, 30, 39],
    "target_rotation_radians": 0.0,
    "scale_x": 1.5,
    "scale_y": 1.25,
    "output_width": 16,
    "output_height": 12,
}


def run_operator(kind: str, inputs: list[F32], output: F32, options: dict[str, Any]) -> F32:
    """Translate a graph of one operator and run it on TFLite-ordered arrays."""
    arrays = [*inputs, output]
    tensors = tuple(Tensor(f"t{i}", array.shape, None) for i, array in enumerate(arrays))
    last = len(inputs)
    operator = Operator(kind, 2, tuple(range(last)), (last,), options)
    translation = Translation(Graph(tensors, (operator,), tuple(range(last)), (last,)))
    fed = {f"in{i}": to_nchw(array) for i, array in enumerate(inputs)}
    for i in range(last):
        translation.define(i, f"in{i}")
    TRANSLATORS[kind](translation, operator)
    translation.builder.add("Identity", translation.operand(last), output="out")
    model = translation.builder.model(
        kind,
        [(name, array.shape) for name, array in fed.items()],
        [("out", to_nchw(output).shape)],
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, fed)
    return found.transpose(0, 2, 3, 1) if found.ndim == 4 else found


def to_nchw(array: F32) -> F32:
    return np.ascontiguousarray(array.transpose(0, 3, 1, 2)) if array.ndim == 4 else array


def slow_transform_matrix(points: F32, options: dict[str, Any]) -> F32:
    left, right = points[options["left_rotation_idx"]], points[options["right_rotation_idx"]]
    angle = -np.arctan2(right[1] - left[1], right[0] - left[0])
    turn = rotation(angle)
    turned = points[options["subset_idxs"], :2] @ turn[:2, :2].T
    size = turned.max(0) - turned.min(0)
    centre = rotation(-angle)[:2, :2] @ ((turned.max(0) + turned.min(0)) / 2)
    output = np.array([options["output_width"], options["output_height"]])
    scale = np.array([options["scale_x"], options["scale_y"]]) * size / output
    stretch = np.diag([*scale, 1, 1])
    return shift(centre) @ rotation(-angle) @ stretch @ shift(-output / 2)


def rotation(angle: float) -> F32:
    matrix = np.eye(4)
    cos, sin = np.cos(angle), np.sin(angle)
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    return matrix


def shift(vector: F32) -> F32:
    matrix = np.eye(4)
    matrix[:2, 3] = vector
    return matrix


def slow_bilinear(image: F32, matrix: F32, rows: int, columns: int) -> F32:
    height, width, channels = image.shape
    sampled = np.zeros((rows, columns, channels))
    for row in range(rows):
        for column in range(columns):
            place = matrix @ [column + 0.5, row + 0.5, 0, 1]
            x, y = place[0] - 0.5, place[1] - 0.5
            if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
                continue
            left, top = min(int(x), width - 2), min(int(y), height - 2)
            across, down = x - left, y - top
            upper = (1 - across) * image[top, left] + across * image[top, left + 1]
            lower = (1 - across) * image[top + 1, left] + across * image[top + 1, left + 1]
            sampled[row, column] = (1 - down) * upper + down * lower
    return sampled


@pytest.mark.parametrize("seed", range(5))
def test_transform_matrix(seed: int) -> None:
    points = np.random.default_rng(seed).uniform(0, 48, (1, POINTS, 3)).astype(np.float32)
    blank = np.zeros((1, 4, 4), np.float32)
    found = run_operator("Landmarks2TransformMatrix", [points], blank, OPTIONS)
    np.testing.assert_allclose(found[0], slow_transform_matrix(points[0], OPTIONS), atol=1e-4)


@pytest.mark.parametrize("centre", [(10, 9), (0, 0), (23, 5), (-40, 60)])
def test_bilinear_sampling_inside_at_the_border_and_outside(centre: tuple[float, float]) -> None:
    rng = np.random.default_rng(7)
    image = rng.normal(size=(1, 20, 24, 3)).astype(np.float32)
    matrix = shift(np.array(centre)) @ rotation(0.4) @ np.diag([0.7, 0.5, 1, 1]) @ shift([-4, -3])
    blank = np.zeros((1, 6, 8, 3), np.float32)
    options = {"output_height": 6, "output_width": 8}
    inputs = [image, matrix[None].astype(np.float32)]
    found = run_operator("TransformTensorBilinear", inputs, blank, options)
    np.testing.assert_allclose(found[0], slow_bilinear(image[0], matrix, 6, 8), atol=1e-4)


def test_transform_landmarks() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(0, 16, (1, 71, 2)).astype(np.float32)
    matrix = rng.normal(size=(1, 4, 4)).astype(np.float32)
    found = run_operator("TransformLandmarks", [points, matrix], points, {})
    expected = points[0] @ matrix[0, :2, :2].T + matrix[0, :2, 3]
    np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_another_version_is_refused() -> None:
    operator = Operator("TransformLandmarks", 1, (0, 1), (2,), {})
    with pytest.raises(ModelFileError, match="version 2"):
        TRANSLATORS["TransformLandmarks"](Translation(Graph((), (), (), ())), operator)
