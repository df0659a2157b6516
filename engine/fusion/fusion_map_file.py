"""The fused topology kept beside the body it was built from, so that start-up need not rebuild it.

:func:`fusion_map_arrays` is what set-up adds to the baked body file, and :func:`load_fusion_map`
reads it back: a tenth of the time that :func:`engine.fusion.copy_paste.build_topology` takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import CURE, BodyModel, read_arrays
from engine.avatar.topology import Region, Topology
from engine.errors import ModelFileError
from engine.fusion.copy_paste import FusionMap
from engine.fusion.subdivision import Stencils
from engine.types import ARKIT_NAMES

PREFIX = "fusion."
Array = NDArray[Any]

_TOPOLOGY: dict[str, type[np.generic]] = {
    "faces": np.int32,
    "regions": np.uint8,
    "seam_edges": np.int32,
    "render_vertices": np.int32,
    "render_uvs": np.float32,
    "render_faces": np.int32,
}
_STENCILS: dict[str, type[np.generic]] = {"sources": np.int32, "weights": np.float32}
_MAP: dict[str, type[np.generic]] = {
    "skin_joints": np.int32,
    "skin_weights": np.float32,
    "morph_starts": np.int32,
    "morph_actions": np.int32,
    "morph_offsets_m": np.float32,
}


def fusion_map_arrays(fusion_map: FusionMap) -> dict[str, Array]:
    """The map as named arrays, whole numbers in as few bytes as hold them."""
    parts = ((fusion_map.topology, _TOPOLOGY), (fusion_map.stencils, _STENCILS), (fusion_map, _MAP))
    return {PREFIX + name: _narrow(getattr(part, name)) for part, names in parts for name in names}


def load_fusion_map(path: Path, model: BodyModel) -> FusionMap:
    """Read the map that set-up stored with ``model``.

    Args:
        path: the baked body file.
        model: the body read from the same file.

    Raises:
        ModelFileError: the file holds no map, or one that does not fit the body.
    """
    arrays = read_arrays(path, PREFIX)
    missing = {*_TOPOLOGY, *_STENCILS, *_MAP} - arrays.keys()
    if missing:
        raise ModelFileError(f"{path} holds no fused topology ({min(missing)} is missing); {CURE}")
    fusion_map = FusionMap(
        topology=Topology(**_typed(arrays, _TOPOLOGY)),
        body_vertex_count=len(model.template_m),
        stencils=Stencils(**_typed(arrays, _STENCILS)),
        **_typed(arrays, _MAP),
    )
    if not _fits(fusion_map, model):
        raise ModelFileError(f"the fused topology in {path} does not fit its body; {CURE}")
    return fusion_map


def _narrow(values: Array) -> Array:
    if values.dtype.kind != "i":
        return values
    return values.astype(np.min_scalar_type(int(values.max(initial=0))))


def _typed(arrays: Mapping[str, Array], names: Mapping[str, type[np.generic]]) -> dict[str, Any]:
    return {name: np.ascontiguousarray(arrays[name], dtype) for name, dtype in names.items()}


def _fits(fusion_map: FusionMap, model: BodyModel) -> bool:
    """Whether all shapes agree and every index is one that the kernels may follow."""
    topology, stencils = fusion_map.topology, fusion_map.stencils
    body, new, drawn = len(model.template_m), len(stencils.sources), len(topology.render_vertices)
    count, faces, entries = body + new, len(topology.faces), len(fusion_map.morph_actions)
    starts = fusion_map.morph_starts
    shapes = (
        topology.faces.shape == topology.render_faces.shape == (faces, 3),
        topology.regions.shape == (count,),
        topology.seam_edges.shape == (len(topology.seam_edges), 2),
        topology.render_uvs.shape == (drawn, 2),
        stencils.sources.shape == stencils.weights.shape,
        fusion_map.skin_joints.shape == fusion_map.skin_weights.shape,
        len(fusion_map.skin_joints) == count and fusion_map.skin_joints.ndim == 2,
        starts.shape == (count + 1,) and fusion_map.morph_offsets_m.shape == (entries, 3),
    )
    limits = (
        (topology.faces, count),
        (topology.seam_edges, count),
        (topology.render_vertices, count),
        (topology.render_faces, drawn),
        (topology.regions, len(Region)),
        (stencils.sources, body),
        (fusion_map.skin_joints, len(model.parents)),
        (fusion_map.morph_actions, len(ARKIT_NAMES)),
    )
    floats = (stencils.weights, fusion_map.skin_weights, fusion_map.morph_offsets_m)
    return (
        all(shapes)
        and all(v.size > 0 and v.min() >= 0 and v.max() < limit for v, limit in limits)
        and all(bool(np.isfinite(v).all()) for v in (*floats, topology.render_uvs))
        and bool(starts[0] == 0 and starts[-1] == entries and (np.diff(starts) >= 0).all())
    )
