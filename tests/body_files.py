"""Body models of made-up numbers in the official layouts, as files."""

from __future__ import annotations

import pickle
import sys
import types
from pathlib import Path

import numpy as np

SIZES = {"SMPL": (6890, 24), "SMPL+H": (6890, 52), "SMPL-X": (10475, 55)}
Arrays = dict[str, np.ndarray]


def made_up(name: str, seed: int = 0, shapes: int = 10) -> Arrays:
    """Everything a file of this model holds; a body-like cloud hung on a tree of joints."""
    v, j = SIZES[name]
    rng = np.random.default_rng(seed)
    parents = np.array([0, *(int(rng.integers(max(0, n - 4), n)) for n in range(1, j))])
    template = rng.uniform(-1, 1, (v, 3)) * [0.4, 0.9, 0.15]
    order = np.argsort(template[:, 1], kind="stable")
    template = template[order]
    weights = np.zeros((v, j))
    near = (np.arange(v) * j // v)[:, None] + np.arange(4)
    np.put_along_axis(weights, near % j, rng.uniform(0.1, 1, (v, 4)), axis=1)
    weights /= weights.sum(axis=1, keepdims=True)
    regressor = np.zeros((j, v))
    for n in range(j):
        rows = rng.integers(0, v, 12)
        np.add.at(regressor[n], rows, 1 / 12)
    kintree = np.stack([parents, np.arange(j)]).astype(np.int64)
    kintree[0, 0] = 2**32 - 1
    count = 20 if name == "SMPL-X" else shapes
    arrays = {
        "v_template": template,
        "shapedirs": rng.normal(0, 0.004, (v, 3, count)),
        "posedirs": rng.normal(0, 0.001, (v, 3, 9 * (j - 1))),
        "J_regressor": regressor,
        "kintree_table": kintree,
        "weights": weights,
        "f": rng.integers(0, v, (400, 3)).astype(np.uint32),
    }
    if name != "SMPL":
        for side in "lr":
            arrays[f"hands_mean{side}"] = rng.normal(0, 0.1, 45)
            arrays[f"hands_components{side}"] = rng.normal(0, 0.3, (45, 45))
    if name == "SMPL-X":
        arrays["lmk_faces_idx"] = np.zeros(51, np.int64)
        arrays["lmk_bary_coords"] = np.full((51, 3), 1 / 3)
    return arrays


def write_npz(arrays: Arrays, path: Path) -> Path:
    np.savez(path, **arrays)
    return path


def write_pickle(arrays: Arrays, path: Path, *, protocol: int = 2) -> Path:
    """As SMPL's makers do: chumpy variables, a sparse regressor; neither package is needed."""
    chumpy, sparse = types.ModuleType("chumpy.ch"), types.ModuleType("scipy.sparse.csc")
    ch = type("Ch", (), {"__module__": "chumpy.ch"})
    matrix = type("csc_matrix", (), {"__module__": "scipy.sparse.csc"})
    chumpy.Ch, sparse.csc_matrix = ch, matrix  # type: ignore[attr-defined]
    content = dict(arrays)
    for name in ("shapedirs", "v_template"):
        content[name] = ch()
        content[name].__dict__.update(x=arrays[name], _dirty_vars=0)
    content["J_regressor"] = matrix()
    content["J_regressor"].__dict__.update(_columns(arrays["J_regressor"]))
    fakes = {"chumpy": types.ModuleType("chumpy"), "chumpy.ch": chumpy, "scipy.sparse.csc": sparse}
    before = {name: sys.modules.get(name) for name in fakes}
    sys.modules.update(fakes)
    try:
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return path


def _columns(dense: np.ndarray) -> dict[str, object]:
    columns, rows = np.nonzero(dense.T)
    starts = np.searchsorted(columns, np.arange(dense.shape[1] + 1))
    return {
        "_shape": dense.shape,
        "data": dense[rows, columns],
        "indices": rows.astype(np.int32),
        "indptr": starts.astype(np.int32),
    }
