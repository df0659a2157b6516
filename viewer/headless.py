"""The viewer without a window: draws every new state through EGL and measures how old it is."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from engine.errors import PeerError
from stream.client import ClientOptions
from stream.motion_receiver import MotionStatistics
from stream.protocol import PACKET_OVERHEAD_BYTES
from viewer.canvas import Canvas
from viewer.draw_recorder import DrawRecorder
from viewer.feed import Moment
from viewer.remote import RemoteFeed
from viewer.scene import FRAMINGS, View, frame_mesh

WARM_UP_FRAMES = 15
"""Not measured: the first ones compile kernels and upload the texture."""
WARM_UP_S = 60.0
"""For all of them, from the first request to the last picture."""
SHORTEST_FRAME_S = 1 / 60
LOOPBACK = ("127.0.0.1", "localhost", "::1")
NO_MOTION = MotionStatistics(0, 0, 0, 0, 0, 0.0, 0.0, float("nan"), float("nan"))


@dataclass(frozen=True, slots=True)
class HeadlessReport:
    """What a watcher got, after the warm-up."""

    seconds: float
    drawn: int
    """States drawn, each once."""
    drawn_share: float
    """Of the source frames between the first and the last one drawn, whoever left the others out:
    the source's hand-over, the engine, the feed, the network, or this viewer."""
    longest_gap_ms: float
    """The longest time in which no new state was drawn."""
    capture_to_draw_ms: dict[str, float]
    """p50, p95, p99; from ``captured_at_ns`` to finished pixels. Files and cameras are stamped
    when a picture has been decoded: the shutter, the cable and, for a camera that a browser
    publishes, its encoder and the network lie before that and are not in here."""
    draw_ms: dict[str, float]
    """p50, p95, p99; posing and drawing alone."""
    size: tuple[int, int]
    """Width and height of the pictures drawn, pixels."""
    received: int
    lost: int
    """Motion packets that came, and that did not."""
    bytes: int
    """Of frames on the network: motion packets and, where asked for, meshes, with what IP, UDP,
    DTLS and SCTP put around each packet (``stream.protocol.PACKET_OVERHEAD_BYTES``)."""
    frame_bytes: dict[str, float]
    """p50 and max of a motion packet, without what is around it."""

    def numbers(self) -> dict[str, Any]:
        """As ``sars bench live`` writes them.

        ``delivered`` is the share of packets that came over the network, 1 on most loopbacks;
        ``drawn_share`` is the share of source frames that were seen.
        """
        packets = self.received + self.lost
        return {
            "capture_to_draw_ms": self.capture_to_draw_ms,
            "mbit_per_s": self.bytes * 8e-6 / self.seconds,
            "frame_bytes": self.frame_bytes,
            "delivered": self.received / packets if packets else 0.0,
            "drawn_share": self.drawn_share,
            "longest_gap_ms": self.longest_gap_ms,
            "fps": self.drawn / self.seconds,
            "draw_ms": self.draw_ms,
            "width": self.size[0],
            "height": self.size[1],
            "frames": self.drawn,
            "seconds": self.seconds,
        }


def drawn_share(indices: Sequence[int]) -> float:
    """The share of source frames that were drawn, from the indices drawn, in order.

    An index that does not grow is the first one of another source.
    """
    steps = np.diff(np.asarray(indices, np.int64))
    passed = 1 + int(np.where(steps > 0, steps, 1).sum())
    return len(indices) / passed if len(indices) else 0.0


def run_headless(
    options: ClientOptions, seconds: float = 20.0, size: tuple[int, int] = (320, 240)
) -> HeadlessReport:
    """Watch a server for some time, drawing every new state at no more than 60 Hz.

    Args:
        options: what to watch, on loopback, where both clocks are one. With ``mesh`` among its
            tiers the server's meshes are drawn instead of posed states.
        seconds: how long, after the warm-up.
        size: of the pictures. Small by default: without a GPU the processor draws, and it is
            the one that the server runs on.

    Raises:
        PeerError: the server is not there, sends too little, or went away, if only for a moment.
        GraphicsError: no OpenGL here.
    """
    if urlsplit(options.endpoint).hostname not in LOOPBACK:
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
        self._moment: Moment | None = None
        self._restart()

    def run(self, seconds: float) -> HeadlessReport:
        self._warm_up(time.monotonic() + WARM_UP_S)
        self._restart()
        before = self._traffic()
        while time.monotonic_ns() - self._started_ns < seconds * 1e9:
            self._next(self._started_ns * 1e-9 + seconds)
            if self._feed.connections != self._connection:
                raise PeerError(f"the server went away while it was watched: {self._feed.status()}")
        return self._report(before, self._traffic())

    def _restart(self) -> None:
        self._ages, self._draws = DrawRecorder(), DrawRecorder()
        self._indices: list[int] = []
        self._started_ns = time.monotonic_ns()
        self._connection = self._feed.connections

    def _traffic(self) -> tuple[MotionStatistics, int]:
        """Motion packets, and bytes of everything on the network."""
        motion = self._feed.motion() or NO_MOTION
        around = motion.received * PACKET_OVERHEAD_BYTES
        return motion, motion.bytes + around + self._feed.mesh_wire_bytes

    def _warm_up(self, deadline_s: float) -> None:
        for drawn in range(WARM_UP_FRAMES):
            if not self._next(deadline_s):
                raise PeerError(
                    f"the server sent {drawn} of {WARM_UP_FRAMES} frames to warm up with in "
                    f"{WARM_UP_S:.0f} s: {self._feed.status()}"
                )

    def _next(self, deadline_s: float) -> bool:
        """Draw the next state; False where none came before the deadline."""
        begun = time.monotonic()
        moment = self._feed.wait(self._moment, max(deadline_s - begun, 0.0))
        if moment is None:
            return False
        self._draw(moment)
        time.sleep(max(0.0, begun + SHORTEST_FRAME_S - time.monotonic()))
        return True

    def _draw(self, moment: Moment) -> None:
        started_ns = time.monotonic_ns()
        mesh = self._canvas.scene.mesh_of(moment)
        if self._view is None:
            width, height = self._canvas.size
            camera = frame_mesh(mesh, FRAMINGS["body"], width / height)
            self._view = View(camera, ground=False)
        self._canvas.draw(mesh, self._view)
        drawn_ns = time.monotonic_ns()
        is_new = self._moment is None or self._moment.captured_at_ns != moment.captured_at_ns
        self._moment = moment
        if is_new:  # else the same state, on an avatar that has just arrived
            self._draws.record(started_ns, drawn_ns)
            self._ages.record(moment.captured_at_ns, drawn_ns)
            self._indices.append(moment.index)

    def _report(
        self, before: tuple[MotionStatistics, int], after: tuple[MotionStatistics, int]
    ) -> HeadlessReport:
        ended_ns = time.monotonic_ns()
        seconds = (ended_ns - self._started_ns) * 1e-9
        if not self._ages.count:
            raise PeerError(f"nothing was drawn in {seconds:.0f} s: {self._feed.status()}")
        motion = after[0]
        return HeadlessReport(
            seconds=seconds,
            drawn=self._ages.count,
            drawn_share=drawn_share(self._indices),
            longest_gap_ms=self._ages.longest_gap_ms(self._started_ns, ended_ns),
            capture_to_draw_ms=self._ages.percentiles_ms(),
            draw_ms=self._draws.percentiles_ms(),
            size=self._canvas.size,
            received=max(0, motion.received - before[0].received),
            lost=max(0, motion.lost - before[0].lost),
            bytes=max(0, after[1] - before[1]),
            frame_bytes={"p50": motion.packet_bytes_p50, "max": motion.packet_bytes_max},
        )
