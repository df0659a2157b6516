"""How far a converted body is from the one that it was converted from, part by part."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.body.surface_pairs import EYES
from engine.fusion.closest_point import SurfaceTree
from engine.types import F32, F64, I32

PARTS = ("body", "hands", "head")
MILLIMETRES = 1e3


@dataclass(frozen=True, slots=True)
class Spread:
    """Distances in millimetres."""

    mean: float
    p95: float
    max: float

    @staticmethod
    def of(distances_m: F64) -> Spread:
        """Of at least one distance."""
        mm = MILLIMETRES * distances_m
        return Spread(float(mm.mean()), float(np.percentile(mm, 95)), float(mm.max()))


@dataclass(frozen=True, slots=True)
class ConversionError:
    """Of body, hands and head, and of all; a part that a model does not have is left out."""

    vertices_mm: dict[str, Spread]
    """From the target's vertices (but those of the eyeballs) to the source's surface; where both
    have the same vertices, from each to its own."""
    joints_mm: dict[str, Spread]
    """Between joints of one name; the models' own ideas of where a joint lies included."""
    frames: int


def part_of(joint: str) -> str:
    """Which of :data:`PARTS` a joint, or what hangs on it, belongs to."""
    if joint in ("neck", "head", "jaw", *EYES):
        return "head"
    ends = ("1", "2", "3", "wrist", "hand")
    return "hands" if joint.startswith(("left", "right")) and joint.endswith(ends) else "body"


class ErrorMeter:
    """Collects the distances of some frames."""

    def __init__(
        self, faces: I32, parts: NDArray[np.str_], joint_names: tuple[str, ...], *, same: bool
    ) -> None:
        """Say what is compared.

        Args:
            faces: (F, 3) of the source.
            parts: (V',) the part of each of the target's vertices.
            joint_names: (K,) of the joints that are compared.
            same: whether vertex n of one is vertex n of the other.
        """
        self._faces, self._same = faces, same
        self._rows = np.flatnonzero(~np.isin(parts, EYES))
        self._vertex_parts = np.array([part_of(str(p)) for p in parts[self._rows]])
        self._joint_parts = np.array([part_of(name) for name in joint_names])
        self._vertices: list[F64] = []
        self._joints: list[F64] = []

    def add(
        self, source_m: F32 | F64, target_m: F32, joints_m: F32 | F64, target_joints_m: F32
    ) -> None:
        """One frame: (V, 3) and (V', 3) vertices, (K, 3) joints of each."""
        points = target_m[self._rows]
        if self._same:
            nearest = np.asarray(source_m[self._rows], np.float64)
        else:
            nearest = SurfaceTree(source_m, self._faces).closest(points).points
        self._vertices.append(np.linalg.norm(points - nearest, axis=1))
        self._joints.append(np.linalg.norm(target_joints_m - joints_m, axis=1))

    def result(self) -> ConversionError:
        """Over all frames added, of which there is at least one."""
        return ConversionError(
            _by_part(np.array(self._vertices, np.float64), self._vertex_parts),
            _by_part(np.array(self._joints, np.float64), self._joint_parts),
            len(self._vertices),
        )


def _by_part(distances_m: F64, parts: NDArray[np.str_]) -> dict[str, Spread]:
    found = {"all": Spread.of(distances_m.ravel())}
    for part in PARTS:
        own = distances_m[:, parts == part]
        if own.size:
            found[part] = Spread.of(own.ravel())
    return found
