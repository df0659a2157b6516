"""Where the networks' landmarks lie on a person's body: offsets from the bones that carry them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from engine.errors import ModelFileError
from engine.types import F32, F64, I32

FILE_NAME = "landmark_embedding.json"
BODY_POINTS = 33
HAND_POINTS = 21


@dataclass(frozen=True, slots=True)
class PointSet:
    """Points fixed in bones: ``x = p_bone + G_bone offset``."""

    bones: I32
    """(P,): the joint that carries each point."""
    offsets_m: F64
    """(P, 3) from that joint in the rest pose, avatar axes."""


@dataclass(frozen=True, slots=True)
class LandmarkEmbedding:
    """All landmarks of one person."""

    body: PointSet
    """33 points in BlazePose's order."""
    left_hand: PointSet
    """21 points in MediaPipe's order."""
    right_hand: PointSet


def embed(
    joint_names: Sequence[str],
    joints_m: F32 | F64,
    vertices_m: F32 | F64,
    *,
    calibrated: bool = True,
) -> LandmarkEmbedding:
    """Place every landmark on a person's rest shape.

    Args:
        joint_names: J names of Anny's joints.
        joints_m: (J, 3) rest positions.
        vertices_m: (V, 3) rest vertices in Anny's order, the same frame.
        calibrated: where the network sees the points; else where anatomy has them.

    Raises:
        ModelFileError: the joints or vertices are not those of the shipped embedding.
    """
    place = {name: j for j, name in enumerate(joint_names)}
    joints, vertices = np.asarray(joints_m, np.float64), np.asarray(vertices_m, np.float64)
    try:
        sets = [_point_set(part, place, joints, vertices, calibrated) for part in _tables()]
    except (KeyError, IndexError) as error:
        raise ModelFileError(
            f"the landmark embedding names {error}, which this body does not have; "
            "use the Anny body that `sars setup` bakes"
        ) from error
    return LandmarkEmbedding(*sets)


@cache
def _tables() -> tuple[list[dict[str, Any]], ...]:
    text = resources.files(__package__).joinpath(FILE_NAME).read_text()
    table = json.loads(text)
    return table["body"], table["left_hand"], table["right_hand"]


def _point_set(
    entries: Sequence[Mapping[str, Any]],
    place: Mapping[str, int],
    joints: F64,
    vertices: F64,
    calibrated: bool,
) -> PointSet:
    bones = np.array([place[entry["bone"]] for entry in entries], np.int32)
    points = np.zeros((len(entries), 3))
    # Offsets are shares of the torso, so that they shrink with a child.
    torso = float(np.linalg.norm(joints[place["neck01"]] - joints[place["root"]]))
    for row, entry in zip(points, entries, strict=True):
        for name, weight in entry.get("joints", {}).items():
            row += weight * joints[place[name]]
        for vertex, weight in entry.get("vertices", {}).items():
            row += weight * vertices[int(vertex)]
        if calibrated and "offset" in entry:
            row += torso * np.array(entry["offset"])
    return PointSet(bones, points - joints[bones])
