"""Build from video: told only from what shows it, once and surely, and never against the user."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from states import rest_state

from engine.body.build_measurements import COUNT, NAMES, edge_distance, measure
from engine.body.build_readout import (
    AVERAGE,
    FILE,
    TRAITS,
    Build,
    default_readout,
    load_readout,
    slopes,
    terms,
)
from engine.build_from_video import BuildFromVideo
from engine.errors import ModelFileError
from engine.identity_edit import IdentityEdit
from engine.identity_keeper import SURE_BUILD, IdentityKeeper
from engine.inference.store import ModelStore
from engine.perception.body import BodyTracker
from engine.perception.networks import Networks
from engine.perception.silhouette import Silhouette, SilhouetteReader
from engine.slow_views import Picture, View, ViewQueue, Views
from engine.sources.performer import open_performer
from engine.types import FaceShape, Frame, Identity, Observation, PoseLandmarks, Semantics

HALF_TRUNK, HALF_ARM, HALF_LEG = 22.0, 6.0, 8.0
TRUNK = 80.0


def paper_doll(**moved: tuple[float, float]) -> Silhouette:
    """A flat person of bars: shoulders at y = 70, hips at y = 150, arms straight out."""
    points = np.zeros((33, 2), np.float32)
    places: dict[int, tuple[float, float]] = {
        7: (138, 48), 8: (118, 48), 11: (148, 70), 12: (108, 70),
        13: (190, 70), 14: (66, 70), 15: (230, 70), 16: (26, 70),
        23: (138, 150), 24: (118, 150), 25: (140, 195), 26: (116, 195),
        27: (140, 240), 28: (116, 240),
    }  # fmt: skip
    for number, place in (places | {int(k[1:]): v for k, v in moved.items()}).items():
        points[number] = place
    mask = np.zeros((256, 256), np.float32)
    bar(mask, (128, 70), (128, 150), HALF_TRUNK)
    bar(mask, (128, 30), (128, 60), 12.0)
    for a, b, half in ((11, 13, HALF_ARM), (13, 15, HALF_ARM), (12, 14, HALF_ARM),
                       (14, 16, HALF_ARM), (23, 25, HALF_LEG), (25, 27, HALF_LEG),
                       (24, 26, HALF_LEG), (26, 28, HALF_LEG)):  # fmt: skip
        bar(mask, points[a], points[b], half)
    world = np.zeros((33, 3), np.float32)
    world[:, 0], world[:, 1] = (points[:, 0] - 128) / 160, (150 - points[:, 1]) / 160
    return Silhouette(mask, points, world, np.ones(33, np.float32), 1.0, 2.0)


def bar(mask: np.ndarray, start: object, end: object, half: float) -> None:
    """Fill what lies within ``half`` of a segment; the edge is one pixel soft."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    y, x = np.mgrid[0:256, 0:256]
    grid = np.stack([x, y], -1) - a
    t = np.clip(grid @ (b - a) / max((b - a) @ (b - a), 1e-9), 0, 1)
    distance = np.linalg.norm(grid - t[..., None] * (b - a), axis=-1)
    np.maximum(mask, np.clip(half - distance + 0.5, 0, 1), out=mask)


def share(seen: Silhouette, name: str) -> float | None:
    found = measure(seen, None)
    assert found is not None
    place = NAMES.index(name)
    return float(np.exp(found.values[place])) if found.valid[place] else None


def test_widths_and_lengths_of_a_paper_doll() -> None:
    doll = paper_doll()
    assert share(doll, "trunk_0.65") == pytest.approx(2 * HALF_TRUNK / TRUNK, rel=0.02)
    assert share(doll, "shoulders") == pytest.approx(40 / TRUNK, rel=1e-5)
    assert share(doll, "forearm") == pytest.approx(2 * HALF_ARM / TRUNK, rel=0.02)
    assert share(doll, "calf") == pytest.approx(2 * HALF_LEG / TRUNK, rel=0.02)
    assert share(doll, "shank_length") == pytest.approx(45 / TRUNK, rel=1e-4)
    assert share(doll, "face") is None
    with_face = measure(doll, 60.0)
    assert with_face is not None
    assert np.exp(with_face.values[NAMES.index("face")]) == pytest.approx(30 / TRUNK)


def test_an_arm_before_the_waist_hides_its_own_side_alone() -> None:
    """Else who rests a hand on the hip would be told stout."""
    one = paper_doll(p13=(172, 100), p15=(152, 122))
    assert share(one, "trunk_0.65") == pytest.approx(2 * HALF_TRUNK / TRUNK, rel=0.02)
    both = paper_doll(p13=(172, 100), p15=(152, 122), p14=(84, 100), p16=(104, 122))
    assert share(both, "trunk_0.65") is None


@pytest.mark.parametrize("spoil", ["hips", "turned", "behind", "lying", "small", "nan"])
def test_a_view_that_shows_no_build_says_nothing(spoil: str) -> None:
    doll = paper_doll()
    visibility, world, points = doll.visibility.copy(), doll.world_m.copy(), doll.points_px.copy()
    if spoil == "hips":
        visibility[[23, 24]] = 0.2
    elif spoil == "turned":
        world[:, 2] = world[:, 0]
    elif spoil == "behind":
        world[:, 0] *= -1.0
    elif spoil == "lying":
        world[:, 2] = 2.0 * world[:, 1]
    elif spoil == "small":
        points = 128 + 0.3 * (points - 128)
    else:
        points[15] = np.nan
    spoilt = replace(doll, visibility=visibility, world_m=world, points_px=points)
    assert measure(spoilt, None) is None


def test_a_foreshortened_limb_is_not_measured() -> None:
    doll = paper_doll()
    world = doll.world_m.copy()
    world[[25, 26], 2] = 0.4
    found = measure(replace(doll, world_m=world), None)
    assert found is not None
    valid = dict(zip(NAMES, found.valid, strict=True))
    assert not valid["thigh_length"] and not valid["thigh_upper"] and valid["forearm_length"]


@settings(max_examples=60, deadline=None)
@given(st.floats(3.0, 60.0), st.floats(0.0, 6.28))
def test_the_edge_is_found_between_pixels(radius: float, angle: float) -> None:
    mask = np.zeros((256, 256), np.float32)
    bar(mask, (128, 128), (128, 128), radius)
    towards = np.array([np.cos(angle), np.sin(angle)])
    assert edge_distance(mask, np.array([128.0, 128.0]), towards) == pytest.approx(radius, abs=0.15)


def test_a_mask_that_the_picture_cuts_off_has_no_edge() -> None:
    full = np.ones((256, 256), np.float32)
    middle, right = np.array([128.0, 128.0]), np.array([1.0, 0.0])
    assert np.isnan(edge_distance(full, middle, right))
    assert np.isnan(edge_distance(0 * full, middle, right))
    assert np.isnan(edge_distance(full * np.float32(np.nan), middle, right))


def test_derivatives_of_the_terms() -> None:
    traits, step = np.array([0.4, 0.62, 0.55, 0.3]), 1e-6
    for k in range(len(TRAITS)):
        ahead, behind = traits.copy(), traits.copy()
        ahead[k] += step
        behind[k] -= step
        wanted = (terms(0.7, 0.2, ahead) - terms(0.7, 0.2, behind)) / (2 * step)
        np.testing.assert_allclose(slopes(0.7, 0.2, traits)[k], wanted, atol=1e-6)


def test_somebody_measured_exactly_is_told() -> None:
    readout = default_readout()
    traits = np.array([0.55, 0.66, 0.58, 0.47])
    exact = readout.predicted(0.7, 0.9, traits)
    build = readout.read(exact, np.full(COUNT, 500.0), 0.7, 0.9)
    towards = (build.traits - AVERAGE) @ (traits - AVERAGE) / np.sum((traits - AVERAGE) ** 2)
    assert 0.5 < towards < 1.2
    assert build.traits[TRAITS.index("weight")] > 0.56
    assert build.confidence > SURE_BUILD


def test_the_less_is_seen_the_less_is_said() -> None:
    readout = default_readout()
    exact = readout.predicted(0.7, 0.5, np.array([0.5, 0.7, 0.5, 0.5]))
    nothing = readout.read(np.zeros(COUNT), np.zeros(COUNT), 0.7, 0.5)
    assert nothing.confidence == 0.0 and (nothing.traits == AVERAGE).all()
    found = [readout.read(exact, np.full(COUNT, n), 0.7, 0.5) for n in (0.3, 3.0, 300.0)]
    sure = [build.confidence for build in found]
    assert 0.0 < sure[0] < sure[1] < sure[2] <= 1.0
    legs_alone = np.where(np.arange(COUNT) == NAMES.index("calf"), 50.0, 0.0)
    assert readout.read(exact, legs_alone, 0.7, 0.5).confidence < SURE_BUILD


def test_a_silhouette_unlike_anybody_is_doubted() -> None:
    """A coat, a chair or two people in one mask: the build stays near the average."""
    readout, views = default_readout(), np.full(COUNT, 10.0)
    plain = readout.predicted(0.7, 0.5, np.full(4, AVERAGE))
    strange = plain + 0.6 * (-1.0) ** np.arange(COUNT)
    assert (
        readout.read(strange, views, 0.7, 0.5).confidence
        < 0.5 * readout.read(plain, views, 0.7, 0.5).confidence
    )


def spoilt(**changed: object) -> bytes:
    with np.load(FILE) as stored:
        arrays = {name: stored[name] for name in stored.files}
    content = io.BytesIO()
    np.savez(content, **{k: v for k, v in {**arrays, **changed}.items() if v is not None})
    return content.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no archive", "not a file of arrays"),
        (spoilt(format_version=np.int32(9)), "version 1"),
        (spoilt(response=np.zeros((3, 3), np.float32)), "response should have shape"),
        (spoilt(scatter=None), "scatter"),
        (spoilt(scatter=np.full((COUNT, COUNT), np.nan, np.float32)), "not finite"),
    ],
)
def test_a_calibration_file_that_is_not_one(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "readout.npz"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=words):
        load_readout(path)


STOUT = Build(np.array([0.45, 0.8, 0.5, 0.5]), 0.6)


def test_a_build_is_taken_once_it_is_sure_and_no_edit_is_overruled() -> None:
    keeper = IdentityKeeper(Identity())
    assert keeper.build(replace(STOUT, confidence=SURE_BUILD - 0.01)) is None
    assert keeper.status.confidence == 0.0 and not keeper.status.locked
    taken = keeper.build(STOUT)
    assert taken is not None and taken.phenotypes.weight == 0.8
    assert keeper.build(replace(STOUT, traits=np.full(4, 0.3))) is None  # not surer: no breathing
    edited = keeper.edit(IdentityEdit(weight=0.2))
    assert edited is not None and edited.phenotypes.weight == 0.2
    assert edited.phenotypes.muscle == 0.45
    pinned = IdentityKeeper(Identity(), IdentityEdit(pin=True))
    assert pinned.build(STOUT) is None


def test_age_and_gender_leave_the_build_and_the_build_leaves_them() -> None:
    keeper = IdentityKeeper(Identity())
    keeper.build(STOUT)
    older = keeper.semantics(Semantics(60.0, 6, 0.9, 0.9))
    assert older is not None and older.phenotypes.weight == 0.8 and older.phenotypes.gender == 0.9
    surer = keeper.build(Build(np.array([0.5, 0.7, 0.6, 0.5]), 0.95))
    assert surer is not None and surer.phenotypes.gender == 0.9 and surer.semantics is not None


def test_a_locked_face_is_told_anew_on_another_build() -> None:
    """Its coefficients are what the person has beyond the build's own face."""
    keeper = IdentityKeeper(Identity())
    keeper.face(FaceShape(np.full(9, 0.5, np.float32), 0.95))
    assert keeper.face(FaceShape(np.full(9, 0.1, np.float32), 0.95)) is None
    keeper.build(STOUT)
    renewed = keeper.face(FaceShape(np.full(9, 0.1, np.float32), 0.95))
    assert renewed is not None and renewed.face is not None
    assert renewed.face.coefficients[0] == np.float32(0.1)


def test_another_person_loses_the_build_of_the_one_before() -> None:
    keeper = IdentityKeeper(Identity())
    keeper.semantics(Semantics(60.0, 6, 0.9, 0.9))
    keeper.build(STOUT)
    keeper.another_person()
    assert keeper.identity.phenotypes.weight == 0.8  # until it is sure
    other = keeper.semantics(Semantics(25.0, 2, 0.1, 0.9))
    assert other is not None and other.phenotypes.weight == AVERAGE


def body_view(visible: float, index: int) -> tuple[Frame, View]:
    pose = PoseLandmarks(
        np.zeros((33, 3), np.float32),
        np.zeros((33, 3), np.float32),
        np.full(33, visible, np.float32),
        1.0,
    )
    seen = Observation(index, 0, 64, 64, pose=pose)
    return Frame(np.zeros((64, 64, 3), np.uint8), 0, index), View(seen, rest_state())


def test_the_picture_that_shows_most_of_a_body_waits() -> None:
    queue = ViewQueue()
    for index, visible in enumerate((0.7, 0.95, 0.8, 0.3)):
        queue.put(*body_view(visible, index))
    views = queue.drain()
    assert views.body is not None and views.body.frame.index == 1 and views.picture is None
    queue.put(*body_view(0.5, 4))
    assert queue.drain().body is None  # a head and shoulders: hips are guesses


@pytest.fixture(scope="module")
def full_body(model_cache: ModelStore) -> tuple[Networks, list[tuple[np.ndarray, PoseLandmarks]]]:
    networks = Networks(model_cache)
    tracker, found = BodyTracker(networks), []
    for frame in open_performer("performer:full".removeprefix("performer:"), frames=3):
        pose = tracker.track(frame.image)
        assert pose is not None
        found.append((frame.image, pose))
    return networks, found


def test_the_network_cuts_the_performer_out(full_body) -> None:
    networks, found = full_body
    image, pose = found[-1]
    seen = SilhouetteReader(networks).read(image, pose)
    assert seen is not None
    heights = np.flatnonzero((seen.mask > 0.5).any(axis=1))
    person_px = np.ptp(heights) * seen.frame_px
    assert 0.9 < person_px / np.ptp(pose.points_px[:, 1]) < 1.25
    assert 0.05 < (seen.mask > 0.5).mean() < 0.3
    broken = replace(pose, points_px=np.full((33, 3), np.nan, np.float32))
    assert SilhouetteReader(networks).read(image, broken) is None
    assert SilhouetteReader(networks).read(image[:4, :4], pose) is None


def test_an_average_person_is_told_average_and_a_webcam_tells_nothing(full_body) -> None:
    networks, found = full_body
    estimator, keeper = BuildFromVideo(networks), IdentityKeeper(Identity())
    assert estimator.tell(keeper) is None
    for index, (image, pose) in enumerate(found * 4):
        seen = Observation(index, 0, image.shape[1], image.shape[0], pose=pose)
        picture = Picture(Frame(image, 0, index), View(seen, rest_state()))
        estimator.look(Views((), None, (), picture))
        estimator.tell(keeper)
    shown = keeper.identity.phenotypes
    traits = np.array([getattr(shown, name) for name in TRAITS])
    assert np.abs(traits - AVERAGE).max() < 0.15
    estimator.reset()
    estimator.look(Views((), None))
    assert estimator.tell(keeper) is None


def test_of_a_child_nothing_is_said(full_body) -> None:
    networks, found = full_body
    estimator, keeper = BuildFromVideo(networks), IdentityKeeper(Identity())
    keeper.semantics(Semantics(8.0, 0, 0.5, 0.9))
    image, pose = found[0]
    seen = Observation(0, 0, image.shape[1], image.shape[0], pose=pose)
    estimator.look(Views((), None, (), Picture(Frame(image, 0, 0), View(seen, rest_state()))))
    assert estimator.tell(keeper) is None
