"""One frame's landmarks: four trackers on three threads.

Every tracker starts from the landmarks of the frame before, so none of them waits for another:
on two cores a frame's latency is near half of its work. The body, the longest, has a thread of
its own, where the next frame's follows without a detour while this frame's hands and face run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import cv2

from engine.perception.body import BodyTracker
from engine.perception.face import FaceTracker
from engine.perception.hand_side import distinct
from engine.perception.hands import HandTracker
from engine.perception.networks import Networks
from engine.types import Frame, HandLandmarks, Observation, PoseLandmarks

T = TypeVar("T")


class Observer:
    """Owns the trackers and the threads they run on."""

    def __init__(self, networks: Networks) -> None:
        # The trackers are the parallelism: OpenCV's own threads would only compete with them.
        cv2.setNumThreads(1)
        self._face = FaceTracker(networks)
        self._body = BodyTracker(networks)
        self._left = HandTracker(networks, "left")
        self._right = HandTracker(networks, "right")
        self._body_thread = ThreadPoolExecutor(1, "body")
        self._parts_threads = ThreadPoolExecutor(2, "parts")
        self.reset()

    def reset(self) -> None:
        """Forget the person: the next frame starts with the detectors, on whatever loop runs."""
        self._pose: PoseLandmarks | None = None
        self._hands: tuple[HandLandmarks | None, HandLandmarks | None] = (None, None)
        self._parts_turn = asyncio.Lock()
        for tracker in (self._face, self._body, self._left, self._right):
            tracker.reset()

    async def observe(self, frame: Frame) -> tuple[Observation, dict[str, float]]:
        """Find face, body and hands.

        May be called for the next frame while this one is under way; what is found does not
        depend on it.

        Args:
            frame: any picture; one with nobody in it gives an observation of ``None``s.

        Returns:
            The observation, and the milliseconds of work of each tracker.
        """
        image = frame.image
        body = _submit(self._body_thread, lambda: self._body.track(image))
        async with self._parts_turn:
            previous = self._pose
            left_before, right_before = self._hands
            parts = self._parts_threads
            (left, left_ms), (right, right_ms), (face, face_ms) = await asyncio.gather(
                _submit(parts, lambda: self._left.track(image, previous, right_before)),
                _submit(parts, lambda: self._right.track(image, previous, left_before)),
                _submit(parts, lambda: self._face.track(image, previous)),
            )
            pose, body_ms = await body
            left, right = distinct(left, right, pose)
            self._pose, self._hands = pose, (left, right)
        height, width = image.shape[:2]
        observation = Observation(
            frame.index, frame.captured_at_ns, width, height, face, pose, left, right
        )
        return observation, {
            "body": body_ms,
            "left_hand": left_ms,
            "right_hand": right_ms,
            "face": face_ms,
        }

    def close(self) -> None:
        """Stop the threads; no call may follow."""
        self._body_thread.shutdown(wait=True)
        self._parts_threads.shutdown(wait=True)


def _submit(pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[tuple[T, float]]:
    """Its result and its milliseconds, from a thread of the pool."""

    def timed() -> tuple[T, float]:
        started = time.perf_counter()
        return work(), (time.perf_counter() - started) * 1e3

    return asyncio.get_running_loop().run_in_executor(pool, timed)
