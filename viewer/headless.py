"""The viewer without a window: draws every new state through EGL and measures how old it is."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from engine.errors import PeerError
from stream.client import ClientOptions
from stream.motion_receiver import MotionStatistics
from viewer.canvas import Canvas
from viewer.draw_recorder import DrawRecorder
from viewer.feed import Moment
from viewer.remote import RemoteFeed
from viewer.scene import FRAMINGS, View, frame_mesh

WARM_UP_FRAMES = 15
"""Not measured: the first ones compile kernels and upload the texture."""
FIRST_FRAME_TIMEOUT_S = 60.0
SHORTEST_FRAME_S = 1 / 60
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NO_MOTION = MotionStatistics(0, 0, 0, 0, 0, 0.0, 0.0, float("nan"), float("nan"))


@dataclass(frozen=True, slots=True)
class HeadlessReport:
    """What a watcher got, after the warm-up."""

    seconds: float
    drawn: int
    """States drawn."""
    capture_to_draw_ms: dict[str, float]
    """p50, p95, p99; from the camera's shutter to finished pixels."""
    draw_ms: dict[str, float]
    """p50, p95, p99; posing and drawing alone."""
    received: int
    lost: int
    bytes: int
    frame_bytes: dict[str, float]
    """p50 and max of a packet."""

    def numbers(self) -> dict[str, Any]:
        """As ``sars bench live`` writes them."""
        packets = self.received + self.lost
        return {
            "capture_to_draw_ms": self.capture_to_draw_ms,
            "mbit_per_s": self.bytes * 8e-6 / self.seconds,
            "frame_bytes": self.frame_bytes,
            "delivered": self.received / packets if packets else 0.0,
            "fps": self.drawn / self.seconds,
            "draw_ms": self.draw_ms,
            "frames": self.drawn,
            "seconds": self.seconds,
        }


def run_headless(
    options: ClientOptions, seconds: float = 20.0, size: tuple[int, int] = (320, 240)
) -> HeadlessReport:
    """Watch a server for some time, drawing every new state at no more than 60 Hz.

    Args:
        options: what to watch. On loopback both clocks are one, elsewhere latencies are the
            client's business and this report's are meaningless.
        seconds: how long, after the warm-up.
        size: of the pictures. Small by default: without a GPU the processor draws, and it is
            the one that the server runs on.

    Raises:
        PeerError: the server is not there, sends nothing, or went away.
        GraphicsError: no OpenGL here.
    """
    if urlsplit(options.url).hostname not in LOOPBACK:
        raise PeerError("latencies need one clock: run the headless viewer beside its server")
    canvas = Canvas(*size, samples=1)
    feed = RemoteFeed(replace(options, attempts=options.attempts or 3, shared_clock=True))
    try:
        return _Watch(canvas, feed).run(seconds)
    finally:
        feed.close()
        canvas.close()


class _Watch:
    """One measurement."""

    def __init__(self, canvas: Canvas, feed: RemoteFeed) -> None:
        self._canvas, self._feed = canvas, feed
        self._view: View | None = None
        self._ages, self._draws = DrawRecorder(), DrawRecorder()
        self._moment: Moment | None = None

    def run(self, seconds: float) -> HeadlessReport:
        for _ in range(WARM_UP_FRAMES):
            self._next(time.monotonic() + FIRST_FRAME_TIMEOUT_S)
        self._ages, self._draws = DrawRecorder(), DrawRecorder()
        before, started = self._feed.motion() or NO_MOTION, time.monotonic()
        while time.monotonic() - started < seconds:
            self._next(started + seconds)
        return self._report(before, time.monotonic() - started)

    def _next(self, deadline_s: float) -> None:
        """Draw the next state, or give up at the deadline."""
        begun = time.monotonic()
        moment = self._feed.wait(self._moment, max(deadline_s - begun, 0.0))
        if moment is None:
            if self._view is None:
                raise PeerError(f"nothing to draw: {self._feed.status()}")
            return
        self._draw(moment)
        time.sleep(max(0.0, begun + SHORTEST_FRAME_S - time.monotonic()))

    def _draw(self, moment: Moment) -> None:
        started_ns = time.monotonic_ns()
        mesh = self._canvas.scene.pose(moment.avatar, moment.state)
        if self._view is None:
            width, height = self._canvas.size
            camera = frame_mesh(mesh, FRAMINGS["body"], width / height)
            self._view = View(camera, ground=False)
        self._canvas.draw(mesh, self._view)
        drawn_ns = time.monotonic_ns()
        self._draws.record(started_ns, drawn_ns)
        self._ages.record(moment.state.captured_at_ns, drawn_ns)
        self._moment = moment

    def _report(self, before: MotionStatistics, seconds: float) -> HeadlessReport:
        after = self._feed.motion() or NO_MOTION
        if not self._ages.count:
            raise PeerError(f"nothing was drawn in {seconds:.0f} s: {self._feed.status()}")
        return HeadlessReport(
            seconds=seconds,
            drawn=self._ages.count,
            capture_to_draw_ms=self._ages.percentiles_ms(),
            draw_ms=self._draws.percentiles_ms(),
            received=max(0, after.received - before.received),
            lost=max(0, after.lost - before.lost),
            bytes=max(0, after.bytes - before.bytes),
            frame_bytes={"p50": after.packet_bytes_p50, "max": after.packet_bytes_max},
        )
