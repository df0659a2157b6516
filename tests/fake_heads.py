"""Small files in other people's formats, made up, for the readers of face models."""

from __future__ import annotations

import json
import pickle
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np

from engine.avatar.morphable_model import ACTIONS, Albedo, Basis, MorphableModel
from engine.avatar.surface_points import SurfacePoints
from exporters.face_models import ict_layout


def grid_mesh(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows * columns, 3) points of a bent sheet that faces +Z and (F, 3) its triangles."""
    x, y = np.meshgrid(np.linspace(-0.07, 0.07, columns), np.linspace(-0.1, 0.1, rows))
    points = np.stack([x, y, 0.1 - 8.0 * (x**2 + y**2)], axis=2).reshape(-1, 3)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([corner, corner + 1, corner + columns + 1], axis=1)
    upper = np.stack([corner, corner + columns + 1, corner + columns], axis=1)
    return points, np.concatenate([lower, upper]).astype(np.int32)


def small_model(seed: int, *, with_all: bool = True) -> MorphableModel:
    """A model of some forty vertices with everything that a model may have, or the least."""
    rng = np.random.default_rng(seed)
    points, faces = grid_mesh(6, 7)
    vertices, modes = len(points), int(rng.integers(1, 5))
    expression = rng.normal(0, 0.003, (ACTIONS, vertices, 3)).astype(np.float32)
    actions = rng.random(ACTIONS) < 0.8
    expression[~actions] = 0.0
    triangles = faces[rng.integers(0, len(faces), 478)]
    barycentric = rng.dirichlet([1, 1, 1], 478).astype(np.float32)
    nowhere = rng.random(478) < 0.1
    triangles[nowhere], barycentric[nowhere] = -1, np.nan
    colours = Basis.of(rng.normal(0, 0.1, (2, vertices, 3)).astype(np.float32))
    mean_colour = rng.random((vertices, 3)).astype(np.float32)
    uvs = rng.random((vertices + 3, 2)).astype(np.float32)
    return MorphableModel(
        name="made up",
        licence="public domain",
        mean_m=points.astype(np.float32),
        identity=Basis.of(rng.normal(0, 0.002, (modes, vertices, 3)).astype(np.float32)),
        expression=Basis.of(expression),
        actions=actions,
        correctives=((26, 24),) if with_all else (),
        faces=faces,
        face_parts=rng.integers(0, 9, len(faces)).astype(np.uint8),
        uvs=uvs if with_all else uvs[:0],
        face_uvs=faces.copy() if with_all else faces[:0],
        landmarks=SurfacePoints(triangles, barycentric) if with_all else None,
        albedo=Albedo(mean_colour, colours, None) if with_all else None,
    )


ICT_SHAPES = (
    "identity000",
    "identity001",
    "browDown_L",
    "browInnerUp_L",
    "browInnerUp_R",
    "jawOpen",
)


def write_ict_folder(folder: Path) -> dict[str, np.ndarray]:
    """As large as the real model, with six shapes; returns their offsets in cm."""
    rng = np.random.default_rng(3)
    folder.mkdir()
    neutral = rng.normal(0, 5, (ict_layout.VERTICES, 3)).round(6)
    polygons = rng.integers(0, ict_layout.VERTICES, (ict_layout.POLYGONS, 4)) + 1
    uvs = ["vt 0.25 0.75", "vt 1.5 0.5"]
    faces = [
        "f " + " ".join(f"{v}/{1 + k % 2}" for v in polygon[: 3 + k % 2])
        for k, polygon in enumerate(polygons)
    ]
    _write_obj(folder / "generic_neutral_mesh.obj", neutral, [*uvs, *faces])
    offsets = {}
    for name in ICT_SHAPES:
        offsets[name] = rng.normal(0, 0.3, neutral.shape).round(6)
        _write_obj(folder / f"{name}.obj", neutral + offsets[name], [])
    names = [name for name in ICT_SHAPES if not name.startswith("identity")]
    (folder / "vertex_indices.json").write_text(json.dumps({"expressions": names}))
    return {"neutral": neutral, "polygons": polygons - 1, **offsets}


def _write_obj(path: Path, vertices: np.ndarray, more: list[str]) -> None:
    lines = ["mtllib some.mtl", *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices), *more]
    path.write_text("\n".join(lines) + "\n")


def flame_arrays() -> dict[str, np.ndarray]:
    """FLAME's fields over a sheet whose lower third hangs on the jaw; eyes are two corners."""
    points, faces = grid_mesh(12, 10)
    rng = np.random.default_rng(5)
    vertices = len(points)
    weights = np.zeros((vertices, 5))
    weights[:, 2] = np.clip(-points[:, 1] / 0.05, 0, 1)
    weights[:, 1] = 1 - weights[:, 2]
    for joint, near in ((3, [0.05, 0.08]), (4, [-0.05, 0.08])):
        eye = np.linalg.norm(points[:, :2] - near, axis=1) < 0.022
        weights[eye] = np.eye(5)[joint]
    regressor = rng.dirichlet(np.full(vertices, 0.1), 5)
    return {
        "v_template": points,
        "shapedirs": rng.normal(0, 0.001, (vertices, 3, 310)),
        "f": faces.astype(np.uint32),
        "weights": weights,
        "J_regressor": regressor,
        "posedirs": rng.normal(0, 1e-4, (vertices, 3, 36)),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], range(5)]),
    }


def write_flame_pickle(path: Path, arrays: dict[str, np.ndarray], protocol: int = 2) -> None:
    """As the real file: chumpy variables, a scipy sparse regressor, numpy arrays."""
    from scipy.sparse import csc_matrix

    modules = {name: types.ModuleType(name) for name in ("chumpy", "chumpy.ch")}

    class Ch:
        def __init__(self, x: np.ndarray) -> None:
            self.x = x
            self._dirty_vars = {"x"}
            self._depends_on_deps: dict[str, Any] = {}

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    modules["chumpy.ch"].Ch = Ch  # type: ignore[attr-defined]
    sys.modules.update(modules)
    try:
        content = {
            name: Ch(values) if name in ("v_template", "shapedirs") else values
            for name, values in arrays.items()
        }
        content["J_regressor"] = csc_matrix(arrays["J_regressor"])
        content["bs_style"] = "lbs"
        path.write_bytes(pickle.dumps(content, protocol))
    finally:
        for name in modules:
            del sys.modules[name]


def facescape_arrays() -> dict[str, np.ndarray]:
    """FaceScape's fields over the same sheet, in millimetres."""
    points, faces = grid_mesh(9, 8)
    rng = np.random.default_rng(8)
    vertices, factors = len(points), 4
    core = rng.normal(0, 1.0, (3 * vertices, 52, factors))
    mean = np.array([1.0, 0.1, -0.2, 0.3])
    core[:, :, 0] += 1000 * points.reshape(-1, 1)
    front = np.arange(0, vertices, 2)
    landmarks = np.zeros(68, np.int64)
    landmarks[[36, 45]] = 8 * 6 + 1, 8 * 6 + 6
    return {
        "shape_bm_core": core,
        "id_mean": mean,
        "id_var": np.array([0.01, 0.04, 0.09, 0.16]),
        "fv_indices": faces + 1,
        "ft_indices": faces + 1,
        "texcoords": rng.random((vertices, 2)),
        "lm_list_v16": landmarks,
        "color_bm_mean": rng.uniform(50, 200, 3 * len(front)),
        "color_bm_core": rng.normal(0, 5, (3 * len(front), 2)),
        "v_indices_front": front,
        "vc_dict_front": np.where(np.arange(len(front)) % 5 == 0, -1, np.arange(len(front))),
        "sym_dict": np.array([{"python": "objects"}], object),
    }
