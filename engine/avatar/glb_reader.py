"""A fused avatar from the GLB that a peer sent: exactly the one that was written, or an error.

The layout is the one ``exporters.glb`` writes: drawn vertices with the attribute ``_VERTEX``, the
number of the geometric vertex that each of them is, so that texture seams can be closed again.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.avatar.glb_container import Container, Primitive, read_container
from engine.avatar.texture_codec import decode_texture
from engine.avatar.topology import FusedAvatar, Region, Topology
from engine.errors import ModelFileError
from engine.types import ARKIT_NAMES, F32, I32, U8

DEFAULT_LIMIT = 64 << 20
MAX_VERTICES = 100_000
"""Drawn ones; ours have 21,000."""
MAX_TRIANGLES = 2 * MAX_VERTICES
MAX_MORPH_ENTRIES = 1_000_000
"""Of all expressions together; ours have 164,000."""
MAX_JOINTS = 256
MAX_INFLUENCES = 16
FLOAT, UBYTE, USHORT, UINT = (5126,), (5121,), (5121, 5123), (5121, 5123, 5125)


def read_glb(data: bytes, limit: int = DEFAULT_LIMIT) -> FusedAvatar:
    """Rebuild the avatar.

    Args:
        data: the GLB, treated as hostile.
        limit: the most bytes that are accepted.

    Raises:
        ModelFileError: the bytes are not an avatar that this engine wrote; one sentence says why.
    """
    container = read_container(data, limit)
    mesh = container.document.meshes
    if len(mesh) != 1 or len(mesh[0].primitives) != 1 or len(container.document.skins) != 1:
        raise ModelFileError("the avatar should have one mesh of one part and one skin")
    primitive = mesh[0].primitives[0]
    extras = mesh[0].extras
    _check_sizes(container, primitive)
    topology, drawn = _read_topology(container, primitive, extras)
    joints_m, names, parents = _read_skeleton(container)
    skin_joints, skin_weights = _read_skin(container, primitive, drawn, len(names))
    starts, actions, offsets = _read_morphs(container, primitive, topology)
    return FusedAvatar(
        topology=topology,
        rest_vertices_m=_attribute(container, primitive, "POSITION", FLOAT, "VEC3")[drawn],
        joints_m=joints_m,
        joint_names=names,
        parents=parents,
        skin_joints=skin_joints,
        skin_weights=skin_weights,
        morph_starts=starts,
        morph_actions=actions,
        morph_offsets_m=offsets,
        texture=_read_texture(container),
        identity_version=_integer(extras, "identityVersion"),
    )


def _check_sizes(container: Container, primitive: Primitive) -> None:
    """Before anything is read: a few bytes of JSON can name the same megabytes again and again."""
    accessors = container.document.accessors
    if any(accessor.count > 3 * MAX_TRIANGLES for accessor in accessors):
        raise ModelFileError(f"the avatar has an array of more than {3 * MAX_TRIANGLES} elements")
    position = _named(primitive.attributes, "POSITION")
    vertices = container.accessor(position, FLOAT, "VEC3").count
    if vertices > MAX_VERTICES:
        raise ModelFileError(f"the avatar has {vertices} vertices, at most {MAX_VERTICES}")
    targets = (_named(target, "POSITION") for target in primitive.targets)
    parts = (container.accessor(target, FLOAT, "VEC3").sparse for target in targets)
    entries = sum(max(0, part.count) for part in parts if part is not None)
    if entries > MAX_MORPH_ENTRIES:
        raise ModelFileError(
            f"the avatar's expressions have {entries} entries, at most {MAX_MORPH_ENTRIES}"
        )


def _read_topology(
    container: Container, primitive: Primitive, extras: dict[str, object]
) -> tuple[Topology, NDArray[np.int64]]:
    """The topology, and for each geometric vertex one of the drawn ones."""
    numbers = _attribute(container, primitive, "_VERTEX", FLOAT, "SCALAR")[:, 0]
    uvs = _attribute(container, primitive, "TEXCOORD_0", FLOAT, "VEC2")
    indices = container.array(primitive.indices, UINT, "SCALAR")[:, 0]
    drawn_count = len(numbers)
    if (numbers != np.rint(numbers)).any() or numbers.min() < 0 or numbers.max() >= drawn_count:
        raise ModelFileError("the avatar's _VERTEX attribute should hold whole vertex numbers")
    render_vertices = numbers.astype(np.int32)
    present, drawn = np.unique(render_vertices, return_index=True)
    count = len(present)
    if present[-1] != count - 1:
        raise ModelFileError("the avatar's _VERTEX attribute leaves out some vertices")
    if len(uvs) != drawn_count or len(indices) % 3 or indices.max() >= drawn_count:
        raise ModelFileError("the avatar's triangles point outside of its vertices")
    render_faces = indices.astype(np.int32).reshape(-1, 3)
    regions = container.array(_integer(extras, "regions"), UBYTE, "SCALAR")[:, 0]
    seam = container.array(_integer(extras, "seamEdges"), UINT, "SCALAR")[:, 0]
    if len(regions) != count or regions.max() > max(Region):
        raise ModelFileError("the avatar's regions do not fit its vertices")
    if len(seam) % 2 or seam.max() >= count:
        raise ModelFileError("the avatar's seam points outside of its vertices")
    topology = Topology(
        faces=render_vertices[render_faces],
        regions=regions,
        seam_edges=seam.astype(np.int32).reshape(-1, 2),
        render_vertices=render_vertices,
        render_uvs=uvs,
        render_faces=render_faces,
    )
    return topology, drawn


def _read_skeleton(container: Container) -> tuple[F32, tuple[str, ...], I32]:
    nodes, skin = container.document.nodes, container.document.skins[0]
    if not 1 <= len(skin.joints) <= MAX_JOINTS or len(set(skin.joints)) != len(skin.joints):
        raise ModelFileError(f"the avatar should have between 1 and {MAX_JOINTS} different joints")
    if min(skin.joints) < 0 or max(skin.joints) >= len(nodes):
        raise ModelFileError("the avatar's joints point outside of its nodes")
    order = {node: joint for joint, node in enumerate(skin.joints)}
    parents = np.full(len(order), -1, np.int32)
    for node, joint in order.items():
        for child in nodes[node].children:
            if child in order:
                parents[order[child]] = joint
    if parents[0] != -1 or (parents[1:] < 0).any() or (parents >= np.arange(len(parents))).any():
        raise ModelFileError("the avatar's joints should be one tree, parents before children")
    matrices = container.array(skin.inverse_bind_matrices, FLOAT, "MAT4").reshape(-1, 4, 4)
    if (
        len(matrices) != len(order)
        or not (matrices[:, :3, :3] == np.eye(3, dtype=np.float32)).all()
    ):
        raise ModelFileError("the avatar's joints should be unrotated in its rest pose")
    names = tuple(nodes[node].name for node in skin.joints)
    return np.ascontiguousarray(-matrices[:, 3, :3]), names, parents


def _read_skin(
    container: Container, primitive: Primitive, drawn: NDArray[np.int64], joint_count: int
) -> tuple[I32, F32]:
    sets = [n for n in primitive.attributes if re.fullmatch(r"JOINTS_\d", n)]
    if not 1 <= len(sets) <= MAX_INFLUENCES // 4:
        raise ModelFileError("the avatar should have one to four sets of joints per vertex")
    numbers = range(len(sets))
    joints = [_attribute(container, primitive, f"JOINTS_{n}", USHORT, "VEC4") for n in numbers]
    weights = [_attribute(container, primitive, f"WEIGHTS_{n}", FLOAT, "VEC4") for n in numbers]
    lengths = {len(a) for a in (*joints, *weights)}
    if lengths != {container.document.accessors[primitive.attributes["POSITION"]].count}:
        raise ModelFileError("the avatar's skin does not fit its vertices")
    joint = np.concatenate(joints, axis=1)[drawn].astype(np.int32)
    weight = np.concatenate(weights, axis=1)[drawn]
    if joint.max() >= joint_count:
        raise ModelFileError("the avatar's skin points outside of its joints")
    if weight.min() < 0 or np.abs(weight.sum(axis=1) - 1).max() > 1e-3:
        raise ModelFileError("the avatar's skin weights should be positive and sum to one")
    return joint, np.ascontiguousarray(weight)


def _read_morphs(
    container: Container, primitive: Primitive, topology: Topology
) -> tuple[I32, I32, F32]:
    """Sparse targets over drawn vertices, folded to entries ordered by geometric vertex."""
    if len(primitive.targets) != len(ARKIT_NAMES):
        raise ModelFileError(
            f"the avatar has {len(primitive.targets)} expressions, expected {len(ARKIT_NAMES)}"
        )
    count, drawn_count = len(topology.regions), len(topology.render_vertices)
    vertices, actions, offsets = [], [], []
    for action, target in enumerate(primitive.targets):
        indices, values = container.sparse_array(_named(target, "POSITION"), "VEC3")
        if indices.max() >= drawn_count:
            raise ModelFileError("the avatar's expressions point outside of its vertices")
        folded, first = np.unique(topology.render_vertices[indices], return_index=True)
        moved = values[first].any(axis=1)
        vertices.append(folded[moved])
        actions.append(np.full(int(moved.sum()), action, np.int32))
        offsets.append(values[first][moved])
    vertex = np.concatenate(vertices)
    order = np.argsort(vertex, kind="stable")
    ends = np.cumsum(np.bincount(vertex, minlength=count))
    starts = np.concatenate([[0], ends]).astype(np.int32)
    return starts, np.concatenate(actions)[order], np.concatenate(offsets)[order]


def _read_texture(container: Container) -> U8 | None:
    images = container.document.images
    if not images:
        return None
    if len(images) > 1 or images[0].uri or images[0].buffer_view is None:
        raise ModelFileError("the avatar should hold at most one texture, inside of the file")
    return decode_texture(bytes(container.view_bytes(images[0].buffer_view)))


def _attribute(
    container: Container, primitive: Primitive, name: str, components: tuple[int, ...], width: str
) -> NDArray[Any]:
    values = container.array(_named(primitive.attributes, name), components, width)
    if len(values) != container.document.accessors[_named(primitive.attributes, "POSITION")].count:
        raise ModelFileError(f"the avatar's attribute {name} does not fit its vertices")
    return values


def _named(accessors: dict[str, int], name: str) -> int:
    if name not in accessors:
        raise ModelFileError(
            f"the avatar lacks the attribute {name}; was it written by this engine?"
        )
    return accessors[name]


def _integer(extras: dict[str, object], name: str) -> int:
    value = extras.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ModelFileError(f"the avatar lacks the number {name}; was it written by this engine?")
    return value
