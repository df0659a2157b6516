"""Regions of interest, anchors, suppression and filters: the mathematics, without networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.inference.catalog import NETWORKS
from engine.perception import hand_region
from engine.perception.anchors import ssd_anchors
from engine.perception.backoff import Backoff
from engine.perception.crop import Cropper, is_picture
from engine.perception.detection import decode, overlap, weighted_nms
from engine.perception.detector import FACE, PALM, POSE, DetectorSpec
from engine.perception.hand_side import belongs, is_same_hand
from engine.perception.heatmap import refine
from engine.perception.landmarks import to_gltf_axes
from engine.perception.one_euro import BODY, LandmarkFilter
from engine.perception.region import (
    Region,
    from_alignment_points,
    from_box,
    from_turned_box,
    steadied,
    whole_picture,
    wrapped,
)
from engine.types import PoseLandmarks

pixels = st.floats(-2000.0, 2000.0)
regions = st.builds(Region, pixels, pixels, st.floats(8.0, 3000.0), st.floats(-math.pi, math.pi))


def in_crop(region: Region, points: np.ndarray, crop_side: int) -> np.ndarray:
    """(N, 2) frame points where the crop shows them."""
    matrix = region.matrix(crop_side).astype(np.float64)
    return np.linalg.solve(matrix[:, :2], (points[:, :2] - matrix[:, 2]).T).T


@given(regions, st.lists(st.tuples(pixels, pixels), min_size=1, max_size=8))
def test_a_region_and_back_is_where_one_started(region: Region, points: list) -> None:
    crop = in_crop(region, np.array(points), 256).astype(np.float32)
    back = region.to_frame(crop, 256)
    assert np.allclose(back, points, atol=0.05)


@given(regions)
def test_the_middle_of_the_crop_is_the_centre_of_the_region(region: Region) -> None:
    centre = region.to_frame(np.array([[96.0, 96.0]], np.float32), 192)[0]
    assert np.allclose(centre, (region.cx, region.cy), atol=0.01)


@given(regions)
def test_depth_is_scaled_with_the_crop(region: Region) -> None:
    moved = region.to_frame(np.array([[0.0, 0.0, 64.0]], np.float32), 256)
    assert moved[0, 2] == pytest.approx(64.0 * region.side / 256.0, rel=1e-5)


@given(pixels, pixels, st.floats(-3.0, 3.0), st.floats(10.0, 500.0))
def test_alignment_points_put_the_rim_straight_above_the_centre(
    x: float, y: float, angle: float, radius: float
) -> None:
    rim = (x + radius * math.sin(angle), y - radius * math.cos(angle))
    region = from_alignment_points(np.array([x, y]), np.array(rim), 1.25)
    crop = in_crop(region, np.array([rim]), 256)[0]
    assert region.side == pytest.approx(2.5 * radius, rel=1e-3, abs=0.01)
    assert crop == pytest.approx((128.0, 128.0 - 128.0 / 1.25), abs=0.1)


@given(st.floats(-1.5, 1.5))
def test_a_tilted_face_is_level_in_its_crop(tilt: float) -> None:
    turn = np.array([[math.cos(tilt), -math.sin(tilt)], [math.sin(tilt), math.cos(tilt)]])
    face = np.array([[-30.0, 0.0], [30.0, 0.0], [0.0, 50.0]]) @ turn.T + (320.0, 240.0)
    face = face.astype(np.float32)
    crop = in_crop(from_box(face, face[0], face[1], 1.5), face, 192)
    assert crop[0, 1] == pytest.approx(crop[1, 1], abs=0.01)
    assert crop[0, 0] < crop[1, 0]
    assert crop[2, 1] > crop[0, 1]


@given(st.floats(-3.0, 3.0))
def test_a_turned_box_is_tight(rotation: float) -> None:
    corners = np.array([[-40.0, -10.0], [40.0, -10.0], [40.0, 10.0], [-40.0, 10.0]], np.float32)
    c, s = math.cos(rotation), math.sin(rotation)
    turned = corners @ np.array([[c, s], [-s, c]], np.float32) + np.float32(100.0)
    region = from_turned_box(turned, rotation, 1.0, 0.0)
    assert (region.cx, region.cy, region.side) == pytest.approx((100.0, 100.0, 80.0), abs=0.01)


@given(st.floats(-50.0, 50.0))
def test_wrapped_angles_are_the_same_turn(angle: float) -> None:
    assert -math.pi <= wrapped(angle) <= math.pi
    assert math.cos(wrapped(angle)) == pytest.approx(math.cos(angle), abs=1e-6)
    assert math.sin(wrapped(angle)) == pytest.approx(math.sin(angle), abs=1e-6)


def test_a_pointing_hand_is_upright_in_its_crop() -> None:
    rng = np.random.default_rng(1)
    hand = np.zeros((21, 2), np.float32)
    hand[1:] = rng.uniform((-20, -60), (20, -30), (20, 2))
    hand[[5, 9, 13]] = [(-10, -40), (0, -42), (10, -40)]
    sideways = hand @ np.array([[0.0, 1.0], [-1.0, 0.0]], np.float32) + np.float32(200.0)
    crop = in_crop(hand_region.from_landmarks(sideways), sideways, 224)
    assert crop[9, 1] < crop[0, 1]
    assert abs(crop[9, 0] - crop[0, 0]) < 8.0


def test_a_still_region_stays_and_a_moved_one_is_followed_at_once() -> None:
    before = Region(100.0, 100.0, 200.0, 0.0)
    near, far = Region(102.0, 99.0, 203.0, 0.01), Region(130.0, 100.0, 200.0, 0.0)
    assert steadied(before, near, 0.03) is before
    assert steadied(before, far, 0.03) is far
    assert steadied(None, near, 0.03) is near
    assert steadied(before, Region(100.0, 100.0, 200.0, 0.2), 0.03).rotation == 0.2


def test_a_region_may_have_its_centre_below_the_picture() -> None:
    hips_below = Region(320.0, 700.0, 900.0)
    assert hips_below.is_readable(640, 480)
    assert not Region(320.0, 5000.0, 900.0).is_readable(640, 480)
    assert not Region(320.0, 200.0, 1.0).is_readable(640, 480)


@pytest.mark.parametrize("spec", [FACE, PALM, POSE], ids=lambda spec: spec.network)
def test_there_is_an_anchor_for_every_row_of_the_network(spec: DetectorSpec) -> None:
    network = NETWORKS[spec.network]
    anchors = ssd_anchors(spec.side, spec.strides)
    assert len(anchors) == network.outputs[0].shape[1] == network.outputs[1].shape[1]
    assert network.size == (spec.side, spec.side)
    assert network.value_range == (spec.low, 1.0)
    assert anchors.min() > 0.0
    assert anchors.max() < 1.0


def test_anchors_run_row_by_row_with_the_cell_s_anchors_together() -> None:
    anchors = ssd_anchors(16, (8,))
    assert anchors.tolist() == [
        [0.25, 0.25], [0.25, 0.25], [0.75, 0.25], [0.75, 0.25],
        [0.25, 0.75], [0.25, 0.75], [0.75, 0.75], [0.75, 0.75],
    ]  # fmt: skip


def test_decoding_keeps_what_fires_and_places_it_at_its_anchor() -> None:
    regressors = np.array([[4, -2, 10, 20, 1, 2], [0, 0, 8, 8, 0, 0]], np.float32)
    logits = np.array([2.0, -3.0], np.float32)
    anchors = np.array([[0.5, 0.25], [0.1, 0.1]], np.float32)
    out = np.zeros((8, 7), np.float32)
    assert decode(regressors, logits, anchors, 128.0, 0.0, out) == 1
    assert out[0, :4] == pytest.approx([68 - 5, 30 - 10, 68 + 5, 30 + 10])
    assert out[0, 4:6] == pytest.approx([65, 34])
    assert out[0, 6] == pytest.approx(1 / (1 + math.exp(-2.0)))


def test_decoding_is_bounded() -> None:
    many = np.zeros((1000, 4), np.float32)
    out = np.zeros((16, 5), np.float32)
    assert decode(many, np.full(1000, 9.0, np.float32), many[:, :2], 128.0, 0.0, out) == 16


def test_overlapping_boxes_are_averaged_by_score_and_others_kept() -> None:
    rows = np.array([[0, 0, 10, 10, 0.9], [1, 0, 11, 10, 0.3], [50, 50, 60, 60, 0.6]], np.float32)
    out = np.zeros((4, 5), np.float32)
    assert weighted_nms(rows, 0.3, out) == 2
    assert out[0] == pytest.approx([0.25, 0, 10.25, 10, 0.9])
    assert out[1] == pytest.approx([50, 50, 60, 60, 0.6])


@given(st.lists(st.tuples(*[st.floats(0, 100)] * 4, st.floats(0.01, 1.0)), max_size=30))
def test_suppression_equals_its_slow_twin(boxes: list) -> None:
    rows = np.array(
        [[x, y, x + w + 1, y + h + 1, s] for x, y, w, h, s in boxes], np.float32
    ).reshape(-1, 5)
    rows = rows[np.argsort(-rows[:, 4], kind="stable")]
    out = np.zeros((32, 5), np.float32)
    count = weighted_nms(rows, 0.3, out)
    left, expected = list(rows), []
    while left:
        group = [r for r in left if r is left[0] or overlap(left[0], r) > 0.3]
        weights = np.array([r[4] for r in group])
        expected.append([*np.average([r[:4] for r in group], axis=0, weights=weights), left[0][4]])
        left = [r for r in left if not any(r is g for g in group)]
    assert count == len(expected)
    same_scores = len({float(s) for s in rows[:, 4]}) < len(rows)
    if count and not same_scores:
        assert np.allclose(out[:count], expected, rtol=1e-4, atol=1e-2)


def test_the_crop_of_a_gradient_is_the_gradient() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 200, axis=0).repeat(3, axis=2)
    target = np.empty((1, 3, 64, 64), np.float32)
    out = Cropper(target)(ramp, Region(100.0, 100.0, 64.0))
    assert out is target
    assert np.allclose(out[0, 1, 10] * 255.0, np.arange(68, 132), atol=0.6)


def test_outside_the_frame_is_black_or_the_edge() -> None:
    white = np.full((32, 32, 3), 255, np.uint8)
    target = np.empty((1, 3, 32, 32), np.float32)
    beyond = Region(-100.0, 16.0, 32.0)
    assert Cropper(target, -1.0, 1.0, zero_border=True)(white, beyond).max() == -1.0
    assert Cropper(target, -1.0, 1.0)(white, beyond).min() == pytest.approx(1.0)


def test_whole_picture_is_letterboxed() -> None:
    region = whole_picture(640, 480)
    assert (region.cx, region.cy, region.side, region.rotation) == (320.0, 240.0, 640.0, 0.0)


@pytest.mark.parametrize(
    ("shape", "fine"),
    [((1, 1, 3), False), ((480, 640, 3), True), ((480, 640), False), ((480, 640, 4), False),
     ((4320, 7680, 3), True), ((17, 33, 3), True)],
)  # fmt: skip
def test_what_is_a_picture(shape: tuple[int, ...], fine: bool) -> None:
    assert is_picture(np.zeros(shape, np.uint8)) is fine


def test_a_heatmap_pulls_the_landmark_to_its_peak() -> None:
    heatmap = np.full((1, 64, 64), -20.0, np.float32)
    heatmap[0, 30, 20:22] = 8.0
    points = np.array([[88.0, 116.0, 5.0]], np.float32)
    refine(points, heatmap, 4.0, 3, 0.5)
    assert points[0] == pytest.approx([82.0, 120.0, 5.0], abs=0.05)


def test_an_unsure_heatmap_and_a_landmark_outside_change_nothing() -> None:
    points = np.array([[88.0, 116.0, 5.0], [-9.0, 300.0, 0.0]], np.float32)
    before = points.copy()
    refine(points, np.full((2, 64, 64), -20.0, np.float32), 4.0, 3, 0.5)
    assert np.array_equal(points, before)


def test_gltf_axes_are_a_rotation() -> None:
    turn = to_gltf_axes(np.eye(3, dtype=np.float32))
    assert np.linalg.det(turn) == pytest.approx(1.0)
    assert turn.tolist() == [[1, 0, 0], [0, -1, 0], [0, 0, -1]]


def test_the_filter_calms_noise_and_follows_motion() -> None:
    rng = np.random.default_rng(0)
    still = rng.normal(100.0, 0.5, (200, 5, 2)).astype(np.float32)
    landmark_filter = LandmarkFilter(BODY)
    calm = np.array([landmark_filter(points, 400.0) for points in still])
    assert calm[50:].std(axis=0).mean() < 0.5 * still[50:].std(axis=0).mean()
    landmark_filter.reset()
    moving = np.arange(60, dtype=np.float32)[:, None, None] * np.full((1, 5, 2), 8.0, np.float32)
    followed = np.array([landmark_filter(points, 400.0) for points in moving])
    assert (moving[-1] - followed[-1]).max() < 8.0, "less than one frame behind"


def test_the_filter_starts_afresh_after_a_reset() -> None:
    landmark_filter = LandmarkFilter(BODY)
    landmark_filter(np.zeros((3, 2), np.float32), 100.0)
    landmark_filter.reset()
    assert landmark_filter(np.ones((3, 2), np.float32), 100.0).tolist() == [[1.0, 1.0]] * 3


def test_an_empty_room_is_searched_ever_more_rarely() -> None:
    backoff = Backoff(longest=10)
    searched = []
    for frame in range(100):
        if backoff.due():
            searched.append(frame)
            backoff.failed()
    assert searched[:2] == [0, 2]
    assert np.diff(searched).max() == 11
    assert len(searched) <= 15
    backoff.reset()
    assert backoff.due()


def _pose(left_wrist: tuple[float, float], right_wrist: tuple[float, float]) -> PoseLandmarks:
    points = np.zeros((33, 3), np.float32)
    points[15, :2], points[16, :2] = left_wrist, right_wrist
    points[11, 0], points[12, 0] = 400.0, 250.0
    return PoseLandmarks(points, points, np.ones(33, np.float32), 1.0)


def _hand(x: float, y: float) -> np.ndarray:
    angle = np.linspace(0, 2 * math.pi, 21)
    hand = np.stack([x + 25 * np.sin(angle), y - 30 + 30 * np.cos(angle), 0 * angle], axis=1)
    hand[[5, 9, 13], :2] = [(x - 8, y - 40), (x, y - 42), (x + 8, y - 40)]
    hand[0, :2] = (x, y)
    return hand.astype(np.float32)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(100, 500), st.floats(0, 300))
def test_a_hand_never_belongs_to_both_sides(
    looks: float, x_share: float, x: float, gap: float
) -> None:
    """Whatever the wrists and the looks, two trackers on one hand do not both keep it."""
    pose = _pose((x + gap, 300.0), (x, 300.0))
    hand = _hand(x + x_share * gap, 300.0)
    least = 0.5 + 1e-6
    left = belongs(hand, "left", pose, 1.0 - looks, least)
    right = belongs(hand, "right", pose, looks, least)
    assert not (left and right)


def test_the_nearer_wrist_beats_the_looks() -> None:
    pose = _pose((400.0, 300.0), (250.0, 300.0))
    assert belongs(_hand(395.0, 300.0), "left", pose, 0.1, 0.5)
    assert not belongs(_hand(395.0, 300.0), "right", pose, 0.9, 0.5)


def test_a_hand_far_from_the_body_is_somebody_else_s() -> None:
    pose = _pose((400.0, 300.0), (250.0, 300.0))
    assert not belongs(_hand(900.0, 300.0), "left", pose, 0.99, 0.5)


def test_without_a_body_the_looks_decide() -> None:
    assert belongs(_hand(10.0, 10.0), "left", None, 0.8, 0.5)
    assert not belongs(_hand(10.0, 10.0), "left", None, 0.2, 0.5)


def test_the_same_hand_is_recognised() -> None:
    assert is_same_hand(_hand(100.0, 100.0), _hand(103.0, 102.0))
    assert not is_same_hand(_hand(100.0, 100.0), _hand(180.0, 100.0))
