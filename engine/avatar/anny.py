"""The Anny parametric body, read from the array file that ``exporters.anny_bake`` writes.

Shape follows Anny's own model (Bregier et al., *Human Mesh Modeling for Anny Body*): each
phenotype is interpolated piecewise linearly between anchors; the weight of one blend shape is the
product of the variations it belongs to; a projection takes the weights to a compact basis; the
basis moves vertices and joints linearly. On top of that a person's own face is a linear
combination of the head's identity basis, ``S_i alpha`` of SARS eq. (1). No torch here.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.array_file import DAMAGE
from engine.errors import AvatarError, ModelFileError
from engine.types import ARKIT_NAMES, F32, I32, JOINT_COUNT, U8, Phenotypes

FORMAT_VERSION = 4
FILE_NAME = "anny.npz"
PHENOTYPE_NAMES = tuple(field.name for field in fields(Phenotypes))
PART_NAMES = (
    "body",
    "head",
    "hand.R",
    "hand.L",
    "eye_back.L",
    "eye_front.L",
    "eye_back.R",
    "eye_front.R",
    "eye_cavity.R",
    "eye_cavity.L",
    "mouth_cavity",
    "foot.L",
    "foot.R",
    "tongue",
)
"""What ``face_parts`` counts: Anny's own anatomical labels of triangles."""

_MAX_BYTES = 256 << 20
CURE = "run `sars setup` to bake it again"


@dataclass(frozen=True, slots=True)
class RestShape:
    """A person's own body before it is posed."""

    vertices_m: F32
    """(V, 3), glTF axes, the lowest vertex at y = 0."""
    joints_m: F32
    """(J, 3) in the same frame."""


@dataclass(frozen=True, slots=True)
class BodyModel:
    """Anny as plain arrays. V vertices, J joints, K basis shapes, R phenotype products."""

    template_m: F32
    """(V, 3) glTF axes."""
    basis_coarse_m: F32
    """(C, 3V): vertex displacement of the large basis shapes, x y z of vertex 0 first."""
    basis_fine: NDArray[np.int16]
    """(K - C, 3V): the small ones, in steps; as stored, for they are read once a person."""
    basis_fine_step_m: float
    template_joints_m: F32
    """(J, 3)."""
    joint_basis_m: F32
    """(K, 3J)."""
    anchors: F32
    """(A,): where on [0, 1] each variation sits, the six phenotypes one after the other."""
    anchor_counts: I32
    """(6,): how many anchors each phenotype has, in the order of PHENOTYPE_NAMES."""
    variations: U8
    """(R, A) 0 or 1: the variations whose weights multiply to one product."""
    projection: F32
    """(R, K): products to basis coefficients."""
    head_vertices: I32
    """(H,) the vertices that a face's own shape moves, increasing."""
    head_basis: NDArray[np.int16]
    """(I, 3H): what one standard deviation of each identity coefficient moves, in steps."""
    head_basis_step_m: float
    head_joint_basis_m: F32
    """(I, 3J)."""
    skin_joints: I32
    """(V, 9)."""
    skin_weights: F32
    """(V, 9), rows sum to 1, unused slots 0."""
    faces: I32
    """(F, 3) counter-clockwise seen from outside."""
    face_parts: U8
    """(F,) index into PART_NAMES."""
    uvs: F32
    """(T, 2), glTF convention: (0, 0) is the texture's top-left."""
    face_uvs: I32
    """(F, 3) index into uvs for each corner of a face."""
    joint_names: tuple[str, ...]
    parents: I32
    """(J,), -1 for the root; parents come before children."""
    morph_starts: I32
    """(V + 1,): the morph entries of vertex v are morph_starts[v]:morph_starts[v + 1]."""
    morph_actions: I32
    """(N,) index into ARKIT_NAMES."""
    morph_offsets_m: F32
    """(N, 3), the same for every body shape, as in Anny."""

    @staticmethod
    def load(path: Path) -> BodyModel:
        """Read and check a baked file.

        Raises:
            ModelFileError: the file is missing, damaged, too large, or not what bake writes.
        """
        arrays = read_arrays(path)
        try:
            model = decode(arrays)
        except (KeyError, ValueError, TypeError, IndexError, UnicodeDecodeError) as error:
            raise ModelFileError(f"{path} is not a baked Anny body ({error}); {CURE}") from error
        _check(model, path)
        return model

    def coefficients(self, phenotypes: Phenotypes) -> F32:
        """(K,) basis coefficients; phenotypes outside of [0, 1] are clamped, as in Anny."""
        weights = _variation_weights(phenotypes, self.anchors, self.anchor_counts)
        products = np.where(self.variations > 0, weights, 1.0).prod(axis=1)
        return np.asarray(products @ self.projection, np.float32)

    @property
    def identity_count(self) -> int:
        """I: how many coefficients a face of one's own has."""
        return len(self.head_basis)

    def shape(self, phenotypes: Phenotypes, face: F32 | None = None) -> RestShape:
        """The rest pose of a person with these phenotypes (Anny's eq. for the rest mesh).

        Args:
            phenotypes: of the whole body.
            face: (I,) how the person's own face differs from the one that the phenotypes make,
                in standard deviations of the identity basis; None for not at all.

        Raises:
            AvatarError: ``face`` has not the basis' length, or a number in it is not one.
        """
        coefficients = self.coefficients(phenotypes)
        large, small = np.split(coefficients, [len(self.basis_coarse_m)])
        displacements = large @ self.basis_coarse_m
        displacements += np.einsum("k,kv->v", small * self.basis_fine_step_m, self.basis_fine)
        vertices = self.template_m + displacements.reshape(-1, 3)
        joints = self.template_joints_m + (coefficients @ self.joint_basis_m).reshape(-1, 3)
        if face is not None:
            moved, joints_moved = self._own_face(face)
            vertices[self.head_vertices] += moved
            joints += joints_moved
        floor = np.array([0.0, vertices[:, 1].min(), 0.0], np.float32)
        return RestShape(vertices - floor, joints - floor)

    def _own_face(self, face: F32) -> tuple[F32, F32]:
        """Displacements (H, 3) of the head's vertices and (J, 3) of the joints, metres."""
        if face.shape != (self.identity_count,) or not np.isfinite(face).all():
            raise AvatarError(
                f"a face has {self.identity_count} finite coefficients in this body model, found "
                f"an array of shape {face.shape}; estimate it with the same model"
            )
        steps = face.astype(np.float32) * np.float32(self.head_basis_step_m)
        moved = np.einsum("i,iv->v", steps, self.head_basis)
        joints = face.astype(np.float32) @ self.head_joint_basis_m
        return moved.reshape(-1, 3), joints.reshape(-1, 3)


def _variation_weights(phenotypes: Phenotypes, anchors: F32, counts: I32) -> NDArray[np.float64]:
    """(A,) hat-function weights: each phenotype between its two neighbouring anchors."""
    weights = np.zeros(len(anchors))
    start = 0
    for value, count in zip(astuple(phenotypes), counts, strict=True):
        own = anchors[start : start + count]
        value = min(max(float(value), float(own[0])), float(own[-1]))
        upper = min(max(int(np.searchsorted(own, value)), 1), int(count) - 1)
        t = (value - own[upper - 1]) / (own[upper] - own[upper - 1])
        weights[start + upper - 1], weights[start + upper] = 1.0 - t, t
        start += count
    return weights


def read_arrays(path: Path, prefix: str = "") -> dict[str, NDArray[Any]]:
    """The arrays of a baked file whose names are ``prefix`` and one word, keyed by that word.

    Raises:
        ModelFileError: the file is missing, damaged or too large.
    """
    if not path.is_file():
        raise ModelFileError(f"the baked body {path} does not exist; run `sars setup`")
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MAX_BYTES:
            raise ModelFileError(f"{path} would unpack to {size} bytes, more than {_MAX_BYTES}")
        with np.load(path, allow_pickle=False) as stored:
            names = [name for name in stored.files if name.rpartition(".")[0] == prefix.rstrip(".")]
            return {name.removeprefix(prefix): stored[name] for name in names}
    except DAMAGE as error:
        raise ModelFileError(f"{path} is damaged ({error}); {CURE}") from error


def decode(arrays: Mapping[str, NDArray[Any]]) -> BodyModel:
    """A body from the arrays of its file, their values not yet checked.

    Raises:
        KeyError, ValueError, TypeError: they are not the arrays that bake writes.
    """
    if int(arrays["format_version"]) != FORMAT_VERSION:
        raise ValueError(f"format {arrays['format_version']}, expected {FORMAT_VERSION}")
    offsets = arrays["morph_offsets"] * np.float32(arrays["morph_step_m"])
    plain = {
        name: np.ascontiguousarray(arrays[name], dtype) for name, dtype in _PLAIN_ARRAYS.items()
    }
    names = tuple(str(name) for name in arrays["joint_names"])
    return BodyModel(
        basis_fine_step_m=float(arrays["basis_fine_step_m"]),
        head_basis_step_m=float(arrays["head_basis_step_m"]),
        morph_offsets_m=offsets,
        joint_names=names,
        **plain,
    )


_PLAIN_ARRAYS: dict[str, Any] = {
    "template_m": np.float32,
    "template_joints_m": np.float32,
    "joint_basis_m": np.float32,
    "basis_coarse_m": np.float32,
    "basis_fine": np.int16,
    "anchors": np.float32,
    "anchor_counts": np.int32,
    "variations": np.uint8,
    "projection": np.float32,
    "head_vertices": np.int32,
    "head_basis": np.int16,
    "head_joint_basis_m": np.float32,
    "skin_joints": np.int32,
    "skin_weights": np.float32,
    "faces": np.int32,
    "face_parts": np.uint8,
    "uvs": np.float32,
    "face_uvs": np.int32,
    "parents": np.int32,
    "morph_starts": np.int32,
    "morph_actions": np.int32,
}


def _check(model: BodyModel, path: Path) -> None:
    """Every shape and every index, once, so that no kernel has to."""
    v, j, f = len(model.template_m), len(model.template_joints_m), len(model.faces)
    c, d = len(model.basis_coarse_m), len(model.basis_fine)
    k, r, a = c + d, len(model.variations), len(model.anchors)
    h, i = len(model.head_vertices), len(model.head_basis)
    expected = {
        "template_m": (v, 3), "template_joints_m": (JOINT_COUNT, 3),
        "basis_coarse_m": (c, 3 * v), "basis_fine": (d, 3 * v),
        "joint_basis_m": (k, 3 * j), "anchors": (a,), "anchor_counts": (len(PHENOTYPE_NAMES),),
        "variations": (r, a), "projection": (r, k), "skin_joints": (v, 9),
        "skin_weights": (v, 9), "faces": (f, 3), "face_parts": (f,),
        "uvs": (len(model.uvs), 2), "face_uvs": (f, 3), "parents": (j,),
        "head_vertices": (h,), "head_basis": (i, 3 * h), "head_joint_basis_m": (i, 3 * j),
        "morph_starts": (v + 1,), "morph_offsets_m": (len(model.morph_actions), 3),
    }  # fmt: skip
    for name, shape in expected.items():
        if getattr(model, name).shape != shape:
            found = getattr(model, name).shape
            raise ModelFileError(f"{path}: {name} has shape {found}, expected {shape}; {CURE}")
    ranges = {
        "faces": v, "face_uvs": len(model.uvs), "skin_joints": j, "head_vertices": v,
        "face_parts": len(PART_NAMES), "morph_actions": len(ARKIT_NAMES),
    }  # fmt: skip
    for name, limit in ranges.items():
        values = getattr(model, name)
        if values.size and not (values.min() >= 0 and values.max() < limit):
            raise ModelFileError(f"{path}: {name} points outside of 0..{limit - 1}; {CURE}")
    if not _is_tree(model.parents) or len(model.joint_names) != j:
        raise ModelFileError(f"{path}: the joints are not a tree in order; {CURE}")
    if int(model.anchor_counts.sum()) != a or not _is_partition(model.morph_starts, model):
        raise ModelFileError(f"{path}: anchors or morph entries do not add up; {CURE}")
    for field in fields(model):
        values = getattr(model, field.name)
        if field.name != "joint_names" and not np.isfinite(values).all():
            raise ModelFileError(f"{path}: {field.name} holds numbers not finite; {CURE}")


def _is_tree(parents: I32) -> bool:
    order = np.arange(len(parents))
    return bool(parents[0] == -1 and (parents[1:] >= 0).all() and (parents < order).all())


def _is_partition(starts: I32, model: BodyModel) -> bool:
    ends = starts[0] == 0 and starts[-1] == len(model.morph_actions)
    return bool(ends and (np.diff(starts) >= 0).all())
