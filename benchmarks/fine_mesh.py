"""A posed face at the resolution of skin: what a camera sees of wrinkles finer than the mesh.

The fused face's vertices lie two to five millimetres apart, so that relief rendered on them is
smoothed by its normals. Truth must not be: the patch is split into quarters, displaced, and its
normals are those of the smooth mesh turned by what the displacement changes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.avatar.topology import Region, Topology
from engine.fusion.normals import vertex_normals
from engine.types import F32, I32, FusedMesh

LEVELS = 1


@dataclass(frozen=True, slots=True)
class FineMesh:
    """The drawn mesh with its face patch split."""

    topology: Topology
    """Each vertex is drawn once; only what drawing needs is filled in."""
    coarse: I32
    """(R,) the fused vertices that come first."""
    pairs: tuple[I32, ...]
    """(M, 2) per level: the ends of the edges that its new vertices halve."""

    @staticmethod
    def of(topology: Topology) -> FineMesh:
        """Split every triangle of the face patch LEVELS times."""
        patch = (topology.regions[topology.faces] != Region.BODY).all(axis=1)
        rest, faces = topology.render_faces[~patch], topology.render_faces[patch]
        uvs, levels = topology.render_uvs, []
        for _ in range(LEVELS):
            faces, pairs = _split(faces, len(uvs))
            uvs = np.concatenate([uvs, uvs[pairs].mean(axis=1)])
            levels.append(pairs)
        every = np.concatenate([rest, faces]).astype(np.int32)
        fine = Topology(
            every,
            np.zeros(len(uvs), np.uint8),
            np.zeros((0, 2), np.int32),
            np.arange(len(uvs), dtype=np.int32),
            np.ascontiguousarray(uvs, np.float32),
            every,
        )
        return FineMesh(fine, topology.render_vertices, tuple(levels))

    def displaced(self, mesh: FusedMesh, heights_m: F32) -> FusedMesh:
        """A posed mesh with relief.

        Args:
            mesh: smooth.
            heights_m: per vertex of the fine mesh, along its normal.
        """
        positions = self._refined(mesh.vertices_m)
        normals = self._refined(mesh.normals)
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
        moved = np.ascontiguousarray(positions + heights_m[:, None] * normals, np.float32)
        before, after = np.zeros_like(moved), np.zeros_like(moved)
        vertex_normals(positions, self.topology.faces, before)
        vertex_normals(moved, self.topology.faces, after)
        turned = normals + (after - before)
        turned /= np.maximum(np.linalg.norm(turned, axis=1, keepdims=True), 1e-9)
        return FusedMesh(mesh.index, mesh.captured_at_ns, moved, turned, self.topology)

    def _refined(self, values: F32) -> F32:
        fine = values[self.coarse]
        for pairs in self.pairs:
            fine = np.concatenate([fine, fine[pairs].mean(axis=1)])
        return np.ascontiguousarray(fine, np.float32)


def _split(faces: I32, count: int) -> tuple[I32, I32]:
    """Four triangles for each, and the (M, 2) edges whose middles are vertices count, ..."""
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    pairs, names = np.unique(edges, axis=0, return_inverse=True)
    ab, bc, ca = (names.reshape(-1, 3) + count).T
    a, b, c = faces.T
    quarters = np.stack([a, ab, ca, ab, b, bc, ca, bc, c, ab, bc, ca], axis=1)
    return quarters.reshape(-1, 3).astype(np.int32), pairs.astype(np.int32)
