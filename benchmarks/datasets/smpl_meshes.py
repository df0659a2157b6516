"""3DPW with the user's SMPL files: meshes vertex by vertex, and the joints that others regress.

The truth is posed by the file of its gender. Ours is SMPL fitted to our own mesh, one shape a
person (:mod:`engine.body.model_conversion`). With ``J_regressor_h36m.npy`` (17, 6890) both are
compared by the 14 joints that published figures use, about the regressed pelvis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.joint_errors import procrustes_errors_mm
from benchmarks.similarity import aligned
from engine import quaternions
from engine.avatar.parametric_body import ParametricBody, avatar_as_body
from engine.avatar.topology import FusedAvatar
from engine.body.model_conversion import BodyMotion, ModelConverter
from engine.body.parametric_forward import BodyPoser
from engine.errors import ModelFileError, SourceError
from engine.types import F32, F64, AvatarState
from exporters.body_models.smpl import read_smpl

SUFFIXES = (".npz", ".pkl", ".safetensors")
H36M_TO_14 = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
"""Of the 17 regressed joints; row 0 is the pelvis."""
MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class SmplPerson:
    """One person's true parameters over N frames."""

    gender: str
    """"m" or "f"."""
    poses: F64
    """(N, 72) axis-angle."""
    betas: F64
    """(10,)."""
    trans: F64
    """(N, 3) in the world."""
    cameras: F64
    """(N, 4, 4) world to OpenCV's camera axes."""


class SmplFiles:
    """SMPL of both genders and of none, and perhaps a joint regressor."""

    def __init__(self, folder: Path, regressor: Path | None = None) -> None:
        """Read them.

        Args:
            folder: with SMPL_NEUTRAL, SMPL_MALE and SMPL_FEMALE, as .npz, .pkl or .safetensors.
            regressor: ``J_regressor_h36m.npy``.

        Raises:
            ModelFileError: one is missing, damaged or not SMPL's.
        """
        self.neutral = _read(folder, "SMPL_NEUTRAL")
        self._bodies = {"m": _read(folder, "SMPL_MALE"), "f": _read(folder, "SMPL_FEMALE")}
        self.regressor = None if regressor is None else _read_regressor(regressor)

    def truth(self, person: SmplPerson) -> Callable[[int], F64]:
        """Frame to (6890, 3) vertices in glTF's camera axes.

        Raises:
            SourceError: the person's gender is neither "m" nor "f".
        """
        if person.gender not in self._bodies:
            raise SourceError(f"expected genders m or f for V2V, found {person.gender[:20]!r}")
        body = self._bodies[person.gender]
        poser = BodyPoser(body)
        poser.shape(person.betas.astype(np.float32))

        def posed(frame: int) -> F64:
            pose = person.poses[frame].reshape(24, 3).astype(np.float32)
            world = poser.pose(pose, person.trans[frame].astype(np.float32)).astype(np.float64)
            camera = person.cameras[frame]
            seen = world @ camera[:3, :3].T + camera[:3, 3]
            return np.asarray(seen * np.array([1.0, -1.0, -1.0]), np.float64)

        return posed

    def ours(self, avatar: FusedAvatar, states: Sequence[AvatarState]) -> Callable[[int], F32]:
        """Our states as SMPL: frame to (6890, 3) vertices, overwritten by the next."""
        turns = [quaternions.to_rotation_vector(s.rotations_xyzw.astype(float)) for s in states]
        own = BodyMotion(
            np.zeros(0, np.float32),
            np.array(turns, np.float32),
            np.array([state.translation_m for state in states], np.float32),
        )
        motion = ModelConverter(avatar_as_body(avatar), self.neutral).convert(own).motion
        poser = BodyPoser(self.neutral)
        poser.shape(motion.betas)
        return lambda frame: poser.pose(motion.rotations[frame], motion.translation_m[frame])

    def compared(
        self, ours: Callable[[int], F32], truth: Callable[[int], F64], frames: Sequence[int]
    ) -> dict[str, F64]:
        """Millimetres of every frame, (N,) each.

        ``v2v_mm`` and ``pa_v2v_mm``; with a regressor also ``regressed_mpjpe_mm`` and
        ``regressed_pa_mpjpe_mm``.
        """
        rows: dict[str, list[float]] = {}
        pelvis = self._pelvis()
        for frame in frames:
            found, true = ours(frame).astype(np.float64), truth(frame)
            moved = found - pelvis @ found + pelvis @ true
            numbers = {
                "v2v_mm": _apart_mm(moved, true),
                "pa_v2v_mm": _apart_mm(aligned(found, true, scaled=True), true),
            }
            if self.regressor is not None:
                own, real = (self.regressor @ mesh for mesh in (found, true))
                own, real = ((j - j[0])[H36M_TO_14] for j in (own, real))
                numbers["regressed_mpjpe_mm"] = _apart_mm(own, real)
                numbers["regressed_pa_mpjpe_mm"] = float(
                    procrustes_errors_mm(own[None], real[None]).mean()
                )
            for name, number in numbers.items():
                rows.setdefault(name, []).append(number)
        return {name: np.array(values) for name, values in rows.items()}

    def _pelvis(self) -> F64:
        """(6890,) weights that give a point at the hips, of whichever mesh."""
        if self.regressor is not None:
            return np.asarray(self.regressor[0], np.float64)
        template = self.neutral.template_m.astype(np.float64)
        near = np.argsort(np.linalg.norm(template - self.neutral.joint_template_m[0], axis=1))
        weights = np.zeros(len(template))
        weights[near[:200]] = 1.0 / 200.0
        return weights


def _apart_mm(a: F64, b: F64) -> float:
    return 1e3 * float(np.linalg.norm(a - b, axis=1).mean())


def _read(folder: Path, name: str) -> ParametricBody:
    paths = [folder / f"{name}{suffix}" for suffix in SUFFIXES]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise ModelFileError(f"expected {name} ({', '.join(SUFFIXES)}) in {folder}, found none")
    body = read_smpl(path)
    if body.name != "SMPL":
        raise ModelFileError(f"expected SMPL in {path}, found {body.name}")
    return body


def _read_regressor(path: Path) -> F64:
    """(17, 6890)."""
    if not path.is_file() or path.stat().st_size > MOST_BYTES:
        raise ModelFileError(f"expected J_regressor_h36m.npy at {path}")
    try:
        found: F64 = np.asarray(np.load(path, allow_pickle=False), np.float64)
    except (OSError, ValueError, EOFError) as error:
        raise ModelFileError(f"{path} is no array ({error})") from error
    if found.shape != (17, 6890) or not np.isfinite(found).all():
        raise ModelFileError(f"expected a regressor (17, 6890) in {path}, found {found.shape}")
    return found
