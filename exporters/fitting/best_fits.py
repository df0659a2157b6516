"""The dictionary of best fits: for every picture the best that any start has ever led to.

SPIN (Kolotouros et al. 2019) and SARS keep it while they train; here it is a folder with a file for
each picture, so that a run that is killed has lost nothing but the picture it was at, and another
run, with another initialiser, only ever improves on it.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.avatar.array_file import open_arrays
from engine.body.stills import StillFit
from engine.errors import ModelFileError
from engine.inference.store import write_atomically
from engine.types import F64

FILE_BYTES = 1 << 20
MOST_TRIED = 64


@dataclass(frozen=True, slots=True)
class BestFit:
    """One picture's entry."""

    fit: StillFit
    focal_px: float
    tried: tuple[str, ...]
    """The initialisers that have had their chance."""
    inputs: str
    """Digest of model, 2D joints and options: others begin anew."""


class BestFits:
    """A folder of entries, one for each picture, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        """Open or begin one."""
        self._folder = folder

    def get(self, name: str) -> BestFit | None:
        """The entry of a picture; a damaged one is as good as none, for it can be made again."""
        path = self._path(name)
        try:
            return _read(path) if path.is_file() else None
        except (ModelFileError, ValueError):
            return None

    def offer(self, name: str, found: BestFit) -> BestFit:
        """Keep the better of what is there and what was found, and that both were tried."""
        before = self.get(name)
        best = found
        if before is not None and before.inputs == found.inputs:
            fit = before.fit if before.fit.cost <= found.fit.cost else found.fit
            best = BestFit(
                fit,
                found.focal_px,
                tuple(dict.fromkeys((*before.tried, *found.tried))),
                found.inputs,
            )
        content = io.BytesIO()
        np.savez(
            content,
            rotations=best.fit.rotations,
            betas=best.fit.betas,
            trans=best.fit.translation_m,
            numbers=np.array([best.fit.cost, best.fit.error_px, best.focal_px]),
            start=np.array(best.fit.start),
            tried=np.array(best.tried),
            inputs=np.array(best.inputs),
        )
        write_atomically(self._path(name), content.getvalue())
        return best

    def _path(self, name: str) -> Path:
        """By digest: a picture's name may be long, or have folders in it."""
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.npz"


def _read(path: Path) -> BestFit:
    """Raises ModelFileError or ValueError where the file is not an entry."""
    with open_arrays(path, FILE_BYTES, "remove it, and its picture is fitted again") as file:
        arrays = {key: file.read(key) for key in ("rotations", "betas", "trans")}
        words = {key: str(file.read(key)) for key in ("start", "inputs")}
        cost, error, focal = (float(x) for x in file.read("numbers").reshape(3))
        tried = tuple(str(word) for word in file.read("tried")[:MOST_TRIED])
    shaped = arrays["rotations"].ndim == 2 and arrays["trans"].shape == (3,)
    if not shaped or not all(np.isfinite(a).all() for a in arrays.values()):
        raise ValueError("no pose")
    rotations, betas, place = (arrays[name] for name in ("rotations", "betas", "trans"))
    fit = StillFit(rotations, betas, place, cost, error, words["start"])
    return BestFit(fit, focal, tried, words["inputs"])


def collected(names: list[str], fits: list[BestFit | None], joints: int) -> bytes:
    """All entries as one ``.npz``, in the names that SPIN's own files have.

    Args:
        names: of N pictures.
        fits: their entries; ``None`` where nobody could be fitted.
        joints: of the model.

    Returns:
        ``imgname`` (N,), ``pose`` (N, 3J), ``shape`` (N, B), ``trans`` (N, 3) metres in glTF's
        camera axes, ``focal`` (N,), ``has_smpl`` (N,), ``cost``, ``error_px`` and ``start``.
    """
    count = len(names)
    betas = max((len(fit.fit.betas) for fit in fits if fit is not None), default=0)
    pose, shape = np.zeros((count, 3 * joints)), np.zeros((count, betas))
    trans, focal, cost, error = np.zeros((count, 3)), *np.full((3, count), np.nan)
    start = [""] * count
    for n, entry in enumerate(fits):
        if entry is not None:
            pose[n], shape[n] = entry.fit.rotations.reshape(-1), entry.fit.betas
            trans[n], focal[n] = entry.fit.translation_m, entry.focal_px
            cost[n], error[n], start[n] = entry.fit.cost, entry.fit.error_px, entry.fit.start
    content = io.BytesIO()
    np.savez_compressed(
        content,
        imgname=np.array(names),
        pose=pose.astype(np.float32),
        shape=shape.astype(np.float32),
        trans=trans.astype(np.float32),
        focal=focal,
        cost=cost,
        error_px=error,
        start=np.array(start),
        has_smpl=np.array([fit is not None for fit in fits], np.uint8),
    )
    return content.getvalue()


def digest_of(*parts: bytes | F64) -> str:
    """Of whatever a fit depends on."""
    found = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes()
        found.update(len(content).to_bytes(8, "little") + content)
    return found.hexdigest()
