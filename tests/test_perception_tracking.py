"""The trackers on real pictures: found, followed, lost, found again, never swapped."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import ModelFileError
from engine.inference.store import MANIFEST, ModelStore
from engine.perception.body import BodyTracker
from engine.perception.detection import Detection
from engine.perception.face import FaceTracker, _nearest
from engine.perception.hand_region import wrist_of
from engine.perception.hand_side import distinct, is_same_hand
from engine.perception.hands import HandTracker
from engine.perception.networks import Networks
from engine.perception.observer import Observer
from engine.perception.region import Region
from engine.perception.semantics import (
    FIVE_PLACES,
    SemanticsEstimator,
    SmoothedSemantics,
    age_class,
    similarity,
)
from engine.sources import open_source
from engine.types import U8, FaceLandmarks, HandLandmarks, PoseLandmarks, Semantics

SIGNING = "signing_*.mkv"


@dataclass
class Seen:
    face: FaceLandmarks | None
    pose: PoseLandmarks | None
    left: HandLandmarks | None
    right: HandLandmarks | None


class Trackers:
    """All four, each started from the frame before, as the pipeline runs them."""

    def __init__(self, networks: Networks) -> None:
        self.face, self.body = FaceTracker(networks), BodyTracker(networks)
        self.left, self.right = HandTracker(networks, "left"), HandTracker(networks, "right")
        self.seen = Seen(None, None, None, None)

    def reset(self) -> None:
        self.seen = Seen(None, None, None, None)
        for tracker in (self.face, self.body, self.left, self.right):
            tracker.reset()

    def __call__(self, image: U8) -> Seen:
        before = self.seen
        face, pose = self.face.track(image, before.pose), self.body.track(image)
        left = self.left.track(image, before.pose, before.right)
        right = self.right.track(image, before.pose, before.left)
        self.seen = Seen(face, pose, *distinct(left, right, pose))
        return self.seen


@pytest.fixture(scope="module")
def networks(model_cache: ModelStore) -> Networks:
    return Networks(model_cache)


@pytest.fixture(scope="module")
def _trackers(networks: Networks) -> Trackers:
    return Trackers(networks)


@pytest.fixture
def trackers(_trackers: Trackers) -> Trackers:
    _trackers.reset()
    return _trackers


@pytest.fixture(scope="module")
def astronaut() -> U8:
    return np.ascontiguousarray(pytest.importorskip("skimage.data").astronaut())


def frames(path: Path, limit: int = 10_000) -> Iterator[U8]:
    capture = cv2.VideoCapture(str(path))
    for _ in range(limit):
        read, picture = capture.read()
        if not read:
            return
        yield cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def beside(large: U8, small: U8, share: float) -> U8:
    """``small`` shrunk and set to the right of ``large``."""
    size = (int(small.shape[1] * share), int(small.shape[0] * share))
    inset = cv2.resize(small, size, interpolation=cv2.INTER_AREA)
    canvas = np.full((large.shape[0], large.shape[1] + size[0], 3), 128, np.uint8)
    canvas[:, : large.shape[1]] = large
    canvas[: size[1], large.shape[1] :] = inset
    return canvas


def test_the_portrait_has_a_face_and_a_body(trackers: Trackers, astronaut: U8) -> None:
    seen = trackers(astronaut)
    assert seen.face is not None
    assert seen.pose is not None
    assert seen.face.points_px.shape == (478, 3)
    assert seen.face.presence > 0.9
    right_iris, left_iris = seen.face.points_px[468, :2], seen.face.points_px[473, :2]
    assert right_iris == pytest.approx((203.1, 101.1), abs=2)
    assert left_iris == pytest.approx((246.5, 103.4), abs=2)
    nose = seen.pose.points_px[0, :2]
    assert nose == pytest.approx(seen.face.points_px[4, :2], abs=15)


def test_world_axes_are_gltf_s(trackers: Trackers, astronaut: U8) -> None:
    """Facing the camera: own left to +x, head up +y, nose in front of the shoulders +z."""
    pose = trackers(astronaut).pose
    assert pose is not None
    world = pose.world_m
    assert world[11, 0] > world[12, 0] + 0.2
    assert world[0, 1] > world[11, 1] > world[23, 1]
    assert world[0, 2] > world[7, 2]


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((480, 640, 3), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.full((17, 23, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 255, (241, 319, 3), np.uint8),
        np.zeros((20, 4000, 3), np.uint8),
    ],
    ids=["black", "1x1", "17x23", "noise", "ribbon"],
)
def test_nobody_is_nobody(trackers: Trackers, image: U8) -> None:
    for _ in range(3):
        assert trackers(image) == Seen(None, None, None, None)


def test_a_very_large_grey_picture(trackers: Trackers, astronaut: U8) -> None:
    grey = cv2.cvtColor(cv2.cvtColor(astronaut, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    large = np.zeros((4320, 7680, 3), np.uint8)
    large[:, 1600:5920] = cv2.resize(grey, (4320, 4320))
    seen = [trackers(large) for _ in range(3)][-1]
    assert seen.face is not None
    assert seen.pose is not None


def test_an_empty_room_costs_little(networks: Networks) -> None:
    body = BodyTracker(networks)
    searches = 0
    search = body._detector.__class__.__call__

    class Counting:
        def __call__(self, image: U8) -> list:
            nonlocal searches
            searches += 1
            return search(body_detector, image)

    body_detector, body._detector = body._detector, Counting()  # type: ignore[assignment]
    for _ in range(100):
        assert body.track(np.zeros((48, 64, 3), np.uint8)) is None
    assert 5 <= searches <= 15


def test_leaving_and_coming_back(trackers: Trackers, astronaut: U8) -> None:
    empty = np.zeros_like(astronaut)
    assert trackers(astronaut).pose is not None
    for _ in range(40):
        seen = trackers(empty)
    assert seen == Seen(None, None, None, None)
    again = [trackers(astronaut) for _ in range(12)]
    assert any(s.face is not None and s.pose is not None for s in again)
    assert again[-1].face is not None
    assert again[-1].pose is not None


def test_of_two_people_the_larger_is_kept(trackers: Trackers, shared_data: Path) -> None:
    large = frames(shared_data / "clips" / "signing_want.mkv", 40)
    small = frames(shared_data / "clips" / "signing_walk.mkv", 40)
    for i, (a, b) in enumerate(zip(large, small, strict=True)):
        seen = trackers(beside(a, b, 0.6))
        assert seen.pose is not None
        assert seen.pose.points_px[[0, 11, 12], 0].max() < a.shape[1]
        if i >= 2:
            assert seen.face is not None, "the body shows where a face too small to detect is"
            assert seen.face.points_px[:, 0].max() < a.shape[1]


def test_a_nearer_person_takes_over(networks: Networks, shared_data: Path) -> None:
    near = list(frames(shared_data / "clips" / "signing_want.mkv", 45))
    far = list(frames(shared_data / "clips" / "signing_walk.mkv", 45))
    body = BodyTracker(networks)
    for b in far[:5]:
        pose = body.track(beside(np.full_like(b, 128), b, 0.6))
    assert pose is not None
    assert pose.points_px[0, 0] > near[0].shape[1]
    for i in range(80):
        pose = body.track(beside(near[i % 45], far[i % 45], 0.6))
    assert pose is not None
    assert pose.points_px[0, 0] < near[0].shape[1]


def test_a_face_of_another_person_is_let_go(networks: Networks, shared_data: Path) -> None:
    """The face tracker begins with the only face; then the body belongs to somebody else."""
    near = [f[:, 140:440] for f in frames(shared_data / "clips" / "signing_want.mkv", 12)]
    far = [f[:, 160:460] for f in frames(shared_data / "clips" / "signing_walk.mkv", 12)]
    body, tracker = BodyTracker(networks), FaceTracker(networks)
    pose = body.track(beside(near[0], np.full_like(far[0], 128), 0.9))
    face = tracker.track(beside(np.full_like(near[0], 128), far[0], 0.9), None)
    assert pose is not None
    assert face is not None
    assert face.points_px[4, 0] > near[0].shape[1]
    for a, b in zip(near, far, strict=True):
        face = tracker.track(beside(a, b, 0.9), pose)
    assert face is not None
    assert np.hypot(*(face.points_px[4, :2] - pose.points_px[0, :2])) < 30.0


def seen_from_behind(pose: PoseLandmarks) -> PoseLandmarks:
    visibility = pose.visibility.copy()
    visibility[:11] = 0.0
    return replace(pose, visibility=visibility)


def test_a_person_who_turns_away_does_not_get_a_bystander_s_face(
    networks: Networks, astronaut: U8
) -> None:
    pose = BodyTracker(networks).track(astronaut)
    assert pose is not None
    turned = astronaut[:, :352].copy()
    turned[20:190, 140:310] = 90
    image = beside(turned, astronaut[:300, 80:380], 0.9)
    assert FaceTracker(networks).track(image, None) is not None, "the bystander's can be found"
    tracker = FaceTracker(networks)
    for _ in range(12):
        assert tracker.track(image, seen_from_behind(pose)) is None


def test_a_face_beside_a_turned_head_is_let_go(networks: Networks, astronaut: U8) -> None:
    """The tracker holds a bystander's face while the body shows its back."""
    pose = BodyTracker(networks).track(astronaut)
    assert pose is not None
    image = beside(np.full_like(astronaut[:, :352], 128), astronaut[:300, 80:380], 0.9)
    tracker = FaceTracker(networks)
    assert tracker.track(image, None) is not None
    faces = [tracker.track(image, seen_from_behind(pose)) for _ in range(8)]
    assert faces[-1] is None


def test_of_two_faces_at_the_head_the_nearer_one_is_the_body_s() -> None:
    """A neighbour's may be larger."""
    head = Region(100.0, 100.0, 90.0)

    def face(x: float, size: float) -> Detection:
        eyes = np.array([[x - size / 2, 100.0], [x + size / 2, 100.0]], np.float32)
        return Detection(np.zeros(4, np.float32), eyes, 0.9)

    chosen = _nearest([face(135.0, 30.0), face(104.0, 20.0)], head)
    assert chosen is not None
    assert chosen.cx == pytest.approx(104.0)
    assert _nearest([face(150.0, 30.0)], head) is None
    assert _nearest([], head) is None


def test_a_small_face_is_found_where_the_body_is(networks: Networks, shared_data: Path) -> None:
    image = next(frames(shared_data / "clips" / "signing_want.mkv"))
    room = np.full((1080, 1920, 3), 128, np.uint8)
    room[600:1080, 700:1340] = image
    pose = BodyTracker(networks).track(room)
    assert pose is not None
    assert FaceTracker(networks).track(room, None) is None
    face = FaceTracker(networks).track(room, pose)
    assert face is not None
    assert np.hypot(*(face.points_px[4, :2] - pose.points_px[0, :2])) < 8.0


@pytest.mark.slow
def test_signing_hands_are_never_swapped(trackers: Trackers, shared_data: Path) -> None:
    """Each hand's wrist is near its own side's body wrist in 99 % of the frames that show it."""
    near, total, twins = 0, 0, 0
    for clip in sorted((shared_data / "clips").glob(SIGNING))[::2]:
        trackers.reset()
        for image in frames(clip):
            seen = trackers(image)
            assert seen.pose is not None
            reach = 0.5 * np.hypot(*(seen.pose.points_px[11, :2] - seen.pose.points_px[12, :2]))
            for side, hand in (("left", seen.left), ("right", seen.right)):
                if hand is not None:
                    away = np.hypot(*(hand.points_px[0, :2] - wrist_of(seen.pose, side)))
                    near, total = near + (away < reach), total + 1
            if seen.left is not None and seen.right is not None:
                twins += is_same_hand(seen.left.points_px, seen.right.points_px)
    assert total > 150
    assert near >= 0.99 * total
    assert twins == 0


@pytest.mark.parametrize("name", ["webcam_talking_400x300_25fps.mp4", "bbaf2n.mpg", "lbax4n.mpg"])
def test_half_a_person_at_a_webcam(trackers: Trackers, shared_data: Path, name: str) -> None:
    for image in frames(shared_data / "clips" / name, 30):
        seen = trackers(image)
        assert seen.face is not None
        assert seen.pose is not None
        assert seen.left is None
        assert seen.right is None


def test_a_still_picture_does_not_jitter(trackers: Trackers, shared_data: Path) -> None:
    image = next(frames(shared_data / "clips" / "bbaf2n.mpg"))
    for _ in range(3):
        before = trackers(image)
    after = trackers(image)
    assert before.face is not None
    assert before.pose is not None
    assert after.face is not None
    assert after.pose is not None
    assert np.array_equal(before.face.points_px, after.face.points_px)
    assert np.array_equal(before.pose.points_px, after.pose.points_px)


def test_what_was_returned_is_not_overwritten(trackers: Trackers, shared_data: Path) -> None:
    images = list(frames(shared_data / "clips" / "signing_walk.mkv", 40))
    first = [trackers(image) for image in images[:30]][-1]
    kept = [None if p is None else p.points_px.copy() for p in (first.face, first.pose)]
    for image in images[30:]:
        trackers(image)
    assert first.face is not None
    assert first.pose is not None
    assert np.array_equal(first.face.points_px, kept[0])
    assert np.array_equal(first.pose.points_px, kept[1])


async def test_frames_that_overlap_show_the_same(networks: Networks) -> None:
    """What is found of a frame depends on the frames before it, not on what runs beside it."""
    with open_source("portrait", frames=12) as source:
        frames = list(source)
    observer = Observer(networks)
    try:
        alone = [(await observer.observe(frame))[0] for frame in frames]
        observer.reset()
        together = await asyncio.gather(*(observer.observe(frame) for frame in frames))
    finally:
        observer.close()
    assert alone[-1].face is not None
    assert alone[-1].pose is not None
    for one, (other, _) in zip(alone, together, strict=True):
        for part in ("face", "pose", "left_hand", "right_hand"):
            first, second = getattr(one, part), getattr(other, part)
            assert (first is None) == (second is None), part
            if first is not None:
                np.testing.assert_array_equal(first.points_px, second.points_px)


def test_the_portrait_is_a_grown_woman(networks: Networks, astronaut: U8) -> None:
    face = FaceTracker(networks).track(astronaut, None)
    reading = SemanticsEstimator(networks).estimate(astronaut, face)
    assert reading is not None
    assert reading.female_probability > 0.9
    assert 22.0 < reading.age_years < 50.0
    assert reading.age_class == int(reading.age_years // 10)
    assert 0.0 < reading.confidence < 1.0


@pytest.mark.parametrize("name", ["age.onnx", "gender.onnx"])
def test_damaged_semantics_are_known_at_the_start(
    model_cache: ModelStore, tmp_path: Path, name: str
) -> None:
    """At the first estimate, a second into the run, nobody would be told."""
    for file in ("age.onnx", "gender.onnx", MANIFEST):
        shutil.copy2(model_cache.folder / file, tmp_path)
    (tmp_path / name).write_bytes(b"damaged")
    with pytest.raises(ModelFileError, match=name):
        SemanticsEstimator(Networks(ModelStore(tmp_path)))


def test_smoothed_semantics_weigh_by_confidence() -> None:
    smoothed = SmoothedSemantics()
    assert smoothed.update(None) is None
    smoothed.update(Semantics(30.0, 3, 0.9, 0.9))
    current = smoothed.update(Semantics(60.0, 6, 0.1, 0.1))
    assert current is not None
    assert current.age_years == pytest.approx(33.0)
    assert current.female_probability == pytest.approx(0.82)
    assert current.age_class == 3


def test_smoothed_semantics_settle_and_still_follow_another_person() -> None:
    smoothed = SmoothedSemantics(memory=10.0)
    confidences = []
    for _ in range(50):
        current = smoothed.update(Semantics(25.0, 2, 0.0, 0.5))
        assert current is not None
        confidences.append(current.confidence)
    assert confidences == sorted(confidences)
    assert confidences[-1] > 0.9
    for _ in range(80):
        current = smoothed.update(Semantics(70.0, 7, 1.0, 0.5))
    assert current is not None
    assert current.age_years > 65.0


@pytest.mark.parametrize(("years", "expected"), [(0, 0), (9.9, 0), (10, 1), (89.9, 8), (130, 9)])
def test_age_classes_are_decades(years: float, expected: int) -> None:
    assert age_class(years) == expected


def test_a_similarity_is_recovered() -> None:
    angle = 0.4
    turn = 3.0 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = similarity(FIVE_PLACES, FIVE_PLACES @ turn.T + (7.0, -2.0))
    assert np.allclose(matrix, np.column_stack([turn, (7.0, -2.0)]))
