"""A camera that a browser publishes by WHIP, as a source of the engine."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Iterator
from types import TracebackType

import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError
from av import VideoFrame

from engine.errors import PeerError, SourceError
from engine.sources.source import LONGEST_SIDE, SHORTEST_SIDE, fitted_size
from engine.types import U8, Frame

FIRST_FRAME_TIMEOUT_S = 15.0
SILENCE_TIMEOUT_S = 10.0
MAX_PIXELS = 3840 * 2160
NOMINAL_FPS = 30.0


class PublishedCamera:
    """Frames from a peer, newest first: a slot of one between its event loop and the engine.

    It is an ``engine.sources`` Source: iterate it on any thread. It ends when the peer leaves.
    A frame's ``captured_at_ns`` is when its picture had been received and decoded here: the
    browser's camera, its encoder and the network lie before that.
    """

    live = True
    fps = NOMINAL_FPS
    field_of_view_deg: float | None = None

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._slot: queue.Queue[Frame] = queue.Queue(1)
        self._closed = threading.Event()
        self._index = 0
        self.shown = False
        """Whether it has been entered: until then it is an offer that nobody has taken."""

    def put(self, image: U8, captured_at_ns: int) -> None:
        """Offer the newest picture; an older one that nobody took is dropped."""
        frame = Frame(image, captured_at_ns, self._index)
        self._index += 1
        with contextlib.suppress(queue.Empty):
            self._slot.get_nowait()
        self._slot.put_nowait(frame)

    @property
    def closed(self) -> bool:
        """Whether the peer has left or the engine has had enough."""
        return self._closed.is_set()

    def close(self) -> None:
        """End the iteration and the peer's connection; safe to call twice, from any thread."""
        self._closed.set()

    def __iter__(self) -> Iterator[Frame]:
        while not self._closed.is_set():
            try:
                yield self._slot.get(timeout=0.2)
            except queue.Empty:
                continue

    def __enter__(self) -> PublishedCamera:
        self.shown = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class CameraIngest:
    """Turns a video track into a PublishedCamera. Slow conversion drops frames, never queues them.

    Args:
        track: the remote video track.
    """

    def __init__(self, track: MediaStreamTrack) -> None:
        self._track = track
        self._newest: tuple[VideoFrame, int] | None = None
        self._arrived = asyncio.Event()

    async def open(self) -> PublishedCamera:
        """Wait for the first picture, which decides the size.

        Raises:
            PeerError: none comes, or its size is not usable.
        """
        try:
            frame = await asyncio.wait_for(_next_picture(self._track), FIRST_FRAME_TIMEOUT_S)
        except (TimeoutError, MediaStreamError) as error:
            raise PeerError("the camera sent no picture") from error
        _check_size(frame)
        return PublishedCamera(fitted_size(frame.width, frame.height))

    async def run(self, camera: PublishedCamera) -> str:
        """Fill the camera until its peer or its reader leaves; the reason, one sentence.

        Raises:
            PeerError: a picture has no usable size, or none came for long.
        """
        receiving = asyncio.create_task(self._receive())
        try:
            while not camera.closed:
                await self._forward_one(camera, receiving)
                if receiving.done():
                    return "the camera was switched off"
            return "the camera is no longer needed"
        finally:
            camera.close()
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)

    async def _receive(self) -> None:
        """Empty the track's queue, which has no bound of its own; keep the newest."""
        try:
            while True:
                frame = await _next_picture(self._track)
                self._newest = (frame, time.monotonic_ns())
                self._arrived.set()
        except MediaStreamError:
            self._arrived.set()

    async def _forward_one(self, camera: PublishedCamera, receiving: asyncio.Task[None]) -> None:
        try:
            await asyncio.wait_for(self._arrived.wait(), SILENCE_TIMEOUT_S)
        except TimeoutError:
            if not receiving.done():
                raise PeerError(
                    f"the camera sent no picture for {SILENCE_TIMEOUT_S:.0f} s"
                ) from None
        self._arrived.clear()
        newest, self._newest = self._newest, None
        if newest is not None:
            frame, arrived_at_ns = newest
            _check_size(frame)
            image = await asyncio.to_thread(to_rgb, frame, camera.size)
            camera.put(image, arrived_at_ns)


async def _next_picture(track: MediaStreamTrack) -> VideoFrame:
    frame = await track.recv()
    if not isinstance(frame, VideoFrame):
        raise PeerError("the peer sent something that is not a picture")
    return frame


def to_rgb(frame: VideoFrame, size: tuple[int, int]) -> U8:
    """The picture as (H, W, 3) RGB of the given (width, height).

    Browsers change resolution with bandwidth: scaled to fit, black bars where the shape differs.

    Raises:
        SourceError: the picture cannot be converted.
    """
    width, height = size
    scale = min(width / frame.width, height / frame.height)
    inner_width = max(1, min(width, round(frame.width * scale)))
    inner_height = max(1, min(height, round(frame.height * scale)))
    try:
        scaled = frame.reformat(inner_width, inner_height, "rgb24")
        inner = np.asarray(scaled.to_ndarray(), np.uint8)
    except ValueError as error:
        raise SourceError(f"the camera's picture cannot be converted: {error}") from error
    if inner.shape == (height, width, 3):
        return inner
    image: U8 = np.zeros((height, width, 3), np.uint8)
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    image[top : top + inner_height, left : left + inner_width] = inner
    return image


def _check_size(frame: VideoFrame) -> None:
    """Of the picture as the engine gets it: a long, narrow one is scaled down to a thread."""
    width, height = frame.width, frame.height
    if width * height > MAX_PIXELS or min(fitted_size(width, height)) < SHORTEST_SIDE:
        raise PeerError(
            f"the camera's picture is {width}x{height}; it needs {SHORTEST_SIDE} pixels a side "
            f"when it is scaled to {LONGEST_SIDE}, and at most {MAX_PIXELS} in all"
        )
