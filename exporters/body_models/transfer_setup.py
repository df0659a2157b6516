"""Which point of one model is which of another's, as SMPL-X's makers say it.

Their ``smplx2smpl_deftrafo_setup.pkl`` and its siblings hold one sparse matrix ``mtx`` of target by
source vertices (and as many columns again, of normals, that are zero here): each row the corners
and weights of a point of the source's surface.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.body.surface_pairs import SurfacePairs
from engine.errors import ModelFileError
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import Entries, sparse_entries

CORNERS = 3
_NAMES = ("mtx", "matrix")


def read_transfer(path: Path, source_vertices: int, target_vertices: int) -> SurfacePairs:
    """Read a file of this pair of models.

    Raises:
        ModelFileError: it is missing, damaged, of other models, or a row is no point of a surface.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} does not exist; name a *_deftrafo_setup.pkl, or none")
    content = read_pickle(path)
    try:
        entries = sparse_entries(next(content[name] for name in _NAMES if name in content))
    except (ValueError, TypeError, LookupError, StopIteration) as error:
        raise ModelFileError(
            f"{path} holds no sparse matrix mtx ({error}); name a *_deftrafo_setup.pkl, or none"
        ) from error
    rows, columns = entries.shape
    if rows != target_vertices or columns not in (source_vertices, 2 * source_vertices):
        raise ModelFileError(
            f"{path}: expected mtx ({target_vertices}, {2 * source_vertices}) for these models, "
            f"found {entries.shape}; name the file of this pair, in this direction"
        )
    return _points(path, entries, source_vertices)


def _points(path: Path, entries: Entries, source_vertices: int) -> SurfacePairs:
    used = (entries.columns < source_vertices) & (entries.values != 0)
    rows, columns = entries.rows[used], entries.columns[used]
    values = entries.values[used].astype(np.float64)
    order = np.argsort(rows, kind="stable")
    rows, columns, values = rows[order], columns[order], values[order]
    count = np.bincount(rows, minlength=entries.shape[0])
    place = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    if not len(rows) or count.min() < 1 or count.max() > CORNERS:
        raise ModelFileError(f"{path}: expected 1 to {CORNERS} corners a row of mtx, found others")
    corners = np.repeat(columns[np.cumsum(count) - count][:, None], CORNERS, axis=1)
    weights = np.zeros((len(count), CORNERS))
    corners[rows, place], weights[rows, place] = columns, values
    if not np.abs(weights.sum(axis=1) - 1.0).max() < 1e-3:
        raise ModelFileError(f"{path}: the weights of a row of mtx do not sum to 1; fetch it again")
    return SurfacePairs(np.arange(len(count), dtype=np.int32), corners.astype(np.int32), weights)
