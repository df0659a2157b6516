"""Draws posed fused meshes in any OpenGL context (headless or a viewer's window)."""

from __future__ import annotations

from typing import Any

import moderngl
import numpy as np

from engine.avatar.topology import Topology
from engine.rendering.light import Light, Vector
from engine.rendering.shaders import MESH_FRAGMENT, MESH_VERTEX
from engine.types import F32, U8, FusedMesh

PLAIN_ALBEDO = np.full((1, 1, 3), (205, 170, 150), np.uint8)


def _unit(direction: Vector) -> Vector:
    x, y, z = np.asarray(direction) / np.linalg.norm(direction)
    return float(x), float(y), float(z)


class MeshDrawer:
    """Holds one avatar's buffers: topology uploaded when it changes, vertices once per frame."""

    def __init__(self, context: moderngl.Context) -> None:
        self._context = context
        self._program = context.program(MESH_VERTEX, MESH_FRAGMENT)
        self._topology: Topology | None = None
        self._buffers: list[Any] = []
        self._albedo = self._upload_texture(PLAIN_ALBEDO)
        self.set_light(Light())

    def set_light(self, light: Light) -> None:
        """Use another light from the next drawing on."""
        uniforms = {
            "key_direction": _unit(light.key_direction),
            "key": light.key,
            "fill_direction": _unit(light.fill_direction),
            "fill": light.fill,
            "sky": light.sky,
            "ground": light.ground,
            "specular": light.specular,
        }
        for name, value in uniforms.items():
            self._program[name] = value

    def set_texture(self, albedo: U8 | None) -> None:
        """Use another (H, W, 3) RGB albedo; ``None`` is one plain skin colour."""
        self._albedo.release()
        self._albedo = self._upload_texture(PLAIN_ALBEDO if albedo is None else albedo)

    def draw(self, mesh: FusedMesh, projection: F32, eye: Vector = (0.0, 0.0, 0.0)) -> None:
        """Draw into the bound framebuffer.

        Args:
            mesh: vertices and normals in the space that ``projection`` starts from.
            projection: (4, 4) row-major, to clip space.
            eye: where the viewer is in that space: the sheen needs it.
        """
        if mesh.topology is not self._topology:
            self._upload_topology(mesh.topology)
        self._upload_vertices(mesh)
        self._program["eye"] = eye
        self._program["projection"] = tuple(projection.T.ravel().tolist())
        self._albedo.use(0)
        # A closed surface shows only its outside: a third less work for a software renderer. A
        # mirrored or upside-down projection turns triangles the other way round.
        self._context.front_face = "ccw" if np.linalg.det(projection) < 0 else "cw"
        self._context.enable_only(moderngl.DEPTH_TEST | moderngl.CULL_FACE)
        self._vertex_array.render()

    def caster(self, program: moderngl.Program) -> moderngl.VertexArray:
        """The last drawn mesh for another program that takes only ``position``: shadows.

        It shares this drawer's buffers, so it follows every drawing until the topology changes.
        """
        layout = [(self._position_buffer, "3f", "position")]
        return self._context.vertex_array(program, layout, self._index_buffer)

    def release(self) -> None:
        """Give every OpenGL object back."""
        for item in (*self._buffers, self._albedo, self._program):
            item.release()
        self._buffers = []

    def _upload_texture(self, albedo: U8) -> moderngl.Texture:
        height, width, _ = albedo.shape
        texture = self._context.texture((width, height), 3, np.ascontiguousarray(albedo).data)
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_NEAREST, moderngl.LINEAR)
        return texture

    def _upload_topology(self, topology: Topology) -> None:
        for item in self._buffers:
            item.release()
        count = len(topology.render_vertices)
        self._gather = np.ascontiguousarray(topology.render_vertices, np.intp)
        self._positions = np.empty((count, 3), np.float32)
        self._normals = np.empty((count, 3), np.float32)
        self._position_buffer = self._context.buffer(self._positions, dynamic=True)
        self._normal_buffer = self._context.buffer(self._normals, dynamic=True)
        uvs = self._context.buffer(np.ascontiguousarray(topology.render_uvs, np.float32))
        indices = self._context.buffer(np.ascontiguousarray(topology.render_faces, np.int32))
        self._index_buffer = indices
        layout = [
            (self._position_buffer, "3f", "position"),
            (self._normal_buffer, "3f", "normal"),
            (uvs, "2f", "uv"),
        ]
        self._vertex_array = self._context.vertex_array(self._program, layout, indices)
        self._buffers = [self._vertex_array, *(entry[0] for entry in layout), indices]
        self._topology = topology

    def _upload_vertices(self, mesh: FusedMesh) -> None:
        np.take(mesh.vertices_m, self._gather, axis=0, out=self._positions, mode="clip")
        np.take(mesh.normals, self._gather, axis=0, out=self._normals, mode="clip")
        self._position_buffer.write(self._positions)
        self._normal_buffer.write(self._normals)
