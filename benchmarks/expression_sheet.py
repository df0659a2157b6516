"""The worst frames of ``sars eval expressions``: what the camera saw beside the avatar's face."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from benchmarks.expressions import Disagreement, Reading
from engine.avatar.topology import FusedAvatar
from engine.body.blend_skinning import Poser
from engine.rendering.offscreen import OffscreenRenderer
from engine.sources.opening import open_source
from engine.types import ARKIT_NAMES, U8, Camera
from viewer.snapshot import save_png

PANEL = 320
CAPTION = 26
MARGIN = 1.5
"""A panel's side, in faces."""
COLUMNS = 2


def draw_sheet(clip: str, avatar: FusedAvatar, worst: list[Disagreement], path: Path) -> None:
    """Write a PNG: per frame the face, the avatar's through the same lens, and both readings.

    Args:
        clip: read once more, for its pictures.
        avatar: posed for every frame.
        worst: the frames, in the clip's order.
        path: of the picture; nothing is written where there is no frame to show.

    Raises:
        SourceError: the clip cannot be read any more.
        GraphicsError: no OpenGL here.
    """
    if not worst:
        return
    pictures = _pictures(clip, {entry.reading.state.index for entry in worst})
    poser = Poser(avatar)
    with OffscreenRenderer(PANEL, PANEL) as renderer:
        renderer.set_texture(avatar.texture)
        panels = []
        for entry in worst:
            centre, side = _around(entry.reading)
            seen = _cut(pictures[entry.reading.state.index], centre, side)
            lens = _zoomed(entry.reading.state.camera, centre, side)
            drawn = renderer.render(poser.pose(entry.reading.state), lens)
            panels.append(np.vstack([_caption(entry), np.hstack([seen, drawn])]))
    if len(panels) % COLUMNS:
        panels.append(np.zeros_like(panels[0]))
    rows = [np.hstack(panels[i : i + COLUMNS]) for i in range(0, len(panels), COLUMNS)]
    save_png(np.vstack(rows), path)


def _pictures(clip: str, wanted: set[int]) -> dict[int, U8]:
    kept: dict[int, U8] = {}
    with open_source(clip) as source:
        for frame in source:
            if frame.index in wanted:
                kept[frame.index] = frame.image.copy()
            if len(kept) == len(wanted):
                break
    return kept


def _around(reading: Reading) -> tuple[tuple[float, float], float]:
    """Centre and side (px) of a square around the face."""
    low, high = (edge(reading.points_px[:, :2], axis=0) for edge in (np.min, np.max))
    x, y = (low + high) / 2
    return (float(x), float(y)), MARGIN * float((high - low).max())


def _cut(image: U8, centre: tuple[float, float], side: float) -> U8:
    """The square at the panel's size, black beyond the picture."""
    scale = PANEL / side
    shift = (PANEL - 1) / 2 - scale * np.array(centre)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return np.asarray(cv2.warpAffine(image, matrix, (PANEL, PANEL), flags=cv2.INTER_LINEAR))


def _zoomed(camera: Camera, centre: tuple[float, float], side: float) -> Camera:
    """The same lens, of which only the square is kept."""
    scale = PANEL / side
    middle = (PANEL - 1) / 2
    cx, cy = (
        middle + scale * (own - at) for own, at in zip((camera.cx, camera.cy), centre, strict=True)
    )
    return Camera(camera.focal_px * scale, cx, cy, PANEL, PANEL)


def _caption(entry: Disagreement) -> U8:
    k = ARKIT_NAMES.index(entry.action)
    reading = entry.reading
    text = (
        f"{reading.state.index}: {entry.action} engine {reading.engine[k]:.2f} "
        f"peer {reading.peer[k]:.2f}"
    )
    strip = np.full((CAPTION, 2 * PANEL, 3), 32, np.uint8)
    white = (240, 240, 240)
    cv2.putText(strip, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, white, 1, cv2.LINE_AA)
    return strip
