"""Looking around: what the user drags is what moves, and what was asked for is in the picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from viewer.controls import Controls, drag, press, scroll
from viewer.draw_recorder import DrawRecorder
from viewer.ground import follow_floor
from viewer.orbit import (
    MAX_PITCH,
    NEAREST_M,
    OrbitCamera,
    clip_matrix,
    eye,
    fit,
    pan,
    turn,
    view_matrix,
    zoom,
)
from viewer.overlay import render_text, statistics_lines

angles = st.floats(-6, 6)
pitches = st.floats(-MAX_PITCH, MAX_PITCH)


def on_screen(camera: OrbitCamera, point: np.ndarray, **options: bool) -> np.ndarray:
    """Normalised device coordinates, x right and y up, of a point in metres."""
    clip = clip_matrix(camera, 640, 480, **options) @ np.append(point, 1.0)
    return clip[:3] / clip[3]


@given(angles, pitches)
def test_the_target_is_in_the_middle_from_everywhere(yaw, pitch):
    camera = OrbitCamera((0.3, -0.2, -2.0), yaw, pitch, 1.5)
    assert on_screen(camera, np.array(camera.target))[:2] == pytest.approx([0, 0], abs=1e-5)
    assert math.dist(eye(camera), camera.target) == pytest.approx(1.5, rel=1e-5)


@given(angles, pitches)
def test_the_view_is_a_rigid_motion(yaw, pitch):
    rotation = view_matrix(OrbitCamera(yaw=yaw, pitch=pitch))[:3, :3]
    assert rotation @ rotation.T == pytest.approx(np.eye(3), abs=1e-5)
    assert np.linalg.det(rotation) == pytest.approx(1.0, abs=1e-5)


def test_someone_facing_the_camera_has_their_left_hand_on_the_right():
    camera = OrbitCamera((0, 0, -2), distance=2.0)
    x, y, _ = on_screen(camera, np.array([0.3, 0.2, -2.0]))
    assert x > 0 and y > 0
    assert on_screen(camera, np.array([0.3, 0.2, -2.0]), mirror=True)[0] == pytest.approx(-x)
    assert on_screen(camera, np.array([0.3, 0.2, -2.0]), flip_y=True)[1] == pytest.approx(-y)


def test_dragging_right_brings_the_left_side_to_the_front():
    camera = OrbitCamera((0, 0, -2), distance=2.0)
    near = np.array([0, 0, -1.8])
    assert on_screen(turn(camera, 0.1, 0.0), near)[0] > 0
    assert on_screen(turn(camera, 0.0, 0.1), near)[1] < 0


def test_panning_moves_the_target_by_exactly_the_drag():
    camera = OrbitCamera((0, 0, -2), 0.4, 0.3, 2.0)
    x, y, _ = on_screen(pan(camera, 0.25, 0.1), np.array(camera.target))
    # A window height is two units of y; x is scaled by the window's shape.
    assert x * 640 / 480 / 2 == pytest.approx(0.25, abs=1e-5)
    assert -y / 2 == pytest.approx(0.1, abs=1e-5)


def test_limits_hold():
    camera = turn(OrbitCamera(), 0.0, 100.0)
    assert camera.pitch == MAX_PITCH
    assert zoom(camera, 1000).distance == NEAREST_M
    assert zoom(zoom(camera, 3), -3).distance == pytest.approx(camera.distance)


@given(st.integers(0, 1000), st.sampled_from([0.4, 1.0, 2.0]), angles)
def test_fitting_shows_every_point(seed, aspect, yaw):
    rng = np.random.default_rng(seed)
    points = rng.normal([0.1, -0.5, -3], [0.4, 0.9, 0.2], (50, 3)).astype(np.float32)
    camera = fit(points, aspect, yaw, 0.1, margin=1.0)
    matrix = clip_matrix(camera, round(1000 * aspect), 1000)
    clip = np.c_[points, np.ones(50)] @ matrix.T
    inside = np.abs(clip[:, :2] / clip[:, 3:])
    assert inside.max() <= 1.0 + 1e-3
    assert inside.max() > 0.5  # and not from far away


def test_the_floor_falls_at_once_and_rises_slowly():
    assert follow_floor(None, -1.0) == -1.0
    assert follow_floor(-1.0, -1.2) == -1.2
    assert -1.2 < follow_floor(-1.2, -0.2) < -1.19


def test_keys_and_mouse_change_what_they_say():
    start = Controls()
    assert press(start, "S").show_statistics
    assert press(start, "m").view.mirror
    assert press(start, "2").framing == "face"
    assert press(start, "?") == start
    assert scroll(start, 2.0).view.camera.distance < start.view.camera.distance
    assert drag(start, 0.1, 0.0, move=True).view.camera.target[0] < 0


def test_in_a_mirror_the_picture_still_follows_the_mouse():
    mirrored = press(Controls(), "m")
    plain, other = drag(Controls(), 0.1, 0, move=False), drag(mirrored, 0.1, 0, move=False)
    assert other.view.camera.yaw == -plain.view.camera.yaw


def test_latency_is_measured_from_capture_to_drawn():
    recorder = DrawRecorder(capacity=100)
    for n in range(200):
        captured = n * 20_000_000
        recorder.record(captured, captured + (30_000_000 if n % 10 else 50_000_000))
    assert recorder.count == 100
    assert recorder.percentiles_ms() == pytest.approx({"p50": 30, "p95": 50, "p99": 50})
    assert recorder.frames_per_s() == pytest.approx(50, rel=0.02)


def test_the_text_card_grows_with_its_text():
    small, large = render_text(("fps 30",)), render_text(("fps 30", "a much longer second line"))
    assert small.shape[2] == 4 and small.dtype == np.uint8
    assert large.shape[0] > small.shape[0] and large.shape[1] > small.shape[1]
    assert (render_text(("fps 30",)) == small).all()
    assert statistics_lines({"drawn_fps": 29.97}) == ("drawn fps   30",)
