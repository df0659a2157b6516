"""One frame's landmarks: four trackers, each a chain over the frames.

Every tracker starts from the landmarks of the frame before, so none waits for another's of the
same frame: on two cores a frame's latency is near half of its work. Where frames overlap, each
chain goes on to the next frame as soon as what it starts from is there, and no core is idle.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import cv2

from engine.perception.body import BodyTracker
from engine.perception.face import FaceTracker
from engine.perception.finite import only_finite
from engine.perception.hand_side import distinct
from engine.perception.hands import HandTracker
from engine.perception.networks import Networks
from engine.types import U8, FaceLandmarks, Frame, HandLandmarks, Observation, PoseLandmarks

T = TypeVar("T")


Hands = tuple[HandLandmarks | None, HandLandmarks | None]


@dataclass(frozen=True, slots=True)
class _Found:
    """What one frame's trackers find, with their milliseconds, once they have found it."""

    pose: asyncio.Future[tuple[PoseLandmarks | None, float]]
    face: asyncio.Future[tuple[FaceLandmarks | None, float]]
    hands: asyncio.Future[tuple[Hands, tuple[float, float]]]


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
        self._face_thread = ThreadPoolExecutor(1, "face")
        self._hand_threads = ThreadPoolExecutor(2, "hands")
        self.reset()

    def reset(self) -> None:
        """Forget the person: the next frame starts with the detectors, on whatever loop runs."""
        self._before: _Found | None = None
        for tracker in (self._face, self._body, self._left, self._right):
            tracker.reset()

    async def observe(self, frame: Frame) -> tuple[Observation, dict[str, float]]:
        """Find face, body and hands.

        May be called for later frames, in their order, while this one is under way; what is
        found does not depend on it.

        Args:
            frame: any picture; one with nobody in it gives an observation of ``None``s.

        Returns:
            The observation, and the milliseconds of work of each tracker.
        """
        image, before = frame.image, self._before
        body = _submit(self._body_thread, lambda: self._body.track(image))
        face = asyncio.create_task(self._track_face(image, before))
        hands = asyncio.create_task(self._track_hands(image, before, body))
        self._before = _Found(body, face, hands)
        (
            (pose, body_ms),
            (face_found, face_ms),
            ((left, right), (left_ms, right_ms)),
        ) = await asyncio.gather(body, face, hands)
        height, width = image.shape[:2]
        observation = Observation(
            frame.index, frame.captured_at_ns, width, height, face_found, pose, left, right
        )
        return only_finite(observation), {
            "body": body_ms,
            "left_hand": left_ms,
            "right_hand": right_ms,
            "face": face_ms,
        }

    async def _track_face(
        self, image: U8, before: _Found | None
    ) -> tuple[FaceLandmarks | None, float]:
        pose = None
        if before is not None:
            (pose, _), _ = await asyncio.gather(before.pose, before.face)
        return await _submit(self._face_thread, lambda: self._face.track(image, pose))

    async def _track_hands(
        self,
        image: U8,
        before: _Found | None,
        body: asyncio.Future[tuple[PoseLandmarks | None, float]],
    ) -> tuple[Hands, tuple[float, float]]:
        """Both, since neither may take what the other holds."""
        pose, left_before, right_before = None, None, None
        if before is not None:
            (pose, _), ((left_before, right_before), _) = await asyncio.gather(
                before.pose, before.hands
            )
        threads = self._hand_threads
        (left, left_ms), (right, right_ms) = await asyncio.gather(
            _submit(threads, lambda: self._left.track(image, pose, right_before)),
            _submit(threads, lambda: self._right.track(image, pose, left_before)),
        )
        pose_now, _ = await body
        return distinct(left, right, pose_now), (left_ms, right_ms)

    def close(self) -> None:
        """Stop the threads; no call may follow."""
        for pool in (self._body_thread, self._face_thread, self._hand_threads):
            pool.shutdown(wait=True)


def _submit(pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[tuple[T, float]]:
    """Its result and its milliseconds, from a thread of the pool."""

    def timed() -> tuple[T, float]:
        started = time.perf_counter()
        return work(), (time.perf_counter() - started) * 1e3

    return asyncio.get_running_loop().run_in_executor(pool, timed)
