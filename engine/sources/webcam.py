"""A webcam through OpenCV, newest picture first."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engine.errors import SourceError
from engine.sources.source import Closing
from engine.types import Frame

log = logging.getLogger(__name__)

RELEASE_S = 1.0
"""How long closing waits for a read under way."""
FAILED_READS = 5
"""A camera may miss a picture; this many in a row and it is gone."""


class NoCameraError(SourceError):
    """This machine has no camera at all, as opposed to one that is busy or forbidden."""


class WebcamSource(Closing):
    """Pictures as the camera gives them. Ends when the camera is unplugged."""

    live = True

    def __init__(
        self,
        number: int,
        *,
        width: int = 640,
        height: int = 480,
        fps: float = 30.0,
        open_capture: Callable[[int], Any] = cv2.VideoCapture,
    ) -> None:
        """Open a camera and take one picture to see that it works.

        Args:
            number: 0 for the first camera.
            width: asked for; the camera may choose otherwise.
            height: asked for.
            fps: asked for.
            open_capture: how to open one; tests put a fake here.

        Raises:
            NoCameraError: the machine has none (only Linux can tell).
            SourceError: no such camera, not allowed, or in use by another program.
        """
        self.end_reason: str | None = None
        self._turn = threading.Lock()
        self._name = f"camera {number}"
        if open_capture is cv2.VideoCapture:
            _check_device(number)
        self._capture = open_capture(number)
        self._configure(width, height, fps)
        self._first = self._read()
        if self._first is None:
            self.close()
            raise SourceError(
                f"{self._name} gives no pictures; another program may be using it: close that "
                "program, or name another SOURCE"
            )
        self.size = (self._first.shape[1], self._first.shape[0])
        self.fps = float(self._capture.get(cv2.CAP_PROP_FPS) or fps)

    def close(self) -> None:
        """Let other programs have the camera.

        One that hangs in a read keeps it until this process ends: OpenCV would crash.
        """
        if self._turn.acquire(timeout=RELEASE_S):
            try:
                self._capture.release()
            finally:
                self._turn.release()

    def __iter__(self) -> Iterator[Frame]:
        failed, index = 0, 0
        while failed < FAILED_READS:
            bgr = self._read()
            if bgr is None:
                failed += 1
                continue
            failed = 0
            now = time.monotonic_ns()
            yield Frame(np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8), now, index)
            index += 1
        self.end_reason = f"{self._name} stopped giving pictures: was it unplugged?"
        log.warning(self.end_reason)

    def _configure(self, width: int, height: int, fps: float) -> None:
        self._capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        self._capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        self._capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        self._capture.set(cv2.CAP_PROP_FPS, fps)
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # an old picture is worth nothing

    def _read(self) -> Any:
        """(H, W, 3) BGR, or None."""
        with self._turn:
            given, bgr = self._capture.read()
        return bgr if given and bgr is not None else None


def _check_device(number: int) -> None:
    """Say what is wrong before OpenCV says something less helpful."""
    if not sys.platform.startswith("linux"):
        return
    device = Path(f"/dev/video{number}")
    if not device.exists():
        others = sorted(path.name for path in Path("/dev").glob("video*"))
        found = ", ".join(others) if others else "none"
        raise (SourceError if others else NoCameraError)(
            f"there is no camera {number} (cameras found: {found}); plug one in or name "
            "another SOURCE, such as `portrait` or `performer`"
        )
    if not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(
            f"this user may not open {device}; join the group `video` and log in again"
        )
