"""TFLite's sparse weights (the format of the TACO tensor compiler) back to dense arrays.

Each dimension, in traversal order, is either dense (every index is stored) or compressed sparse
row: ``segments[p] .. segments[p + 1]`` are the places of parent *p*'s entries in ``indices``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from engine.errors import ModelFileError

_INDEX_VECTORS: dict[int, tuple[type[Any], type[np.generic]]] = {
    tflite.SparseIndexVector.Int32Vector: (tflite.Int32Vector, np.int32),
    tflite.SparseIndexVector.Uint16Vector: (tflite.Uint16Vector, np.uint16),
    tflite.SparseIndexVector.Uint8Vector: (tflite.Uint8Vector, np.uint8),
}


def densify(values: NDArray[Any], shape: tuple[int, ...], sparsity: Any) -> NDArray[Any]:
    """Spread stored values over a zero array of the given shape.

    Args:
        values: (N,) stored values in traversal order.
        shape: the dense tensor's shape.
        sparsity: TFLite's ``SparsityParameters`` table.

    Raises:
        ModelFileError: the weights are stored in blocks, or the counts do not agree.
    """
    if sparsity.BlockMapLength():
        raise ModelFileError("expected sparse weights without blocks, found a block map")
    order = [int(axis) for axis in sparsity.TraversalOrderAsNumpy()]
    coordinates = np.zeros((1, 0), np.int64)
    for level in range(len(order)):
        coordinates = _expand(coordinates, sparsity.DimMetadata(level))
    if len(coordinates) != len(values):
        raise ModelFileError(f"expected {len(coordinates)} sparse weights, found {len(values)}")
    dense = np.zeros(shape, values.dtype)
    by_axis = coordinates[:, np.argsort(order)]
    dense[tuple(by_axis.T)] = values
    return dense


def _expand(parents: NDArray[np.int64], dimension: Any) -> NDArray[np.int64]:
    """Append one coordinate: (P, D) parents to (Q, D + 1) children."""
    if dimension.Format() == tflite.DimensionType.DENSE:
        size = dimension.DenseSize()
        index = np.tile(np.arange(size), len(parents))
        return np.column_stack([np.repeat(parents, size, axis=0), index])
    segments = _index_vector(dimension.ArraySegmentsType(), dimension.ArraySegments())
    index = _index_vector(dimension.ArrayIndicesType(), dimension.ArrayIndices())
    if len(segments) != len(parents) + 1:
        raise ModelFileError(f"expected {len(parents) + 1} sparse segments, found {len(segments)}")
    return np.column_stack([np.repeat(parents, np.diff(segments), axis=0), index])


def _index_vector(kind: int, union: Any) -> NDArray[np.int64]:
    table_type, dtype = _INDEX_VECTORS[kind]
    table = table_type()
    table.Init(union.Bytes, union.Pos)
    return np.asarray(table.ValuesAsNumpy(), dtype).astype(np.int64)
