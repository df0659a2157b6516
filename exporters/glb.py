"""A fused avatar as a GLB: a valid glTF 2.0 skinned, morphable mesh that any viewer opens.

Two things make it more than a picture of the avatar. The attribute ``_VERTEX`` says which
geometric vertex each drawn vertex is, so ``engine.avatar.glb_reader`` can close texture seams and
rebuild the avatar exactly; and ``extras`` of the mesh name the accessors that hold the regions and
the seam. Eight joints per vertex take two sets; a viewer that knows only the first (three.js)
renormalises the four strongest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pygltflib as gltf
from numpy.typing import NDArray

from engine.avatar.texture_codec import encode_texture
from engine.avatar.topology import FusedAvatar
from engine.fusion.normals import vertex_normals
from engine.types import ARKIT_NAMES, F32
from exporters.motion.clip import MotionClip

Array = NDArray[Any]

_COMPONENT = {
    np.dtype(np.uint8): gltf.UNSIGNED_BYTE,
    np.dtype(np.uint16): gltf.UNSIGNED_SHORT,
    np.dtype(np.uint32): gltf.UNSIGNED_INT,
    np.dtype(np.float32): gltf.FLOAT,
}
_TYPE = {1: gltf.SCALAR, 2: gltf.VEC2, 3: gltf.VEC3, 4: gltf.VEC4, 16: gltf.MAT4}


class _Writer:
    """Collects arrays into one buffer and their accessors into one document."""

    def __init__(self) -> None:
        self.document = gltf.GLTF2(asset=gltf.Asset(version="2.0", generator="sars"))
        self._parts: list[bytes] = []
        self._length = 0

    def view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes, aligned to four, as a buffer view."""
        self.document.bufferViews.append(
            gltf.BufferView(buffer=0, byteOffset=self._length, byteLength=len(data), target=target)
        )
        padded = data + b"\0" * (-len(data) % 4)
        self._parts.append(padded)
        self._length += len(padded)
        return len(self.document.bufferViews) - 1

    def array(self, values: Array, target: int | None = None, bounds: bool = False) -> int:
        """Append a (n, width) array as an accessor."""
        values = np.ascontiguousarray(values)
        view = self.view(values.tobytes(), target)
        accessor = gltf.Accessor(
            bufferView=view,
            componentType=_COMPONENT[values.dtype],
            count=len(values),
            type=_TYPE[values.shape[1]],
        )
        return self._add(accessor, values if bounds else None)

    def sparse(self, count: int, indices: Array, values: F32) -> int:
        """Append an accessor of ``count`` vectors that are zero except at ``indices``."""
        if not len(indices):
            # glTF wants at least one entry; the reader drops offsets of zero.
            indices, values = np.zeros(1, np.uint32), np.zeros((1, 3), np.float32)
        if count <= np.iinfo(np.uint16).max:
            indices = indices.astype(np.uint16)
        accessor = gltf.Accessor(
            byteOffset=None,  # no base view: zero where the sparse entries do not say otherwise
            componentType=gltf.FLOAT,
            count=count,
            type=gltf.VEC3,
            sparse=gltf.Sparse(
                count=len(indices),
                indices=gltf.AccessorSparseIndices(
                    bufferView=self.view(indices.tobytes()),
                    componentType=_COMPONENT[indices.dtype],
                ),
                values=gltf.AccessorSparseValues(bufferView=self.view(values.tobytes())),
            ),
        )
        full = values if len(values) == count else np.concatenate([values, np.zeros((1, 3))])
        return self._add(accessor, full)

    def finish(self) -> bytes:
        """The GLB file."""
        self.document.buffers = [gltf.Buffer(byteLength=self._length)]
        self.document.set_binary_blob(b"".join(self._parts))
        return b"".join(self.document.save_to_bytes())

    def _add(self, accessor: Any, bounded: Array | None) -> int:
        if bounded is not None:
            accessor.min = bounded.min(axis=0).tolist()
            accessor.max = bounded.max(axis=0).tolist()
        self.document.accessors.append(accessor)
        return len(self.document.accessors) - 1


def write_glb(avatar: FusedAvatar, motion: MotionClip | None = None) -> bytes:
    """The avatar as one self-contained binary glTF 2.0 file.

    Positions, weights and offsets stay float32, so that reading it back is exact; the texture, if
    any, becomes a JPEG.

    Args:
        avatar: at rest.
        motion: of this avatar: an animation named "motion", its key times as they were.
    """
    writer = _Writer()
    document = writer.document
    primitive = gltf.Primitive(
        attributes=_attributes(writer, avatar),
        indices=_indices(writer, avatar),
        targets=_targets(writer, avatar),
        material=0,
    )
    extras = {
        "targetNames": list(ARKIT_NAMES),
        "identityVersion": int(avatar.identity_version),
        "regions": writer.array(avatar.topology.regions[:, None]),
        "seamEdges": writer.array(avatar.topology.seam_edges.reshape(-1, 1).astype(np.uint32)),
    }
    document.meshes = [
        gltf.Mesh(
            name="avatar",
            primitives=[primitive],
            weights=[0.0] * len(ARKIT_NAMES),
            extras=extras,
        )
    ]
    _add_skeleton(writer, avatar)
    _add_material(writer, avatar)
    if motion is not None:
        _add_animation(writer, avatar, motion)
    return writer.finish()


def _attributes(writer: _Writer, avatar: FusedAvatar) -> Any:
    topology = avatar.topology
    drawn = topology.render_vertices
    normals = np.zeros_like(avatar.rest_vertices_m)
    vertex_normals(avatar.rest_vertices_m, topology.faces, normals)
    attributes = gltf.Attributes(
        POSITION=writer.array(avatar.rest_vertices_m[drawn], gltf.ARRAY_BUFFER, bounds=True),
        NORMAL=writer.array(normals[drawn], gltf.ARRAY_BUFFER),
        TEXCOORD_0=writer.array(topology.render_uvs, gltf.ARRAY_BUFFER),
    )
    # Attributes may not be 32-bit integers; float32 counts exactly to 16 million.
    vertex = drawn[:, None].astype(np.float32)
    attributes._VERTEX = writer.array(vertex, gltf.ARRAY_BUFFER)
    sets = -(-avatar.skin_joints.shape[1] // 4)
    spare = ((0, 0), (0, 4 * sets - avatar.skin_joints.shape[1]))
    joints = np.pad(avatar.skin_joints, spare)[drawn].astype(np.uint8)
    weights = np.pad(avatar.skin_weights, spare)[drawn].astype(np.float32)
    for n in range(sets):
        part = slice(4 * n, 4 * n + 4)
        setattr(attributes, f"JOINTS_{n}", writer.array(joints[:, part], gltf.ARRAY_BUFFER))
        setattr(attributes, f"WEIGHTS_{n}", writer.array(weights[:, part], gltf.ARRAY_BUFFER))
    return attributes


def _indices(writer: _Writer, avatar: FusedAvatar) -> int:
    faces = avatar.topology.render_faces.reshape(-1, 1)
    small = len(avatar.topology.render_vertices) <= np.iinfo(np.uint16).max
    return writer.array(faces.astype(np.uint16 if small else np.uint32), gltf.ELEMENT_ARRAY_BUFFER)


def _targets(writer: _Writer, avatar: FusedAvatar) -> list[dict[str, int]]:
    drawn = avatar.topology.render_vertices
    vertex = np.repeat(np.arange(len(avatar.rest_vertices_m)), np.diff(avatar.morph_starts))
    targets = []
    for action in range(len(ARKIT_NAMES)):
        entries = np.flatnonzero(avatar.morph_actions == action)
        entry_of = np.full(len(avatar.rest_vertices_m), -1)
        entry_of[vertex[entries]] = entries
        indices = np.flatnonzero(entry_of[drawn] >= 0)
        offsets = avatar.morph_offsets_m[entry_of[drawn[indices]]]
        targets.append({"POSITION": writer.sparse(len(drawn), indices.astype(np.uint32), offsets)})
    return targets


def _add_skeleton(writer: _Writer, avatar: FusedAvatar) -> None:
    """One node per joint in the avatar's order, then the node that holds the mesh."""
    document = writer.document
    for joint, name in enumerate(avatar.joint_names):
        parent = avatar.parents[joint]
        origin = avatar.joints_m[parent] if parent >= 0 else np.zeros(3, np.float32)
        children = np.flatnonzero(avatar.parents == joint).tolist()
        document.nodes.append(
            gltf.Node(
                name=name,
                translation=(avatar.joints_m[joint] - origin).tolist(),
                children=children,
            )
        )
    matrices = np.tile(np.eye(4, dtype=np.float32), (len(avatar.joint_names), 1, 1))
    matrices[:, 3, :3] = -avatar.joints_m  # column-major: the translation is the last column
    joints = list(range(len(avatar.joint_names)))
    inverse = writer.array(matrices.reshape(-1, 16))
    document.skins = [gltf.Skin(joints=joints, inverseBindMatrices=inverse, skeleton=0)]
    document.nodes.append(gltf.Node(name="avatar", mesh=0, skin=0))
    document.scenes = [gltf.Scene(nodes=[0, len(joints)])]
    document.scene = 0


def _add_animation(writer: _Writer, avatar: FusedAvatar, motion: MotionClip) -> None:
    """Rotations of the joints that move, the root's place, and the morph targets' weights."""
    animation = gltf.Animation(name="motion")
    times = writer.array(motion.times_s.astype(np.float32)[:, None], bounds=True)

    def channel(node: int, path: str, values: Array) -> None:
        sampler = gltf.AnimationSampler(
            input=times, output=writer.array(values), interpolation="LINEAR"
        )
        animation.samplers.append(sampler)
        target = gltf.AnimationChannelTarget(node=node, path=path)
        animation.channels.append(
            gltf.AnimationChannel(sampler=len(animation.samplers) - 1, target=target)
        )

    for joint in range(len(avatar.joint_names)):
        turns = motion.rotations_xyzw[:, joint]
        if np.abs(turns[:, :3]).max() > 0.0:
            channel(joint, "rotation", turns)
    channel(0, "translation", motion.translation_m + avatar.joints_m[0])
    channel(len(avatar.joint_names), "weights", motion.expression.reshape(-1, 1))
    writer.document.animations = [animation]


def _add_material(writer: _Writer, avatar: FusedAvatar) -> None:
    document = writer.document
    surface = gltf.PbrMetallicRoughness(metallicFactor=0.0, roughnessFactor=0.7)
    if avatar.texture is None:
        surface.baseColorFactor = [0.80, 0.62, 0.53, 1.0]
    else:
        view = writer.view(encode_texture(avatar.texture))
        document.images = [gltf.Image(bufferView=view, mimeType="image/jpeg")]
        document.samplers = [gltf.Sampler()]
        document.textures = [gltf.Texture(sampler=0, source=0)]
        surface.baseColorTexture = gltf.TextureInfo(index=0)
    document.materials = [gltf.Material(name="skin", pbrMetallicRoughness=surface)]
