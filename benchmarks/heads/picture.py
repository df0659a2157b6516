"""A picture for the eye: input, truth, reconstruction and where it is wrong, person by person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from engine.avatar.topology import Topology
from engine.fusion.normals import vertex_normals
from engine.rendering.light import Light
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import F32, F64, I32, U8, Camera, FusedMesh

CELL = 320
TITLE_HEIGHT = 26
FULL_MM = 4.0
"""Deviation at which the colours end."""
STEPS = 129
BLUE, WHITE, RED, GREY = (38, 80, 200), (244, 244, 240), (200, 40, 36), (140, 140, 140)
CLAY = np.full((1, 1, 3), (196, 180, 168), np.uint8)
DISTANCE_M, HEAD_HEIGHT_M = 1.2, 0.24
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
    flat = np.zeros((len(row.truth_m), 2), np.float32)
    renderer.set_texture(CLAY)
    truth = _portrait(renderer, row.truth_m, row.truth_faces, flat, row.centre_m)
    plain = np.zeros((len(row.ours_m), 2), np.float32)
    ours = _portrait(renderer, row.ours_m, row.ours_faces, plain, row.centre_m)
    renderer.set_texture(colours()[None])
    heat = _portrait(renderer, row.ours_m, row.ours_faces, _places(row.deviation_mm), row.centre_m)
    cells = np.hstack([_cropped(row.frame), truth, ours, heat])
    return np.vstack([_text(row.title, cells.shape[1]), cells])


def colours() -> U8:
    """(256, 3): blue where ours lies too deep, white right, red too far out; the rest grey."""
    ends = np.linspace(0.0, 1.0, STEPS // 2 + 1)[:, None]
    deep = (1 - ends) * BLUE + ends * np.array(WHITE)
    proud = (1 - ends[1:]) * np.array(WHITE) + ends[1:] * RED
    table = np.full((256, 3), GREY, np.uint8)
    table[:STEPS] = np.rint(np.concatenate([deep, proud]))
    return table


def _places(deviation_mm: F64) -> F32:
    """(W, 2) texture coordinates of the colours."""
    share = np.clip(deviation_mm / FULL_MM, -1.0, 1.0) * 0.5 + 0.5
    texel = np.where(np.isnan(share), 255.0, share * (STEPS - 1))
    return np.stack([(texel + 0.5) / 256.0, np.full(len(texel), 0.5)], axis=1).astype(np.float32)


def _portrait(
    renderer: OffscreenRenderer, vertices: F64, faces: I32, uvs: F32, centre: F64
) -> U8:
    placed = np.ascontiguousarray(vertices - centre - [0.0, 0.0, DISTANCE_M], np.float32)
    normals = np.empty_like(placed)
    vertex_normals(placed, faces, normals)
    topology = Topology(
        faces=faces,
        regions=np.zeros(len(placed), np.uint8),
        seam_edges=np.zeros((0, 2), np.int32),
        render_vertices=np.arange(len(placed), dtype=np.int32),
        render_uvs=uvs,
        render_faces=faces,
    )
    focal = CELL * DISTANCE_M / HEAD_HEIGHT_M
    camera = Camera(focal, (CELL - 1) / 2, (CELL - 1) / 2, CELL, CELL)
    return renderer.render(FusedMesh(0, 0, placed, normals, topology), camera)


def _cropped(frame: U8) -> U8:
    """The middle square of a frame."""
    height, width = frame.shape[:2]
    side = min(height, width)
    x = (width - side) // 2
    square = np.ascontiguousarray(frame[:side, x : x + side])
    return np.asarray(cv2.resize(square, (CELL, CELL), interpolation=cv2.INTER_AREA), np.uint8)


def _captions() -> U8:
    names = ("input", "truth (ICT-FaceKit)", "ours (Anny)", "deviation")
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
