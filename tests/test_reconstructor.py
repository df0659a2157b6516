"""A frame of landmarks to a mesh: what is lost, broken or new must not outlast its time."""

from __future__ import annotations

from dataclasses import replace
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest
from puppet import Puppet
from rigs import angle_between

from engine import quaternions
from engine.body.kinematics import forward_kinematics
from engine.body.smplify import BodyFitter
from engine.engine import EngineOptions, estimators_of
from engine.fusion.base_avatar import BaseAvatar
from engine.inference.store import ModelStore
from engine.perception.finite import only_finite
from engine.reconstructor import Reconstructor
from engine.types import AvatarState, Identity, Observation, Phenotypes


@pytest.fixture(scope="module")
def base(model_cache: ModelStore) -> BaseAvatar:
    return BaseAvatar.load(model_cache)


@pytest.fixture(scope="module")
def puppet(base: BaseAvatar) -> Puppet:
    return Puppet(base.model)


@pytest.fixture
def standing(puppet: Puppet) -> np.ndarray:
    puppet.natural(np.random.default_rng(4), 0.3)
    puppet.problem.angles[3:6] = 0.0
    return puppet.problem.angles.copy()


@pytest.fixture
def reconstructor(base: BaseAvatar) -> Reconstructor:
    return Reconstructor(base, Identity())


def see(puppet: Puppet, start: np.ndarray, index: int, turn_deg: float = 0.0) -> Observation:
    """A person who turns the head, seen by perfect networks, the face's too."""
    puppet.problem.angles[:] = start
    for name in ("neck_turn", "head_turn"):
        puppet.problem.angles[puppet.index[name]] += np.radians(0.5 * turn_deg)
    seen = puppet.see(index)
    return replace(seen, face=puppet.face())


def head_error_deg(puppet: Puppet, state: AvatarState) -> float:
    head, parents = puppet.body.joint_names.index("head"), puppet.body.parents
    transforms = np.zeros((len(parents), 3, 4), np.float32)
    forward_kinematics(state.rotations_xyzw, puppet.shape.joints_m, parents, transforms)
    found, true = (
        quaternions.from_matrix(m.astype(np.float64))
        for m in (transforms[head, :, :3], puppet.problem.rotations[head])
    )
    return float(np.degrees(angle_between(found, true)))


def test_a_lost_face_does_not_hold_the_head(
    puppet: Puppet, standing: np.ndarray, reconstructor: Reconstructor
) -> None:
    for index in range(20):
        reconstructor.reconstruct(see(puppet, standing, index))
    for index in range(20, 60):
        seen = see(puppet, standing, index, min(6.0 * (index - 20), 60.0))
        state, _, _ = reconstructor.reconstruct(replace(seen, face=None))
        assert head_error_deg(puppet, state) < 8.0
    assert head_error_deg(puppet, state) < 4.0


@pytest.mark.parametrize(("graft", "reads_relief"), [(None, True), ("of another model", False)])
def test_relief_is_read_where_it_can_be_shown(
    base: BaseAvatar, graft: str | None, reads_relief: bool
) -> None:
    """Each reading is a version: on a foreign face, an avatar sent for nothing."""
    shown = replace(base, graft=graft)  # type: ignore[arg-type]
    reconstructor = SimpleNamespace(base=shown)
    options = EngineOptions(semantics=False)
    estimators = estimators_of(options, None, reconstructor)  # type: ignore[arg-type]
    assert ("relief" in [estimator.name for estimator in estimators]) == reads_relief


def test_the_next_source_begins_without_a_head(
    puppet: Puppet, standing: np.ndarray, reconstructor: Reconstructor
) -> None:
    reconstructor.reconstruct(see(puppet, standing, 0))
    assert reconstructor.head is not None
    reconstructor.reset()
    assert reconstructor.head is None


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("part", "array", "row"),
    [
        ("face", "points_px", 3),
        ("face", "points_px", 470),
        ("left_hand", "points_px", 4),
        ("right_hand", "world_m", 4),
        ("pose", "points_px", 12),
        ("pose", "world_m", 12),
        ("pose", "visibility", 12),
    ],
)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_a_number_that_is_none_costs_one_part_of_one_frame(
    puppet: Puppet,
    standing: np.ndarray,
    reconstructor: Reconstructor,
    warm: bool,
    part: str,
    array: str,
    row: int,
    number: float,
) -> None:
    first = 5 if warm else 0
    for index in range(first):
        reconstructor.reconstruct(see(puppet, standing, index))
    seen = see(puppet, standing, first)
    getattr(getattr(seen, part), array)[row] = number
    state, mesh, _ = reconstructor.reconstruct(only_finite(seen))
    assert np.isfinite(state.rotations_xyzw).all() and np.isfinite(state.expression).all()
    assert np.isfinite(mesh.vertices_m).all()
    for index in range(first + 1, first + 8):
        state, mesh, _ = reconstructor.reconstruct(see(puppet, standing, index))
    assert np.isfinite(mesh.vertices_m).all()
    assert head_error_deg(puppet, state) < 5.0
    assert min(state.body_confidence, state.face_confidence) > 0.8
    assert min(state.left_hand_confidence, state.right_hand_confidence) > 0.8


def test_a_presence_that_is_none_is_an_absence(
    puppet: Puppet, standing: np.ndarray, reconstructor: Reconstructor
) -> None:
    seen = see(puppet, standing, 0)
    absent = replace(seen, pose=replace(seen.pose, presence=float("nan")))
    state, _, _ = reconstructor.reconstruct(only_finite(absent))
    assert state.body_confidence == 0.0


def test_another_person_starts_from_nothing(
    puppet: Puppet, standing: np.ndarray, reconstructor: Reconstructor
) -> None:
    """The same person, better known, keeps pose and face; another one must not inherit them."""
    for index in range(60):
        kept, _, _ = reconstructor.reconstruct(see(puppet, standing, index))
    nothing = replace(see(puppet, standing, 60), face=None, pose=None, left_hand=None)
    nothing = replace(nothing, right_hand=None)
    reconstructor.become(Identity(1, Phenotypes(weight=0.6)))
    state, _, _ = reconstructor.reconstruct(nothing)
    assert state.identity_version == 1
    assert state.face_confidence > 0.5
    assert angle_between(kept.rotations_xyzw, state.rotations_xyzw).max() < np.radians(5.0)
    reconstructor.become(Identity(2))
    reconstructor.become(Identity(3))
    reconstructor.reset()
    state, _, _ = reconstructor.reconstruct(replace(nothing, index=61))
    assert state.identity_version == 3, "the newest, and none is lost"
    assert state.face_confidence == state.body_confidence == 0.0


def test_another_body_is_laid_out_off_the_frame_path(
    puppet: Puppet,
    standing: np.ndarray,
    reconstructor: Reconstructor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Laying it out takes 16 ms: a whole frame would be late."""
    reconstructor.become(Identity(1))

    def too_late(*_: object) -> None:
        raise AssertionError("laid out inside a frame")

    monkeypatch.setattr(BodyFitter, "shape_of", too_late)
    state, _, _ = reconstructor.reconstruct(see(puppet, standing, 0))
    assert state.identity_version == 1


def test_no_identity_is_lost_between_threads(
    puppet: Puppet, standing: np.ndarray, reconstructor: Reconstructor
) -> None:
    seen = see(puppet, standing, 0)
    identities = [Identity(version) for version in range(1, 9)]
    publishing = Thread(target=lambda: [reconstructor.become(who) for who in identities])
    publishing.start()
    while publishing.is_alive():
        reconstructor.reconstruct(seen)
    publishing.join()
    state, _, _ = reconstructor.reconstruct(seen)
    assert state.identity_version == 8
