"""2D joints as other detectors write them, and the points of SMPL's family that they mean.

OpenPose's and COCO's hips lie a little higher and further out than SMPL's joints: SMPLify's own
mapping, which is used here too, lives with that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from engine.avatar.parametric_body import ParametricBody
from engine.body.stills import Landmark
from engine.errors import SourceError
from engine.types import F64

MAX_BYTES = 4 << 20
MOST_PEOPLE = 100
SUFFIX = "_keypoints.json"

COCO_17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
    "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee",
    "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
BODY_25 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "mid_hip", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee",
    "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe",
    "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
BLAZEPOSE = {
    "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_shoulder": 11,
    "right_shoulder": 12, "left_elbow": 13, "right_elbow": 14, "left_wrist": 15, "right_wrist": 16,
    "left_hip": 23, "right_hip": 24, "left_knee": 25, "right_knee": 26, "left_ankle": 27,
    "right_ankle": 28, "left_heel": 29, "right_heel": 30, "left_big_toe": 31, "right_big_toe": 32,
}  # fmt: skip
"""Of our own pose network's 33 points, those that the others have too."""

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle",
    "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar",
    "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist",
    "right_wrist",
)  # fmt: skip
"""What all of SMPL's family begins with."""
VERTICES = {
    6890: {
        "nose": 332, "right_eye": 6260, "left_eye": 2800, "right_ear": 4071, "left_ear": 583,
        "left_big_toe": 3216, "left_small_toe": 3226, "left_heel": 3387, "right_big_toe": 6617,
        "right_small_toe": 6624, "right_heel": 6787,
    },
    10475: {
        "nose": 9120, "right_eye": 9929, "left_eye": 9448, "right_ear": 616, "left_ear": 6,
        "left_big_toe": 5770, "left_small_toe": 5780, "left_heel": 8846, "right_big_toe": 8463,
        "right_small_toe": 8474, "right_heel": 8635,
    },
}  # fmt: skip
"""By how many vertices a model has: where the detectors' points lie on its skin."""
NAMES = tuple(n for n in BODY_25 if n not in ("neck", "mid_hip"))
"""The points that are compared, whatever they come from: SMPL has no joints at the other two."""


def landmarks_of(body: ParametricBody) -> list[Landmark]:
    """NAMES on a model of SMPL's family.

    Raises:
        SourceError: the model is not of that family.
    """
    vertices = VERTICES.get(len(body.template_m))
    if vertices is None or len(body.parents) < len(JOINTS):
        raise SourceError(
            f"expected a body of SMPL's family to fit, found {body.name} with "
            f"{len(body.template_m)} vertices and {len(body.parents)} joints"
        )
    return [
        Landmark(name, joint=JOINTS.index(name))
        if name in JOINTS
        else Landmark(name, vertex=vertices[name])
        for name in NAMES
    ]


def read_openpose(path: Path) -> tuple[F64, F64]:
    """The most surely seen person of an OpenPose file, BODY_25 or COCO's 17.

    Returns:
        (23, 2) pixels of NAMES and (23,) confidences; 0 where there is none.

    Raises:
        SourceError: the file is no such file, or shows nobody.
    """
    if path.stat().st_size > MAX_BYTES:
        raise SourceError(f"expected OpenPose's JSON of less than {MAX_BYTES >> 20} MB in {path}")
    try:
        people = json.loads(path.read_bytes())["people"]
        if not isinstance(people, list) or not people:
            raise SourceError(f"{path} shows nobody: it lists no people")
        found = [_person(person["pose_keypoints_2d"]) for person in people[:MOST_PEOPLE]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SourceError(
            f"expected OpenPose's JSON with people and pose_keypoints_2d in {path}, found {error!r}"
        ) from error
    return max(found, key=lambda person: float(person[1].sum()))


def _person(numbers: Any) -> tuple[F64, F64]:
    rows = np.asarray(numbers, np.float64)
    layouts = {3 * len(layout): layout for layout in (BODY_25, COCO_17)}
    if rows.ndim != 1 or len(rows) not in layouts:
        raise ValueError(f"{rows.size} numbers, which are neither 25 nor 17 joints")
    return arranged(layouts[len(rows)], rows.reshape(-1, 3))


def arranged(layout: tuple[str, ...], rows: F64) -> tuple[F64, F64]:
    """(23, 2) pixels and (23,) confidences of NAMES from rows of x, y, confidence in any order.

    A row that is not a number, or lies in the corner as OpenPose's missing ones do, is not seen.
    """
    pixels, trust = np.zeros((len(NAMES), 2)), np.zeros(len(NAMES))
    for name, row in zip(layout, rows, strict=True):
        if name in NAMES and np.isfinite(row).all() and row[:2].any():
            pixels[NAMES.index(name)] = row[:2]
            trust[NAMES.index(name)] = np.clip(row[2], 0.0, 1.0)
    return pixels, trust
