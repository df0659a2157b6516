"""The receiving end of the motion channel: newest state wins, losses are mended and counted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from engine.types import AvatarState
from stream.motion_codec import decode_motion

_WINDOW = 4096
"""Packets that percentiles are taken over: two minutes at 30 fps."""
_RESTART = 10_000
"""A jump of the sequence beyond this is another stream, not a loss."""
_MODULO = 2**32


@dataclass(frozen=True, slots=True)
class MotionStatistics:
    """Counts since the start, percentiles over the last 4096 packets."""

    received: int
    lost: int
    """Packets that never came, or not yet."""
    recovered: int
    """Lost packets whose frame the next packet carried."""
    late: int
    """Came after a newer one; not shown."""
    bytes: int
    packet_bytes_p50: float
    packet_bytes_max: float
    latency_ms_p50: float
    """Capture to arrival; NaN while the sender's clock is unknown."""
    latency_ms_p95: float

    @property
    def delivered(self) -> float:
        """Share of packets that came, 1.0 before the first one."""
        total = self.received + self.lost
        return self.received / total if total else 1.0


class MotionReceiver:
    """Decodes packets and hands on frames in order, each at most once."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self.received = self.lost = self.recovered = self.late = self.bytes = 0
        self._mended: deque[int] = deque(maxlen=64)
        self._sizes: deque[int] = deque(maxlen=_WINDOW)
        self._latencies_ms: deque[float] = deque(maxlen=_WINDOW)

    def feed(self, packet: bytes, now_us: int, offset_us: int | None) -> list[AvatarState]:
        """Read one packet.

        Args:
            packet: as it came from the peer.
            now_us: our clock.
            offset_us: the sender's clock minus ours where known.

        Returns:
            The frames that are new, oldest first: none, the packet's, or a recovered one before.

        Raises:
            PeerError: the packet is not valid.
        """
        motion = decode_motion(packet)
        self._count(packet)
        ahead = 1 if self._newest is None else (motion.sequence - self._newest) % _MODULO
        if ahead == 0 or _MODULO - ahead < _RESTART:
            self._count_late(motion.sequence, ahead)
            return []
        self._newest = motion.sequence
        if offset_us is not None:
            sent_us = motion.state.captured_at_ns / 1e3
            self._latencies_ms.append((now_us + offset_us - sent_us) / 1e3)
        if not 1 < ahead < _RESTART:
            return [motion.state]
        self.lost += ahead - 1
        if motion.previous is None:
            return [motion.state]
        self.recovered += 1
        self._mended.append((motion.sequence - 1) % _MODULO)
        return [motion.previous, motion.state]

    def _count(self, packet: bytes) -> None:
        self.received += 1
        self.bytes += len(packet)
        self._sizes.append(len(packet))

    def _count_late(self, sequence: int, ahead: int) -> None:
        """A late packet is no loss; a repeated one is nothing at all."""
        self.late += 1
        if ahead:
            self.lost = max(0, self.lost - 1)
            if sequence in self._mended:
                self._mended.remove(sequence)
                self.recovered -= 1
        else:
            self.received -= 1

    def statistics(self) -> MotionStatistics:
        """A snapshot."""
        sizes = self._sizes or [0]
        latencies = self._latencies_ms or [np.nan]
        return MotionStatistics(
            self.received,
            self.lost,
            self.recovered,
            self.late,
            self.bytes,
            float(np.median(sizes)),
            float(max(sizes)),
            float(np.median(latencies)),
            float(np.percentile(latencies, 95)),
        )
