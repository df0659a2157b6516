"""Read a TFLite flatbuffer into plain dataclasses, with every weight as a dense float32 array.

Float16 weights (``DEQUANTIZE`` of a constant) and sparse weights (``DENSIFY`` of a constant) are
unfolded here, so that the translator sees only networks of ordinary float operators.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from flatbuffers import flexbuffers  # type: ignore[import-untyped]
from numpy.typing import NDArray

from engine.errors import ModelFileError
from exporters.sparsity import densify

OPERATOR_NAMES: Mapping[int, str] = {
    code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)
}
DTYPES: Mapping[int, type[np.generic]] = {
    tflite.TensorType.FLOAT32: np.float32,
    tflite.TensorType.FLOAT16: np.float16,
    tflite.TensorType.INT32: np.int32,
}
_CONV = ("Padding", "StrideH", "StrideW", "DilationHFactor", "DilationWFactor")
_FUSED = ("FusedActivationFunction",)
_POOL = ("Padding", "StrideH", "StrideW", "FilterHeight", "FilterWidth", *_FUSED)
OPTION_FIELDS: Mapping[str, tuple[type[Any], tuple[str, ...]]] = {
    "ADD": (tflite.AddOptions, _FUSED),
    "AVERAGE_POOL_2D": (tflite.Pool2DOptions, _POOL),
    "CONCATENATION": (tflite.ConcatenationOptions, ("Axis", *_FUSED)),
    "CONV_2D": (tflite.Conv2DOptions, (*_CONV, *_FUSED)),
    "DEPTHWISE_CONV_2D": (tflite.DepthwiseConv2DOptions, (*_CONV, *_FUSED)),
    "DEPTH_TO_SPACE": (tflite.DepthToSpaceOptions, ("BlockSize",)),
    "FULLY_CONNECTED": (tflite.FullyConnectedOptions, ("WeightsFormat", *_FUSED)),
    "MAX_POOL_2D": (tflite.Pool2DOptions, _POOL),
    "MEAN": (tflite.ReducerOptions, ("KeepDims",)),
    "MUL": (tflite.MulOptions, _FUSED),
    "RESIZE_BILINEAR": (tflite.ResizeBilinearOptions, ("AlignCorners", "HalfPixelCenters")),
    "STRIDED_SLICE": (
        tflite.StridedSliceOptions,
        ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask"),
    ),
}
"""Which fields of which options table an operator has."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of the graph; ``data`` is None where it is computed."""

    name: str
    shape: tuple[int, ...]
    data: NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class Operator:
    """One operation: tensor indices in, tensor indices out (-1 where an input is left out)."""

    kind: str
    """TFLite's name (``CONV_2D``) or the name of a custom operator."""
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Graph:
    """A network: operators in the order in which they can run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_tflite(content: bytes) -> Graph:
    """Parse one TFLite model.

    Raises:
        ModelFileError: the bytes are not a TFLite model with one subgraph, or use a tensor type
            that the translator does not know.
    """
    if not tflite.Model.ModelBufferHasIdentifier(content, 0):
        raise ModelFileError("expected a TFLite model (identifier TFL3), found other bytes")
    model = tflite.Model.GetRootAsModel(content, 0)
    if model.SubgraphsLength() != 1:
        raise ModelFileError(f"expected one TFLite subgraph, found {model.SubgraphsLength()}")
    subgraph = model.Subgraphs(0)
    tensors = [_tensor(model, subgraph.Tensors(i)) for i in range(subgraph.TensorsLength())]
    operators = [_operator(model, subgraph.Operators(i)) for i in range(subgraph.OperatorsLength())]
    kept = _unfold_weights(tensors, operators)
    return Graph(
        tensors=tuple(tensors),
        operators=kept,
        inputs=_indices(subgraph.InputsAsNumpy()),
        outputs=_indices(subgraph.OutputsAsNumpy()),
    )


def _indices(array: Any) -> tuple[int, ...]:
    return tuple(int(index) for index in array)


def _tensor(model: Any, table: Any) -> Tensor:
    name = table.Name().decode()
    shape = _indices(table.ShapeAsNumpy()) if table.ShapeLength() else ()
    buffer = model.Buffers(table.Buffer())
    if not buffer.DataLength():
        return Tensor(name, shape, None)
    if table.Type() not in DTYPES:
        raise ModelFileError(f"the TFLite tensor {name} has the unknown type {table.Type()}")
    values = np.frombuffer(buffer.DataAsNumpy().tobytes(), DTYPES[table.Type()])
    sparsity = table.Sparsity()
    dense = values if sparsity is None else densify(values, shape, sparsity)
    return Tensor(name, shape, dense.reshape(shape))


def _operator(model: Any, table: Any) -> Operator:
    code = model.OperatorCodes(table.OpcodeIndex())
    # Codes above 127 do not fit the old 8-bit field; old files have only that one.
    kind = OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    custom = kind == "CUSTOM"
    return Operator(
        kind=code.CustomCode().decode() if custom else kind,
        version=code.Version(),
        inputs=_indices(table.InputsAsNumpy()),
        outputs=_indices(table.OutputsAsNumpy()),
        options=_custom_options(table) if custom else _builtin_options(kind, table),
    )


def _custom_options(table: Any) -> Mapping[str, Any]:
    if not table.CustomOptionsLength():
        return {}
    options = flexbuffers.Loads(table.CustomOptionsAsNumpy().tobytes())
    return options if isinstance(options, dict) else {}


def _builtin_options(kind: str, table: Any) -> Mapping[str, Any]:
    if kind not in OPTION_FIELDS or table.BuiltinOptions() is None:
        return {}
    options_type, names = OPTION_FIELDS[kind]
    options = options_type()
    union = table.BuiltinOptions()
    options.Init(union.Bytes, union.Pos)
    return {name: getattr(options, name)() for name in names}


def _unfold_weights(tensors: list[Tensor], operators: list[Operator]) -> tuple[Operator, ...]:
    """Replace ``DEQUANTIZE`` and ``DENSIFY`` of constants by float32 constants, in place."""
    kept = []
    for operator in operators:
        source = tensors[operator.inputs[0]]
        if operator.kind in ("DEQUANTIZE", "DENSIFY") and source.data is not None:
            result = tensors[operator.outputs[0]]
            data = source.data.astype(np.float32)
            tensors[operator.outputs[0]] = Tensor(result.name, result.shape, data)
        else:
            kept.append(operator)
    return tuple(kept)
