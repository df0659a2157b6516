"""``sars bench forward``: posing a body model beside its makers' own code, on the same cores.

A forward pass is what a fit asks for: new betas, a new pose, new vertices. Both sides get the same
numbers and as many threads, take turns in blocks, and must agree to a hundredth of a millimetre.
The SMPL-X-sized model is made up in the official layout, for the licensed one cannot be passed on;
no time depends on its numbers.
"""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numba
import numpy as np

from engine.avatar.anny import PHENOTYPE_NAMES, BodyModel
from engine.avatar.parametric_body import anny_as_body
from engine.body.parametric_forward import BodyPoser
from engine.errors import SetupError
from engine.inference.store import BODY_FILE, ModelStore
from engine.types import F32, F64, Phenotypes
from exporters.anny_bake import to_gltf_axes
from exporters.body_models.smpl import read_smpl

VERTICES, JOINTS, BODY_JOINTS, BETAS = 10475, 55, 21, 10
BLOCKS, WARM_UP = 8, 3
AGREE_M = 1e-5


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: poses number n of the poses that both are given."""

    pose: Callable[[int], F32]


def bench_forward(calls: int, store: ModelStore | None = None) -> dict[str, Any]:
    """Both comparisons.

    Args:
        calls: forward passes of each side in each comparison.
        store: of the baked Anny; the user's by default.

    Raises:
        SetupError: smplx, anny or torch is not installed.
        ModelFileError: the baked body is missing or damaged.
        AssertionError: the two sides disagree.
    """
    try:
        import torch
    except ModuleNotFoundError as error:
        raise SetupError("the peers need torch: pip install 'sars-engine[setup,test]'") from error
    threads = min(numba.get_num_threads(), os.cpu_count() or 1)
    torch.set_num_threads(threads)
    found = {
        "smplx": _smplx_sides(calls, everything=True),
        "smplx_body": _smplx_sides(calls, everything=False),
        "anny": _anny_sides(calls, store),
        "anny_same_person": _anny_sides(calls, store, people=1),
    }
    numbers: dict[str, Any] = {"ratio": {}, "ms": {}, "apart_m": {}, "threads": threads}
    for name, (ours, peer) in found.items():
        apart = max(float(np.abs(ours.pose(n) - peer.pose(n)).max()) for n in range(WARM_UP))
        if not apart <= AGREE_M:
            raise AssertionError(f"{name} and ours disagree by {apart} m")
        own_ms, peer_ms = _in_turns(ours, peer, calls)
        numbers["ratio"][name] = round(float(np.median(peer_ms) / np.median(own_ms)), 2)
        numbers["ms"][name] = {"ours": _spread(own_ms), "peer": _spread(peer_ms)}
        numbers["apart_m"][name] = apart
    return numbers


def _in_turns(ours: Side, peer: Side, calls: int) -> tuple[F64, F64]:
    """Milliseconds of each call; what slows the machine down slows both."""
    times: tuple[list[float], list[float]] = ([], [])
    for block in np.array_split(np.arange(calls), BLOCKS):
        for side, taken in zip((ours, peer), times, strict=True):
            for n in block.tolist():
                started = time.perf_counter()
                side.pose(n)
                taken.append((time.perf_counter() - started) * 1e3)
    return np.array(times[0]), np.array(times[1])


def _spread(milliseconds: F64) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(milliseconds, q)), 3) for q in (50, 95)}


def _smplx_sides(calls: int, *, everything: bool) -> tuple[Side, Side]:
    """Ours against ``smplx.SMPLX`` on one file.

    Args:
        calls: how many poses.
        everything: whether fingers, jaw and eyes move too; else they rest, as in most motions.
    """
    try:
        import smplx
        import torch
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the peer needs {error.name}: pip install 'sars-engine[setup,test]'"
        ) from error
    with TemporaryDirectory() as folder, redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "SMPLX_NEUTRAL.npz"
        np.savez(path, **_official_arrays())
        poser = BodyPoser(read_smpl(path))
        peer_model = smplx.SMPLX(str(path), use_pca=False, flat_hand_mean=True)
    rng = np.random.default_rng(1)
    shapes = rng.normal(0.0, 1.0, (calls, 2, BETAS)).astype(np.float32)
    turns = rng.normal(0.0, 0.3, (calls, JOINTS, 3)).astype(np.float32)
    turns[:, 1 + BODY_JOINTS :] *= everything
    nowhere = np.zeros(3, np.float32)

    def ours(n: int) -> F32:
        poser.shape(*shapes[n])
        return poser.pose(turns[n], nowhere)

    given = [_as_smplx(torch, shape, turn) for shape, turn in zip(shapes, turns, strict=True)]

    def peer(n: int) -> F32:
        with torch.inference_mode():
            return np.asarray(peer_model(**given[n]).vertices[0].numpy())

    return Side(ours), Side(peer)


def _as_smplx(torch: Any, shape: F32, turn: F32) -> dict[str, Any]:
    parts = {
        "betas": shape[0], "expression": shape[1], "global_orient": turn[0],
        "body_pose": turn[1:22], "jaw_pose": turn[22], "leye_pose": turn[23],
        "reye_pose": turn[24], "left_hand_pose": turn[25:40], "right_hand_pose": turn[40:],
    }  # fmt: skip
    return {name: torch.tensor(part.reshape(1, -1)) for name, part in parts.items()}


def _official_arrays(seed: int = 0) -> dict[str, Any]:
    """A file of SMPL-X's size: each vertex hangs on four joints, every corrective is there."""
    rng, v, j = np.random.default_rng(seed), VERTICES, JOINTS
    weights, regressor = np.zeros((v, j)), np.zeros((j, v))
    near = ((np.arange(v) * j // v)[:, None] + np.arange(4)) % j
    np.put_along_axis(weights, near, rng.uniform(0.1, 1.0, (v, 4)), axis=1)
    for row in regressor:
        row[rng.integers(0, v, 12)] += 1.0 / 12.0
    return {
        "v_template": rng.uniform(-0.8, 0.8, (v, 3)),
        "shapedirs": rng.normal(0.0, 0.004, (v, 3, 2 * BETAS)),
        "posedirs": rng.normal(0.0, 0.001, (v, 3, 9 * (j - 1))),
        "J_regressor": regressor / regressor.sum(axis=1, keepdims=True),
        "kintree_table": np.stack([[2**32 - 1, *((n - 1) // 2 for n in range(1, j))], range(j)]),
        "weights": weights / weights.sum(axis=1, keepdims=True),
        "f": rng.integers(0, v, (20908, 3)).astype(np.uint32),
        "hands_meanl": np.zeros(45), "hands_meanr": np.zeros(45),
        "hands_componentsl": np.eye(45), "hands_componentsr": np.eye(45),
        "lmk_faces_idx": np.zeros(51, np.int64), "lmk_bary_coords": np.full((51, 3), 1 / 3),
    }  # fmt: skip


def _anny_sides(
    calls: int, store: ModelStore | None, people: int | None = None
) -> tuple[Side, Side]:
    """Ours against ``anny``'s own forward: phenotypes and a pose in, vertices out.

    ``people`` are how many different ones there are; as many as calls by default.

    Anny runs in single precision, without the local changes and actions that it is not asked for,
    and gets world poses, its shortest way: all of that is its fastest.
    """
    try:
        import anny
        import torch
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the peer needs {error.name}: pip install 'sars-engine[setup,test]'"
        ) from error
    model = BodyModel.load((store or ModelStore.default()).path(BODY_FILE))
    poser, rng = BodyPoser(anny_as_body(model)), np.random.default_rng(2)
    many = [
        Phenotypes(*map(float, rng.uniform(0.2, 0.8, len(PHENOTYPE_NAMES))))
        for _ in range(people or calls)
    ]
    whose = [many[n % len(many)] for n in range(calls)]
    turns = rng.normal(0.0, 0.2, (calls, len(model.parents), 3)).astype(np.float32)
    nowhere = np.zeros(3, np.float32)

    def ours(n: int) -> F32:
        poser.shape(model.coefficients(whose[n]))
        return poser.pose(turns[n], nowhere)

    peer_model = anny.Anny().to(dtype=torch.float32)
    labels = peer_model.phenotype_labels
    named = [{name: getattr(who, name) for name in labels if name in PHENOTYPE_NAMES} for who in
             whose]  # fmt: skip
    poses = [
        _world_poses(peer_model, values, turn) for values, turn in zip(named, turns, strict=True)
    ]

    def peer(n: int) -> F32:
        with torch.inference_mode():
            out = peer_model(
                pose_parameters=poses[n],
                phenotype_kwargs=named[n],
                pose_parameterization="world",
            )
        return np.asarray(to_gltf_axes(out["vertices"][0].numpy()))

    return Side(ours), Side(peer)


def _world_poses(model: Any, phenotypes: dict[str, float], turns: F32) -> Any:
    """Each of Anny's bones in space, for rotations about our axes; not timed."""
    import torch

    with torch.inference_mode():
        rest = model(phenotype_kwargs=phenotypes)
    heads = rest["rest_bone_heads"][0].numpy().astype(np.float64)
    local = np.stack([cv2.Rodrigues(turn.astype(np.float64))[0] for turn in turns])
    local = np.asarray(_FROM_GLTF @ local @ _FROM_GLTF.T)
    placed = np.zeros((len(turns), 4, 4))
    for j, parent in enumerate(int(p) for p in model.bone_parents):
        own = np.eye(4)
        own[:3, :3], own[:3, 3] = local[j], heads[j] - local[j] @ heads[j]
        placed[j] = placed[parent] @ own if parent >= 0 else own
    return torch.tensor(placed[None], dtype=torch.float32) @ rest["rest_bone_poses"]


_FROM_GLTF = to_gltf_axes(np.eye(3))
