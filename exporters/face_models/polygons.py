"""Polygons of three and four corners to triangles, with their texture coordinates."""

from __future__ import annotations

from engine.types import I32, U8


def triangulate(polygons: I32, polygon_uvs: I32, parts: U8) -> tuple[I32, I32, U8]:
    """Cut every quad along its first diagonal; a fourth corner of -1 marks a triangle.

    Args:
        polygons: (P, 4) vertices.
        polygon_uvs: (P, 4) texture coordinates.
        parts: (P,) what each polygon is.

    Returns:
        (F, 3) faces, (F, 3) their texture coordinates, (F,) their parts; the second halves of
        the quads come after all first halves.
    """
    quads = polygons[:, 3] >= 0
    order = [*range(len(polygons)), *quads.nonzero()[0]]
    first = len(polygons)

    def cut(corners: I32) -> I32:
        triangles = corners[order][:, :3].copy()
        triangles[first:] = corners[quads][:, [0, 2, 3]]
        return triangles

    return cut(polygons), cut(polygon_uvs), parts[order]
