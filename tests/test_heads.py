"""The heads harness: its measure on surfaces with known errors, its film, one person end to end."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from rigs import sphere

from benchmarks.heads import filming
from benchmarks.heads.evaluation import eval_heads
from benchmarks.heads.face_regions import face_regions, mean_by_region
from benchmarks.heads.filming import FRAMES, MAX_PITCH, MAX_YAW, expression_at, turn_at
from benchmarks.heads.harness import Heads, zero_shape
from benchmarks.heads.ict_people import ICT_VARIABLE, find_ict, random_alpha
from benchmarks.heads.picture import CELL, FULL_MM, GREY, RED, WHITE, Row, colours, draw_rows
from benchmarks.heads.sitting import Sitting
from benchmarks.heads.surface_error import RADIUS_M, Head, measure
from engine import quaternions
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.errors import ModelFileError
from engine.face.landmark_embedding import default_embedding
from engine.types import ARKIT_NAMES, Phenotypes

DIRECTIONS = np.array([[0, 0, 1], [0.5, 0.2, 0.8], [-0.5, 0.2, 0.8], [0, -0.6, 0.7]])


def lump(rings=40, sectors=48, bulge_m=0.0):
    """A head-sized surface without symmetry whose nose points to +Z, as a Head."""
    directions, faces = sphere(rings, sectors, 1.0)
    return headed(directions.astype(np.float64), faces, bulge_m)


def headed(directions, faces, bulge_m=0.0):
    def at(d):
        d = d / np.linalg.norm(d, axis=1, keepdims=True)
        x, y, z = d.T
        radius = 0.10 + 0.015 * y + 0.006 * np.sin(5 * x + 1) + 0.004 * np.cos(7 * z - 3 * y)
        radius = radius + 0.02 * np.exp(-((x**2 + y**2) / 0.02)) * (z > 0) + bulge_m
        return d * radius[:, None]

    vertices = at(directions)
    return Head.of(
        vertices.astype(np.float32), faces, at(DIRECTIONS).astype(np.float32), nose_tip=0
    )


def moved(head, scale=1.0, turn=(0.0, 0.0, 0.0), shift=(0.0, 0.0, 0.0)):
    rotation = quaternions.to_matrix(quaternions.from_rotation_vector(np.array(turn, float)))
    place = lambda points: (scale * points @ rotation.T + shift).astype(np.float32)
    return Head.of(place(head.vertices_m), head.faces, place(head.landmarks_m), 0)


def test_the_same_head_elsewhere_has_no_error():
    truth = lump()
    error = measure(moved(truth, turn=(0.3, -0.4, 0.1), shift=(0.5, -1.0, 0.2)), truth)
    assert error.scaled_mm < 0.01 and error.rigid_mm < 0.01
    assert error.scale == pytest.approx(1.0, abs=1e-3)


def test_another_mesh_of_the_same_head_has_no_error_to_speak_of():
    """Only the facets differ: they approximate this surface to a fifth of a millimetre."""
    error = measure(lump(34, 55), lump())
    assert error.scaled_mm < 0.25


def test_a_head_of_another_size_is_right_up_to_its_size():
    truth = lump()
    error = measure(moved(truth, scale=0.9, turn=(0.0, 0.1, 0.0)), truth)
    assert error.scaled_mm < 0.05
    assert error.scale == pytest.approx(1 / 0.9, abs=2e-3)
    assert error.rigid_mm > 0.5


def test_an_error_of_known_size_is_measured():
    """A smooth wave of known mean size, too short to be turned or scaled away."""
    truth = lump()
    directions = truth.vertices_m / np.linalg.norm(truth.vertices_m, axis=1, keepdims=True)
    x, y, _ = truth.vertices_m.T / 0.012
    wave = 0.002 * np.sin(x) * np.sin(y)
    rough = Head(truth.vertices_m + wave[:, None] * directions, truth.faces, truth.landmarks_m, 0)
    error = measure(rough, truth)
    inside = np.linalg.norm(truth.vertices_m - truth.landmarks_m[0], axis=1) < RADIUS_M
    expected = 1e3 * np.abs(wave[inside]).mean()
    assert error.scaled_mm == pytest.approx(expected, rel=0.2)
    signed = error.to_truth_mm[inside]
    assert np.corrcoef(signed, wave[inside])[0, 1] > 0.9, "outwards is positive"


def test_what_lies_beyond_the_crop_does_not_count():
    truth = lump()
    far = np.linalg.norm(truth.vertices_m - truth.landmarks_m[0], axis=1) > RADIUS_M + 0.03
    vertices = truth.vertices_m.copy()
    vertices[far] *= 1.4
    error = measure(Head(vertices, truth.faces, truth.landmarks_m, 0), truth)
    assert error.scaled_mm < 0.01
    assert np.isnan(error.to_truth_mm[far]).all()


def test_people_differ_and_stay_the_same():
    class Model:
        identity = range(100)

    assert np.array_equal(random_alpha(Model, 3), random_alpha(Model, 3))
    assert not np.array_equal(random_alpha(Model, 3), random_alpha(Model, 4))
    everybody = np.array([random_alpha(Model, n) for n in range(200)])
    assert everybody.std() == pytest.approx(0.99, abs=0.01) and abs(everybody.mean()) < 0.02


@pytest.mark.parametrize("number", [0, 1, 7])
def test_the_film_shows_both_sides_and_a_neutral_start(number):
    turns = np.array(
        [quaternions.to_rotation_vector(quaternions.from_matrix(turn_at(i, number)))
         for i in range(FRAMES)]
    )  # fmt: skip
    assert turns[:, 1].max() > 0.8 * MAX_YAW and turns[:, 1].min() < -0.8 * MAX_YAW
    assert np.abs(turns[:, 0]).max() <= 1.05 * MAX_PITCH
    faces = np.array([expression_at(i, number) for i in range(FRAMES)])
    assert not faces[:6].any(), "the first frames are neutral"
    assert faces.min() >= 0 and faces.max() <= 1
    for name in ("eyeBlinkLeft", "jawOpen", "mouthSmileRight"):
        assert faces[:, ARKIT_NAMES.index(name)].max() > 0.15, name


def test_a_sitting_is_kept(tmp_path):
    points = np.random.default_rng(0).normal(size=(4, 478, 3)).astype(np.float32)
    points[2] = np.nan
    film = [np.zeros((4, 4, 3), np.uint8)] * 4
    sitting = Sitting(points, np.array([1, 0.9, 0, 1], np.float32), film)
    sitting.save(tmp_path / "one.npz")
    again = Sitting.load(tmp_path / "one.npz", film)
    np.testing.assert_array_equal(again.points_px, points)
    frames = again.frames()
    assert frames[2] is None
    assert frames[1].presence == pytest.approx(0.9)


def test_without_the_model_one_sentence_says_where_it_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.setenv(ICT_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(ModelFileError, match=r"nowhere.*--ict"):
        find_ict()
    (tmp_path / "model").mkdir()
    assert find_ict(tmp_path / "model") == tmp_path / "model"


def test_colours_say_which_way_the_surface_is_off():
    table = colours()
    assert tuple(table[64]) == WHITE and tuple(table[128]) == RED and tuple(table[255]) == GREY


def test_the_picture_shows_deviations_and_leaves_the_unmeasured_grey():
    head = lump()
    deviation = np.where(head.vertices_m[:, 1] > 0, FULL_MM, np.nan)
    row = Row(
        "somebody", np.zeros((48, 64, 3), np.uint8), head.vertices_m, head.faces,
        head.vertices_m, head.faces, deviation, np.zeros(3),
    )  # fmt: skip
    picture = draw_rows([row]).astype(int)
    heat = picture[60:-30, 3 * picture.shape[1] // 4 :]
    red = (heat[..., 0] - heat[..., 1] > 60).mean(axis=1)
    third = len(red) // 3
    assert red[:third].max() > 0.2, "the upper half is proud"
    assert red[2 * third :].max() == 0.0, "the lower half was not measured"


def test_regions_are_where_their_names_say(model_cache):
    anny = BodyModel.load(model_cache.path(FILE_NAME))
    regions = face_regions(anny)
    assert (np.sum(list(regions.values()), axis=0) == 1).all(), "none twice, all of it"
    marks = default_embedding().landmarks_m(anny.shape(Phenotypes()).vertices_m)
    rest = anny.shape(Phenotypes()).vertices_m
    for landmark, name in (
        (10, "forehead"), (159, "eyes"), (374, "eyes"), (4, "nose"), (195, "nose"),
        (13, "mouth"), (61, "mouth"), (50, "cheeks"), (280, "cheeks"), (152, "jaw"),
    ):  # fmt: skip
        nearest = np.linalg.norm(rest - marks[landmark], axis=1).argmin()
        assert regions[name][nearest], (landmark, name)
    deviation = np.where(regions["nose"], -2.0, 1.0)
    deviation[regions["jaw"]] = np.nan
    deviation[np.flatnonzero(regions["jaw"])[0]] = 3.0
    means = mean_by_region(deviation, regions)
    assert (means["nose"], means["cheeks"], means["jaw"]) == (2.0, 1.0, 3.0)


@pytest.fixture(scope="module")
def heads(shared_data, model_cache):
    ict = shared_data / "ict_facekit" / "ict_light_compact.npz"
    if not ict.exists():
        pytest.skip("needs the ICT-FaceKit model in ../shared/data/ict_facekit")
    return Heads(ict, model_cache)


@pytest.mark.slow
def test_the_table_holds_what_was_promised_and_its_picture_is_drawn(heads, tmp_path, shared_data):
    ict = shared_data / "ict_facekit" / "ict_light_compact.npz"
    done = []
    numbers = eval_heads(1, ict, tmp_path / "heads.png", done.append)
    assert done == [1]
    assert {"point_to_plane_mm", "identities", "baseline_mm"} <= set(numbers)
    assert numbers["point_to_plane_mm"]["mean"] < numbers["baseline_mm"], "no better than anybody"
    assert numbers["frames_seen"] == numbers["frames"] == FRAMES
    with Image.open(tmp_path / "heads.png") as picture:
        assert picture.width == 4 * CELL


@pytest.mark.slow
def test_the_network_reads_a_drawn_person(heads, tmp_path, monkeypatch):
    """Landmarks of eyes and mouth lie on the drawn eyes and mouth, or no estimator has a chance."""
    monkeypatch.setattr(filming, "FRAMES", 4)
    ((person, sitting),) = heads.sittings(1, tmp_path)
    assert (sitting.presence > 0.5).all()
    truth = heads.truth(person.rest_m).landmarks_m
    placed = filming._turned(truth.astype(np.float32), turn_at(0, 0))
    camera = filming.CAMERA
    drawn = np.stack(
        [camera.cx + camera.focal_px * placed[:, 0] / -placed[:, 2],
         camera.cy - camera.focal_px * placed[:, 1] / -placed[:, 2]], axis=1,
    )  # fmt: skip
    from benchmarks.heads.ict_people import LANDMARKS_478

    seen = sitting.points_px[0, list(LANDMARKS_478), :2]
    off = np.linalg.norm(seen - drawn, axis=1)
    eyes_and_mouth = [LANDMARKS_478.index(k) for k in (33, 133, 362, 263, 61, 291, 0, 17)]
    assert off[eyes_and_mouth].max() < 4.0, "pixels; a face is 120 wide"
    again = next(iter(heads.sittings(1, tmp_path)))[1]
    np.testing.assert_array_equal(again.points_px, sitting.points_px)


@pytest.mark.slow
def test_both_baselines_are_where_the_design_says(heads):
    """Average faces: between one and three millimetres, and a person's own head none."""
    from benchmarks.heads.filming import Person

    person = Person.random(heads.ict, 0)
    zero = heads.error(zero_shape(heads.anny)(None), person)
    assert 1.0 < zero.scaled_mm < 3.0
    assert 1.0 < heads.mean_error(person).scaled_mm < 3.0
    own = measure(heads.truth(person.rest_m), heads.truth(person.rest_m))
    assert own.scaled_mm < 1e-3
