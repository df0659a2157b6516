"""Keeps a run for people to look at: input beside avatar, as a video and as one picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np

from engine.pipeline import Result
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import U8, Camera
from viewer.snapshot import save_png

PANEL_WIDTH, PANEL_HEIGHT = 640, 480
SHEET_ROWS = 6
VIDEO_NAME = "side_by_side.mp4"
PICTURE_NAME = "side_by_side.png"


class SideBySide:
    """Draws each result's mesh through the camera that saw it, next to what that camera saw.

    Belongs to one thread, as its OpenGL context does. Files appear when it is closed, whole.
    """

    def __init__(self, folder: Path, fps: float) -> None:
        """Nothing is opened before the first frame.

        Args:
            folder: where the two files go; made if missing.
            fps: of the video.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rate = Fraction(fps).limit_denominator(1000)
        self._every = 1
        self._renderer: OffscreenRenderer | None = None
        self._container: av.container.OutputContainer | None = None
        self._textured: object = None
        self._rows: list[U8] = []
        self._count = 0

    def add(self, result: Result) -> None:
        """Draw and encode one frame."""
        pair = self._pair(result)
        if self._container is None:
            self._open(pair.shape[1], pair.shape[0])
        assert self._container is not None
        frame = av.VideoFrame.from_ndarray(pair, format="rgb24")
        self._container.mux(self._stream.encode(frame))
        self._keep(pair)

    def _keep(self, pair: U8) -> None:
        """Keep rows spread over a run of unknown length: when full, drop every second one."""
        if self._count % self._every == 0:
            if len(self._rows) == 2 * SHEET_ROWS:
                self._rows = self._rows[::2]
                self._every *= 2
            if self._count % self._every == 0:
                self._rows.append(pair)
        self._count += 1

    def close(self) -> None:
        """Finish both files."""
        if self._renderer is not None:
            self._renderer.close()
        if self._container is None:
            return
        self._container.mux(self._stream.encode(None))
        self._container.close()
        self._part.replace(self._folder / VIDEO_NAME)
        save_png(_sheet(self._rows), self._folder / PICTURE_NAME)

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _open(self, width: int, height: int) -> None:
        self._part = self._folder / ("part." + VIDEO_NAME)
        self._container = av.open(str(self._part), "w")
        self._stream = self._container.add_stream("libx264", rate=self._rate)
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"preset": "veryfast", "crf": "21"}

    def _pair(self, result: Result) -> U8:
        """(PANEL_HEIGHT, 2 PANEL_WIDTH, 3): the picture and the avatar through the same lens."""
        if self._renderer is None:
            self._renderer = OffscreenRenderer(PANEL_WIDTH, PANEL_HEIGHT)
        if self._textured is not result.avatar:
            self._renderer.set_texture(result.avatar.texture)
            self._textured = result.avatar
        seen = result.state.camera
        scale = min(PANEL_WIDTH / seen.width, PANEL_HEIGHT / seen.height)
        pair = np.zeros((PANEL_HEIGHT, 2 * PANEL_WIDTH, 3), np.uint8)
        _letterbox(result.frame.image, scale, pair[:, :PANEL_WIDTH])
        pair[:, PANEL_WIDTH:] = self._renderer.render(result.mesh, _panel_camera(seen, scale))
        return pair


def _sheet(rows: list[U8]) -> U8:
    """At most SHEET_ROWS pairs, evenly spread, in two columns."""
    chosen = np.linspace(0, len(rows) - 1, min(SHEET_ROWS, len(rows))).round().astype(int)
    picked = [rows[index] for index in chosen]
    if len(picked) % 2 and len(picked) > 1:
        picked.pop()
    half = max(1, len(picked) // 2)
    columns = [np.vstack(picked[start : start + half]) for start in range(0, len(picked), half)]
    return np.hstack(columns)


def _letterbox(image: U8, scale: float, out: U8) -> None:
    """Put the scaled picture in the middle of ``out``."""
    width = max(1, round(image.shape[1] * scale))
    height = max(1, round(image.shape[0] * scale))
    top, left = (out.shape[0] - height) // 2, (out.shape[1] - width) // 2
    scaled = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    out[top : top + height, left : left + width] = scaled


def _panel_camera(camera: Camera, scale: float) -> Camera:
    """The camera whose picture, scaled and centred in the panel, is the one that was seen."""
    return Camera(
        camera.focal_px * scale,
        (PANEL_WIDTH - 1) / 2,
        (PANEL_HEIGHT - 1) / 2,
        PANEL_WIDTH,
        PANEL_HEIGHT,
    )
