"""One frame's landmarks: four trackers, two threads, the longest network first.

Every tracker starts from the landmarks of the frame before, so none of them waits for another:
a frame's latency is near half of its work. The body waits for nobody else's, so that of the next
frame may run while this frame's hands and face do.
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
from engine.types import U8, Frame, HandLandmarks, Observation, PoseLandmarks

T = TypeVar("T")


class Observer:
    """Owns the trackers and the two threads they run on."""

    def __init__(self, networks: Networks, workers: int = 2) -> None:
        # The trackers are the parallelism: OpenCV's own threads would only compete with them.
        cv2.setNumThreads(1)
        self._face = FaceTracker(networks)
        self._body = BodyTracker(networks)
        self._left = HandTracker(networks, "left")
        self._right = HandTracker(networks, "right")
        self._pool = ThreadPoolExecutor(workers, "networks")
        self.reset()

    def reset(self) -> None:
        """Forget the person: the next frame starts with the detectors, on whatever loop runs."""
        self._pose: PoseLandmarks | None = None
        self._hands: tuple[HandLandmarks | None, HandLandmarks | None] = (None, None)
        self._body_turn, self._parts_turn = asyncio.Lock(), asyncio.Lock()
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
        body = asyncio.create_task(self._track_body(image))
        async with self._parts_turn:
            previous = self._pose
            left_before, right_before = self._hands
            (left, left_ms), (right, right_ms), (face, face_ms) = await asyncio.gather(
                self._submit(lambda: self._left.track(image, previous, right_before)),
                self._submit(lambda: self._right.track(image, previous, left_before)),
                self._submit(lambda: self._face.track(image, previous)),
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

    async def _track_body(self, image: U8) -> tuple[PoseLandmarks | None, float]:
        async with self._body_turn:
            return await self._submit(lambda: self._body.track(image))

    def close(self) -> None:
        """Stop the threads; no call may follow."""
        self._pool.shutdown(wait=True)

    def _submit(self, work: Callable[[], T]) -> asyncio.Future[tuple[T, float]]:
        def timed() -> tuple[T, float]:
            started = time.perf_counter()
            return work(), (time.perf_counter() - started) * 1e3

        return asyncio.get_running_loop().run_in_executor(self._pool, timed)
