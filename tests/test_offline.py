"""The whole clip at once: no lag, no worse for a bad frame, and every odd clip an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from puppet import Noise, Puppet

from benchmarks.joint_errors import joint_errors
from engine import offline
from engine.body.bundle import Poses, _System
from engine.engine import EngineOptions
from engine.errors import SourceError
from engine.fusion.base_avatar import BaseAvatar
from engine.inference.store import ModelStore
from engine.offline import fit_clip
from engine.reconstructor import Reconstructor
from engine.sources import open_source
from engine.types import AvatarState, Identity, Observation
from viewer.offline import record_offline

FRAMES = 50


@pytest.fixture(scope="module")
def base(model_cache: ModelStore) -> BaseAvatar:
    return BaseAvatar.load(model_cache)


@pytest.fixture(scope="module")
def clip(base: BaseAvatar) -> tuple[list[Observation], np.ndarray]:
    """Arms and knees that swing, seen by networks that tremble; and the true wrists and so on."""
    puppet, rng = Puppet(base.model), np.random.default_rng(3)
    puppet.natural(rng, 0.3)
    start, index = puppet.problem.angles.copy(), puppet.problem.model.index
    start[3:6] = 0.0
    seen, true = [], []
    for n in range(FRAMES):
        angles = start.copy()
        for name, size in (("arm_raise.L", 0.6), ("elbow.R", 0.5), ("knee.L", 0.4)):
            angles[index[name]] += size * np.sin(n / 5.0)
        puppet.problem.angles[:] = angles
        seen.append(puppet.see(n, Noise(px=2.0, world_m=0.03), rng))
        true.append(puppet.joints_m[rows(puppet.body.joint_names)].copy())
    return seen, np.array(true)


def rows(names: tuple[str, ...]) -> list[int]:
    wanted = ("upperleg01.L", "upperleg01.R", "wrist.L", "wrist.R", "foot.L", "lowerarm01.L")
    return [names.index(name) for name in wanted]


def errors(base: BaseAvatar, states: list[AvatarState], true: np.ndarray):
    from benchmarks.performer import posed

    avatar = base.average
    found = [posed(avatar, state)[rows(avatar.joint_names)] for state in states]
    return joint_errors(np.array(found), true, (0, 1), 30.0)


def live(base: BaseAvatar, seen: list[Observation]) -> list[AvatarState]:
    reconstructor = Reconstructor(base, Identity())
    return [reconstructor.reconstruct(one, pose=False)[0] for one in seen]


def test_it_is_truer_calmer_and_less_late_than_live(base: BaseAvatar, clip) -> None:
    seen, true = clip
    now, whole = errors(base, live(base, seen), true), errors(
        base, fit_clip(base, Identity(), seen), true
    )  # fmt: skip
    assert whole.mpjpe_mm < 0.95 * now.mpjpe_mm
    assert whole.jitter_mm < 0.7 * now.jitter_mm
    assert whole.lag_ms is not None and abs(whole.lag_ms) < 12.0


def test_a_clip_played_backwards_gives_the_same_poses(base: BaseAvatar, clip) -> None:
    """Neither direction of time is preferred."""
    seen, _ = clip
    last = seen[0].captured_at_ns + seen[-1].captured_at_ns
    turned = [replace(o, captured_at_ns=last - o.captured_at_ns) for o in reversed(seen)]
    ahead, back = fit_clip(base, Identity(), seen), fit_clip(base, Identity(), turned)[::-1]
    for a, b in zip(ahead, back, strict=True):
        np.testing.assert_allclose(a.translation_m, b.translation_m, atol=1e-5)
        assert np.abs((a.rotations_xyzw * b.rotations_xyzw).sum(axis=1)).min() > 1 - 1e-5


def test_one_frame_none_and_nobody(base: BaseAvatar, clip) -> None:
    seen, _ = clip
    (one,) = fit_clip(base, Identity(), seen[:1])
    assert np.isfinite(one.rotations_xyzw).all()
    nobody = replace(seen[0], pose=None, left_hand=None, right_hand=None)
    assert len(fit_clip(base, Identity(), [nobody, nobody])) == 2
    with pytest.raises(SourceError, match="at least one frame"):
        fit_clip(base, Identity(), [])


def test_a_cut_and_a_gap_are_no_motion(base: BaseAvatar, clip) -> None:
    """Before a cut nobody moves towards where somebody else will be."""
    seen, _ = clip
    far = [_moved(o, 250.0) for o in seen[10:20]]
    states = fit_clip(base, Identity(), [*seen[:10], *far])
    alone = fit_clip(base, Identity(), seen[:10])
    places = np.array([state.translation_m for state in states])
    assert abs(places[9, 0] - places[0, 0]) < 0.1
    assert places[10, 0] - places[9, 0] > 0.5
    np.testing.assert_allclose(places[9], alone[9].translation_m, atol=0.05)
    gap = [*seen[:5], replace(seen[5], pose=None, left_hand=None, right_hand=None), *seen[6:10]]
    held = fit_clip(base, Identity(), gap)
    step = np.linalg.norm(held[6].translation_m - held[4].translation_m)
    assert np.linalg.norm(held[5].translation_m - held[4].translation_m) < step + 0.02


def _moved(seen: Observation, px: float) -> Observation:
    assert seen.pose is not None
    points = seen.pose.points_px + np.float32([px, 0, 0])
    pose = replace(seen.pose, points_px=points)
    return replace(seen, pose=pose, left_hand=None, right_hand=None)


def test_a_long_clip_has_no_seams_where_its_windows_meet(
    base: BaseAvatar, clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, _ = clip
    whole = fit_clip(base, Identity(), seen)
    monkeypatch.setattr(offline, "WINDOW", 15)
    monkeypatch.setattr(offline, "OVERLAP", 15)
    parts = fit_clip(base, Identity(), seen)
    assert [state.index for state in parts] == [state.index for state in whole]
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a.translation_m, b.translation_m, atol=5e-3)


def test_the_elimination_is_that_of_the_whole_system() -> None:
    """Against one dense matrix over all frames."""
    rng, count, n = np.random.default_rng(0), 7, 8
    roots = rng.normal(size=(count, n, 2 * n))
    hessians, gradients = roots @ roots.swapaxes(1, 2), rng.normal(size=(count, n))
    ties = rng.uniform(0.1, 5.0, (count, n))
    ties[0] = 0.0
    ties[4] = 0.0  # a cut

    class Quadratic:
        def slopes(self, t, angles, root, hessian, gradient) -> float:
            hessian[:], gradient[:] = np.tril(hessians[t]), gradients[t] + hessians[t] @ angles
            return float(gradients[t] @ angles + 0.5 * angles @ hessians[t] @ angles)

    poses = Poses(np.zeros((count, n)), np.tile(np.eye(3), (count, 1, 1)))
    system = _System(Quadratic(), list(range(count)), ties)  # type: ignore[arg-type]
    system.linearize(poses)
    dense = np.zeros((count * n, count * n))
    for t in range(count):
        rows = slice(t * n, t * n + n)
        dense[rows, rows] += hessians[t]
        if t:
            before = slice(rows.start - n, rows.start)
            tie = np.diag(ties[t])
            dense[rows, rows] += tie
            dense[before, before] += tie
            dense[rows, before] -= tie
            dense[before, rows] -= tie
    expected = np.linalg.solve(dense, -gradients.ravel()).reshape(count, n)
    np.testing.assert_allclose(system.step(0.0), expected, rtol=1e-8, atol=1e-10)


async def test_a_file_through_the_networks(model_cache: ModelStore, tmp_path: Path) -> None:
    seen: list[AvatarState] = []
    count, avatar, _ = await record_offline(
        EngineOptions(store=model_cache),
        lambda: open_source("performer:full,frames=8"),
        tmp_path,
        on_state=seen.append,
    )
    assert count == len(seen) == 8 and len(avatar.joint_names) == 104
    assert (tmp_path / "side_by_side.mp4").stat().st_size > 1000
    assert [state.index for state in seen] == list(range(8))


async def test_a_camera_has_no_end(model_cache: ModelStore, tmp_path: Path) -> None:
    paced: Callable[[], object] = lambda: open_source("performer:full,frames=8", paced=True)
    with pytest.raises(SourceError, match="expected a file for --offline"):
        await record_offline(EngineOptions(store=model_cache), paced, tmp_path)
    assert not list(tmp_path.iterdir())
