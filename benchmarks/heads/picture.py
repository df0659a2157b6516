"""A picture for the eye: input, truth, reconstruction and where it is wrong, person by person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from engine.avatar.topology import Topology
from engine.fusion.normals import vertex_normals
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import F64, I32, U8, Camera, FusedMesh

CELL = 320
TITLE_HEIGHT = 26
FULL_MM = 4.0
"""Deviation at which the colours end."""
STEPS = 129
BLUE, WHITE, RED, GREY = (38, 80, 200), (244, 244, 240), (200, 40, 36), (140, 140, 140)
CLAY = np.full((1, 1, 3), (196, 180, 168), np.uint8)
DISTANCE_M, HEAD_HEIGHT_M = 1.2, 0.24
CAMERA = Camera(CELL * DISTANCE_M / HEAD_HEIGHT_M, (CELL - 1) / 2, (CELL - 1) / 2, CELL, CELL)
PAPER, INK = (255, 255, 255), (30, 30, 30)


@dataclass(frozen=True, slots=True)
class Row:
    """One person."""

    title: str
    frame: U8
    """(H, W, 3) of the film."""
    truth_m: F64
    """(V, 3)."""
    truth_faces: I32
    ours_m: F64
    """(W, 3) laid on the truth."""
    ours_faces: I32
    deviation_mm: F64
    """(W,) signed, positive where ours stands out; NaN where nothing is measured."""
    centre_m: F64
    """(3,) where to look."""


def draw_rows(rows: Sequence[Row]) -> U8:
    """(H, W, 3) RGB: one line for each person, and what the colours mean.

    Raises:
        GraphicsError: no OpenGL on this machine.
    """
    with OffscreenRenderer(CELL, CELL) as renderer:
        renderer.set_background(np.full((1, 1, 3), 232, np.uint8))
        renderer.set_light(replace(Light(), specular=0.04))
        lines = [_line(row, renderer) for row in rows]
    return np.vstack([_captions(), *lines, _scale_bar(lines[0].shape[1])])


def _line(row: Row, renderer: OffscreenRenderer) -> U8:
    heat = colours()[None]
    truth = _Surface.plain(row.truth_m, row.truth_faces)
    ours = _Surface.plain(row.ours_m, row.ours_faces)
    coloured = _Surface.coloured(row.ours_m, row.ours_faces, row.deviation_mm)
    portraits = []
    for surface, texture in ((truth, CLAY), (ours, CLAY), (coloured, heat)):
        renderer.set_texture(texture)
        portraits.append(surface.portrait(renderer, row.centre_m))
    cells = np.hstack([_cropped(row.frame), *portraits])
    return np.vstack([_text(row.title, cells.shape[1]), cells])


def colours() -> U8:
    """(256, 3): blue where ours lies too deep, white right, red too far out; the rest grey."""
    ends = np.linspace(0.0, 1.0, STEPS // 2 + 1)[:, None]
    deep = (1 - ends) * BLUE + ends * np.array(WHITE)
    proud = (1 - ends[1:]) * np.array(WHITE) + ends[1:] * RED
    table = np.full((256, 3), GREY, np.uint8)
    table[:STEPS] = np.rint(np.concatenate([deep, proud]))
    return table


@dataclass(frozen=True, slots=True)
class _Surface:
    vertices_m: F64
    topology: Topology

    @staticmethod
    def plain(vertices: F64, faces: I32) -> _Surface:
        """Of one colour."""
        rows = np.arange(len(vertices))
        return _Surface(vertices, _drawn(faces, rows, np.zeros((len(rows), 2)), faces))

    @staticmethod
    def coloured(vertices: F64, faces: I32, deviation_mm: F64) -> _Surface:
        """By the deviation of its vertices; triangles with an unmeasured corner stay grey."""
        share = np.clip(np.nan_to_num(deviation_mm) / FULL_MM, -1.0, 1.0) * 0.5 + 0.5
        texels = np.concatenate([share * (STEPS - 1), np.full(len(vertices), 255.0)])
        uvs = np.stack([(texels + 0.5) / 256.0, np.full(len(texels), 0.5)], axis=1)
        unmeasured = np.isnan(deviation_mm)[faces].any(axis=1, keepdims=True)
        rows = np.tile(np.arange(len(vertices)), 2)
        return _Surface(vertices, _drawn(faces, rows, uvs, faces + len(vertices) * unmeasured))

    def portrait(self, renderer: OffscreenRenderer, centre: F64) -> U8:
        """(CELL, CELL, 3) from the front."""
        placed = np.ascontiguousarray(self.vertices_m - centre - [0, 0, DISTANCE_M], np.float32)
        normals = np.empty_like(placed)
        vertex_normals(placed, self.topology.faces, normals)
        return renderer.render(FusedMesh(0, 0, placed, normals, self.topology), CAMERA)


def _drawn(faces: I32, rows: NDArray[np.intp], uvs: F64, triangles: NDArray[Any]) -> Topology:
    """A topology for drawing alone."""
    return Topology(
        faces=faces,
        regions=np.zeros(len(rows), np.uint8),
        seam_edges=np.zeros((0, 2), np.int32),
        render_vertices=rows.astype(np.int32),
        render_uvs=uvs.astype(np.float32),
        render_faces=triangles.astype(np.int32),
    )


def _cropped(frame: U8) -> U8:
    """The middle square of a frame."""
    height, width = frame.shape[:2]
    side = min(height, width)
    x = (width - side) // 2
    square = np.ascontiguousarray(frame[:side, x : x + side])
    return np.asarray(cv2.resize(square, (CELL, CELL), interpolation=cv2.INTER_AREA), np.uint8)


def _captions() -> U8:
    names = ("input", "truth", "ours", "deviation")
    return np.hstack([_text(name, CELL) for name in names])


def _text(text: str, width: int) -> U8:
    image = Image.new("RGB", (width, TITLE_HEIGHT), PAPER)
    ImageDraw.Draw(image).text((8, 7), text, fill=INK)
    return np.asarray(image)


def _scale_bar(width: int) -> U8:
    bar: NDArray[np.uint8] = np.full((TITLE_HEIGHT, width, 3), 255, np.uint8)
    table = cv2.resize(colours()[None, :STEPS], (CELL - 120, 10), interpolation=cv2.INTER_LINEAR)
    start = width - CELL + 60
    bar[8:18, start : start + CELL - 120] = table
    image = Image.fromarray(bar)
    drawing = ImageDraw.Draw(image)
    drawing.text((start - 54, 7), f"-{FULL_MM:.0f} mm", fill=INK)
    drawing.text((start + CELL - 112, 7), f"+{FULL_MM:.0f} mm", fill=INK)
    return np.asarray(image)
