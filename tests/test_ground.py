"""Feet that stand: they do not slide, a step is not held back, and steps show the ground."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from puppet import CAMERA, Noise, Puppet, without

from engine.avatar.anny import FILE_NAME, BodyModel
from engine.body.ground import SOLES, FootContacts, Ground
from engine.body.kinematics import forward_kinematics
from engine.body.landmark_embedding import embed
from engine.body.planting import Leg
from engine.body.smplify import BodyFit, BodyFitter
from engine.inference.store import ModelStore

FEET = ("foot.L", "foot.R")
NOISE = Noise(px=1.0, world_m=0.02)


@pytest.fixture(scope="module")
def puppet(model_cache: ModelStore) -> Puppet:
    return Puppet(BodyModel.load(model_cache.path(FILE_NAME)))


def stand(puppet: Puppet) -> None:
    puppet.natural(np.random.default_rng(4), 0.0)
    puppet.problem.angles[:6] = 0.0, -0.95, -3.0, 0.0, 0.3, 0.0


def feet_of(puppet: Puppet, fit: BodyFit) -> np.ndarray:
    return puppet.fitted_joints_m(fit)[puppet.joints(*FEET)]


def soles_of(puppet: Puppet, fit: BodyFit) -> np.ndarray:
    """(2, 3) middle of each foot's heel and toe points."""
    transforms = np.zeros((len(puppet.body.parents), 3, 4), np.float32)
    joints = puppet.shape.joints_m
    forward_kinematics(fit.rotations_xyzw, joints, puppet.body.parents, transforms)
    points = embed(puppet.body.joint_names, joints, puppet.shape.vertices_m).body
    bones, offsets = points.bones[list(SOLES)], points.offsets_m[list(SOLES)]
    placed = np.einsum("pab,pb->pa", transforms[bones, :, :3], joints[bones] + offsets)
    placed += transforms[bones, :, 3] + fit.translation_m
    return placed.reshape(2, 2, 3).mean(axis=0)


def step_mm(positions: list[np.ndarray]) -> float:
    """Root mean square movement from frame to frame."""
    return 1e3 * float(np.sqrt((np.diff(positions, axis=0) ** 2).sum(-1).mean()))


def test_who_stands_does_not_slide(puppet: Puppet) -> None:
    """Pixels of 5.4 mm tremble by one, metric landmarks by 20 mm; the soles by half a mm."""
    fitter, rng = puppet.fitter(), np.random.default_rng(0)
    stand(puppet)
    fits = [fitter.fit(puppet.see(n, NOISE, rng)) for n in range(60)]
    assert step_mm([soles_of(puppet, fit) for fit in fits[20:]]) < 0.45
    assert step_mm([feet_of(puppet, fit) for fit in fits[20:]]) < 2.5, "ankles turn above them"
    apart = feet_of(puppet, fits[-1]) - puppet.joints_m[puppet.joints(*FEET)]
    assert np.abs(apart[:, :2]).max() < 0.02


def test_who_shifts_their_weight_keeps_their_feet(puppet: Puppet) -> None:
    """Knees bend and the hips go down and up: root and legs are filtered apart, feet stay."""
    fitter, rng, feet = puppet.fitter(), np.random.default_rng(0), []
    stand(puppet)
    habit = puppet.problem.angles.copy()
    legs = [Leg.of(puppet.body.joint_names, side) for side in (".L", ".R")]
    thigh = np.linalg.norm(np.diff(puppet.shape.joints_m[[legs[0].thigh[0], legs[0].shank[0]]], 0))
    for n in range(90):
        bent = 0.4 * (1.0 - np.cos(n / 10))
        puppet.problem.angles[:] = habit
        for side in (".L", ".R"):
            puppet.problem.angles[puppet.index["leg_forward" + side]] += bent / 2
            puppet.problem.angles[puppet.index["knee" + side]] += bent
            puppet.problem.angles[puppet.index["ankle_bend" + side]] += bent / 2
        puppet.problem.angles[1] -= 2 * thigh * (1 - np.cos(bent / 2))
        feet.append(soles_of(puppet, fitter.fit(puppet.see(n, NOISE, rng))))
    true_steps = 2 * thigh * 1e3 * 0.04
    assert step_mm(feet[20:]) < 0.3 * true_steps


def test_a_step_is_not_held_back(puppet: Puppet) -> None:
    fitter = puppet.fitter()
    stand(puppet)
    for n in range(30):
        fitter.fit(puppet.see(n))
    late = []
    for n in range(30, 50):
        puppet.problem.angles[0] += 0.04  # 1.2 m/s to the side
        fit = fitter.fit(puppet.see(n))
        apart = feet_of(puppet, fit) - puppet.joints_m[puppet.joints(*FEET)]
        late.append(np.linalg.norm(apart, axis=1).max())
    assert max(late[5:]) < 0.05, "let go after two frames, and caught up after three more"


def test_a_foot_that_leaves_the_picture_holds_nothing(puppet: Puppet) -> None:
    fitter = puppet.fitter()
    stand(puppet)
    for n in range(30):
        fitter.fit(puppet.see(n))
    for n in range(30, 60):
        puppet.problem.angles[0] += 0.01
        fit = fitter.fit(without(puppet.see(n), 25, 26, 27, 28, 29, 30, 31, 32))
    root = puppet.joints("root")
    apart = puppet.fitted_joints_m(fit)[root] - puppet.joints_m[root]
    assert np.abs(apart[0, :2]).max() < 0.03


def test_a_cut_lets_go(puppet: Puppet) -> None:
    """Somebody else, elsewhere: the first person's feet must not hold the second."""
    fitter = puppet.fitter()
    stand(puppet)
    for n in range(30):
        fitter.fit(puppet.see(n))
    puppet.problem.angles[0] += 0.8
    fit = fitter.fit(puppet.see(31))
    assert fit.cold
    apart = feet_of(puppet, fit) - puppet.joints_m[puppet.joints(*FEET)]
    assert np.linalg.norm(apart, axis=1).max() < 0.05


def contacts_after(frames: int, pixels: np.ndarray, points: np.ndarray) -> FootContacts:
    contacts = FootContacts(np.zeros(4))
    for _ in range(frames):
        contacts.look(pixels, points[:, 2], np.ones(4), points, CAMERA, 1 / 30)
        contacts.settle(points, 1 / 30)
    return contacts


def test_a_foot_misplaced_for_one_frame_still_stands() -> None:
    points = np.array([[x, -1.0, -3.0] for x in (-0.1, 0.1, -0.1, 0.1)])
    scale = CAMERA.focal_px / 3.0
    pixels = points[:, :2] * [scale, -scale] + [CAMERA.cx, CAMERA.cy]
    beside = np.array([15.0, 0.0])
    contacts = contacts_after(20, pixels, points)
    assert (contacts.weights > 0.0).all()
    contacts.look(pixels + beside, points[:, 2], np.ones(4), points, CAMERA, 1 / 30)
    assert (contacts.weights > 0.0).all()
    for _ in range(2):
        contacts.look(pixels + beside, points[:, 2], np.ones(4), points, CAMERA, 1 / 30)
    assert not contacts.weights.any(), "three frames are no mistake"


def test_a_foot_held_up_is_no_ground() -> None:
    points = np.array([[-0.1, -1.0, -3.0], [0.1, -0.6, -3.0]] * 2)
    scale = CAMERA.focal_px / 3.0
    pixels = points[:, :2] * [scale, -scale] + [CAMERA.cx, CAMERA.cy]
    plane = contacts_after(30, pixels, points).ground.plane()
    assert plane is not None
    assert plane[1] == pytest.approx(-1.0, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(
    pitch=st.floats(-0.15, 0.15),
    roll=st.floats(-0.1, 0.1),
    height=st.floats(0.5, 1.6),
    seed=st.integers(0, 2**16),
)
def test_steps_show_the_ground_of_a_tilted_camera(
    pitch: float, roll: float, height: float, seed: int
) -> None:
    rng, ground = np.random.default_rng(seed), Ground()
    for _ in range(200):
        x, z = rng.uniform(-1.0, 1.0), rng.uniform(-5.0, -2.0)
        y = roll * x + pitch * (z + 3.5) - height + rng.normal(0, 0.02)
        ground.add(x, y, z)
    plane = ground.plane()
    assert plane is not None
    normal = np.array([-roll, 1.0, -pitch])
    normal /= np.linalg.norm(normal)
    assert np.degrees(np.arccos(min(float(plane[0] @ normal), 1.0))) < 1.0


def test_known_ground_tells_how_far_away_a_foot_is() -> None:
    ground = Ground()
    assert ground.plane() is None
    seen_too_far = np.array([0.3, -1.0, -3.0]) * 1.1
    np.testing.assert_array_equal(ground.place_on_line(seen_too_far, 0.0), seen_too_far)
    for x in (-0.5, 0.0, 0.5):
        for z in (-4.0, -3.0, -2.0):
            ground.add(x, -1.05, z)
    found = ground.place_on_line(seen_too_far, 0.05)
    assert np.linalg.norm(found - [0.3, -1.0, -3.0]) < 0.2, "of 0.32"
    level_with_the_camera = np.array([0.0, 0.01, -3.0])
    kept = ground.place_on_line(level_with_the_camera, 0.05)
    np.testing.assert_array_equal(kept, level_with_the_camera)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**16), side=st.sampled_from((".L", ".R")))
def test_an_ankle_is_moved_where_it_should_be(puppet: Puppet, seed: int, side: str) -> None:
    rng = np.random.default_rng(seed)
    puppet.natural(rng)
    puppet.problem.angles[puppet.index["knee" + side]] = rng.uniform(0.2, 1.5)
    puppet.problem.pose()
    names, parents = puppet.body.joint_names, puppet.body.parents
    leg = Leg.of(names, side)
    before = puppet.problem.rotations.copy()
    rotations, places = before.copy(), puppet.problem.positions_m.copy()
    reach = np.linalg.norm(np.diff(places[[leg.thigh[0], leg.shank[0], leg.foot]], axis=0), axis=1)
    shift = rng.normal(0, 0.02, 3)
    wanted = places[leg.foot] + shift
    if np.linalg.norm(wanted - places[leg.thigh[0]]) > 0.99 * reach.sum():
        return
    leg.move_ankle(rotations, places, shift)
    joints = puppet.shape.joints_m.astype(np.float64)
    moved = np.zeros_like(places)
    for j, parent in enumerate(parents):
        bone = joints[j] - joints[parent] if parent >= 0 else joints[j]
        moved[j] = moved[parent] + rotations[parent] @ bone if parent >= 0 else places[j]
    np.testing.assert_allclose(moved[leg.foot], wanted, atol=2e-3)
    np.testing.assert_array_equal(rotations[leg.foot], before[leg.foot])
    others = [j for j in range(len(names)) if j not in {*leg.thigh, *leg.shank}]
    np.testing.assert_array_equal(rotations[others], before[others])


def test_places_survive_a_change_of_shape(puppet: Puppet) -> None:
    """A better known body must not let go of the ground."""
    fitter: BodyFitter = puppet.fitter()
    stand(puppet)
    for n in range(30):
        fitter.fit(puppet.see(n))
    shape = puppet.shape
    fitter.set_identity(fitter.shape_of(shape.joints_m, shape.vertices_m))
    before = feet_of(puppet, fitter.fit(puppet.see(30)))
    after = feet_of(puppet, fitter.fit(puppet.see(31)))
    assert np.linalg.norm(after - before, axis=1).max() < 2e-3


def test_the_clock_decides_not_the_rate(puppet: Puppet) -> None:
    """At 240 fps a foot must not come to rest eight times as soon."""
    points = np.array([[x, -1.0, -3.0] for x in (-0.1, 0.1, -0.1, 0.1)])
    scale = CAMERA.focal_px / 3.0
    pixels = points[:, :2] * [scale, -scale] + [CAMERA.cx, CAMERA.cy]
    contacts, seconds = FootContacts(np.zeros(4)), 1 / 240
    for _ in range(20):
        contacts.look(pixels, points[:, 2], np.ones(4), points, CAMERA, seconds)
        contacts.settle(points, seconds)
    assert not contacts.weights.any()
