"""Anny in the official layout of SMPL's family: another mesh, other joints, another rest pose.

A model whose surface is known to be a person's, for the makers' own files need a licence: Anny's
mesh with edges collapsed to the official number of vertices, renumbered; her joints merged into
the official ones; arms lifted at rest; betas the first principal components of her shapes.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from body_files import SIZES, Arrays, write_npz

from engine.avatar.anny import BodyModel
from engine.avatar.joint_names import ANNY_CHAINS, SMPL_FAMILY, SMPLX_PARENTS, canonical_name
from engine.avatar.parametric_body import ParametricBody, anny_as_body
from engine.body.parametric_forward import BodyPoser
from engine.body.shape_space import anny_space

BETAS = 10
LIFT = 0.85
"""Radians from Anny's hanging arms to the side."""
REGRESSED = 80
"""Vertices that tell where a joint is."""


def twin(name: str, model: BodyModel, seed: int = 0) -> Arrays:
    """Everything that a file of this model holds."""
    rng, body, space = np.random.default_rng(seed), anny_as_body(model), anny_space(model)
    count, _ = SIZES[name]
    onto, faces = _collapsed(body.faces, len(body.template_m), count, rng)
    average = partial(_average, onto, count)
    places, joints = _rest(body, space.mean)
    dirs, joint_dirs = [], []
    for row in space.components[:BETAS]:
        moved, moved_joints = _rest(body, space.mean + row)
        dirs.append(average(moved - places))
        joint_dirs.append(moved_joints - joints)
    names = SMPL_FAMILY[name]
    rows = [body.joint_names.index(ANNY_CHAINS.get(_anny(n), ("head",))[0]) for n in names]
    template, shapes = average(places), np.array(dirs)
    padded = np.concatenate([shapes, np.zeros_like(shapes)]) if name == "SMPL-X" else shapes
    parents = _parents(names)
    kintree = np.stack([parents, np.arange(len(names))]).astype(np.int64)
    kintree[0, 0] = 2**32 - 1
    return {
        "v_template": template,
        "shapedirs": padded.transpose(1, 2, 0),
        "posedirs": np.zeros((count, 3, 9 * (len(names) - 1))),
        "J_regressor": _regressor(template, shapes, joints[rows], np.array(joint_dirs)[:, rows]),
        "kintree_table": kintree,
        "weights": average(_merged_weights(body, names)),
        "f": faces.astype(np.uint32),
    }


def write_twin(name: str, model: BodyModel, path: Path, seed: int = 0) -> Path:
    return write_npz(twin(name, model, seed), path)


def _anny(name: str) -> str:
    """SMPL's hands, which nothing of Anny's is, lie where the middle fingers begin."""
    return name.replace("hand", "middle1")


def _rest(body: ParametricBody, betas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and joints of a shape with its arms lifted."""
    poser, turns = BodyPoser(body), np.zeros((len(body.parents), 3), np.float32)
    turns[body.joint_names.index("upperarm01.L"), 2] = LIFT
    turns[body.joint_names.index("upperarm01.R"), 2] = -LIFT
    poser.shape(betas.astype(np.float32))
    vertices = poser.pose(turns, np.zeros(3, np.float32)).astype(np.float64)
    return vertices, poser.joints_m.astype(np.float64)


def twin_vertices(name: str, model: BodyModel, seed: int = 0) -> np.ndarray:
    """(V,) the twin's vertex that each of Anny's became part of."""
    rng = np.random.default_rng(seed)
    return _collapsed(model.faces, len(model.template_m), SIZES[name][0], rng)[0]


def _collapsed(
    faces: np.ndarray, vertices: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(V,) the one of the fewer vertices that each goes into, and the faces that are left."""
    owner = np.arange(vertices)
    while (left := len(np.unique(owner))) > count:
        corners, busy = owner[faces], np.zeros(vertices, bool)
        edges = np.unique(np.sort(corners[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)
        into = np.arange(vertices)
        for a, b in edges[rng.permutation(len(edges))]:
            if a != b and left > count and not (busy[a] or busy[b]):
                into[b], left = a, left - 1
                busy[[a, b]] = True
        owner = into[owner]
    kept = np.unique(owner)[rng.permutation(count)]
    place = np.empty(vertices, np.int64)
    place[kept] = np.arange(count)
    onto = place[owner]
    moved = onto[faces]
    whole = (moved != np.roll(moved, 1, axis=1)).all(axis=1)
    return onto, moved[whole]


def _average(onto: np.ndarray, count: int, values: np.ndarray) -> np.ndarray:
    out = np.zeros((count, values.shape[1]))
    np.add.at(out, onto, values)
    return out / np.bincount(onto, minlength=count)[:, None]


def _parents(names: tuple[str, ...]) -> np.ndarray:
    every = SMPL_FAMILY["SMPL-X"]
    above = {n: every[p] if p >= 0 else n for n, p in zip(every, SMPLX_PARENTS, strict=True)} | {
        "left_hand": "left_wrist",
        "right_hand": "right_wrist",
    }
    return np.array([names.index(above[n]) for n in names])


def _merged_weights(body: ParametricBody, names: tuple[str, ...]) -> np.ndarray:
    owners: list[int] = []
    for j, own in enumerate(body.joint_names):
        name, parent = canonical_name(own), int(body.parents[j])
        finger = name is not None and name not in names and name[-1] in "123"
        if name in names:
            owners.append(names.index(name))
        elif finger and f"{name.split('_')[0]}_hand" in names:
            owners.append(names.index(f"{name.split('_')[0]}_hand"))
        else:
            owners.append(owners[parent])
    merged = np.zeros((len(body.weights), len(names)))
    np.add.at(merged.T, owners, body.weights.T.astype(np.float64))
    return merged


def _regressor(
    template: np.ndarray, shapes: np.ndarray, joints: np.ndarray, dirs: np.ndarray
) -> np.ndarray:
    """(J, V) rows that sum to 1 and give joints of every shape from the vertices around them."""
    out = np.zeros((len(joints), len(template)))
    for j, joint in enumerate(joints):
        near = np.argsort(np.linalg.norm(template - joint, axis=1))[:REGRESSED]
        known = np.concatenate([template[near].T, *shapes[:, near].transpose(0, 2, 1)])
        wanted = np.concatenate([joint, dirs[:, j].ravel()])
        ones, scale = np.full((1, REGRESSED), 10.0), 10.0
        rows = np.concatenate([known, ones])
        found = np.linalg.lstsq(rows, np.append(wanted, scale), rcond=1e-4)[0]
        out[j, near] = found / found.sum()
    return out
