"""Keeps a run for people to look at: input beside avatar, as a video and as one picture."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import cv2
import numpy as np

from engine.pipeline import Result
from engine.rendering.offscreen import OffscreenRenderer
from engine.types import U8, Camera

PANEL_HEIGHT = 480
SHEET_ROWS = 6
VIDEO_NAME = "side_by_side.mp4"
PICTURE_NAME = "side_by_side.png"


class SideBySide:
    """Draws each result's mesh through the camera that saw it, next to what that camera saw.

    Belongs to one thread, as its OpenGL context does. Files appear when it is closed, whole.
    """

    def __init__(self, folder: Path, fps: float, expected_frames: int) -> None:
        """Nothing is opened before the first frame tells its size.

        Args:
            folder: where the two files go; made if missing.
            fps: of the video.
            expected_frames: spreads the picture's rows over the run.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._rate = Fraction(fps).limit_denominator(1000)
        self._every = max(1, expected_frames // SHEET_ROWS)
        self._renderer: OffscreenRenderer | None = None
        self._container: av.container.OutputContainer | None = None
        self._textured: object = None
        self._rows: list[U8] = []
        self._count = 0

    def add(self, result: Result) -> None:
        """Draw and encode one frame; of a source that changes size the first size is kept."""
        pair = self._pair(result)
        if self._container is None:
            self._open(pair.shape[1], pair.shape[0])
        assert self._container is not None
        frame = av.VideoFrame.from_ndarray(pair, format="rgb24")
        self._container.mux(self._stream.encode(frame))
        if self._count % self._every == self._every // 2 and len(self._rows) < SHEET_ROWS:
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
        os.replace(self._part, self._folder / VIDEO_NAME)
        rows = self._rows or [np.zeros((PANEL_HEIGHT, 2, 3), np.uint8)]
        half = (len(rows) + 1) // 2
        columns = [np.vstack(rows[:half]), np.vstack(rows[half:] or rows[:half])]
        height = min(column.shape[0] for column in columns)
        sheet = np.hstack([column[:height] for column in columns])
        done, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
        if done:
            part = self._folder / (PICTURE_NAME + ".part")
            part.write_bytes(encoded.tobytes())
            os.replace(part, self._folder / PICTURE_NAME)

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
        seen = result.state.camera
        if self._renderer is None:
            width = max(2, round(seen.width * PANEL_HEIGHT / seen.height / 2) * 2)
            self._renderer = OffscreenRenderer(min(width, 2 * PANEL_HEIGHT), PANEL_HEIGHT)
        if self._textured is not result.avatar:
            self._renderer.set_texture(result.avatar.texture)
            self._textured = result.avatar
        size = (self._renderer.width, self._renderer.height)
        avatar = self._renderer.render(result.mesh, _stretched(seen, *size))
        return np.hstack(
            [cv2.resize(result.frame.image, size, interpolation=cv2.INTER_AREA), avatar]
        )


def _stretched(camera: Camera, width: int, height: int) -> Camera:
    """The same view in a panel of another size (same shape, up to rounding)."""
    scale = height / camera.height
    return Camera(camera.focal_px * scale, (width - 1) / 2, (height - 1) / 2, width, height)
