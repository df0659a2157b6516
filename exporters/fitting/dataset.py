"""``sars fit DATASET``: SMPLify over a folder of pictures, resumable at any time.

2D joints come from OpenPose's files beside the pictures (``NAME_keypoints.json``, in the same
folder or in ``keypoints/``), or else from our own pose network, whose metric landmarks also give
the analytic start: the live fit's inverse kinematics, carried over to SMPL's joints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from engine.avatar.parametric_body import ParametricBody
from engine.body.pose_priors import PosePrior, Spheres
from engine.body.stills import Start, StillFitter
from engine.errors import AvatarError, SourceError
from engine.inference.store import write_atomically
from engine.sources.opening import PICTURE_SUFFIXES
from engine.types import F64, U8, Camera
from exporters.fitting.best_fits import BestFit, BestFits, collected, digest_of
from exporters.fitting.keypoints import SUFFIX, landmarks_of, read_openpose

MOST_PICTURES = 1_000_000
MOST_PIXELS = 100_000_000
MEAN = "mean"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a picture shows of a person."""

    points_px: F64
    """(23, 2) of NAMES, in the picture's own pixels."""
    trust: F64
    """(23,)."""
    starts: tuple[Start, ...] = ()


class Detector(Protocol):
    """Finds 2D joints where no file has them."""

    def __call__(self, image: U8, camera: Camera) -> Seen | None:
        """In a picture (H, W, 3) RGB; ``None`` where nobody is seen."""
        ...


class Initialiser(Protocol):
    """Something besides the mean pose that knows where to begin, such as SPIN."""

    name: str

    def __call__(self, image: U8, seen: Seen, camera: Camera) -> Start:
        """A start for the person whose 2D joints are given."""
        ...


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a user may choose."""

    field_of_view_deg: float | None = None
    """Of the longer side; ``None``: a usual camera's 60."""
    spheres: Spheres | None = None
    """To keep the body's parts out of one another."""
    initialisers: tuple[Initialiser, ...] = ()
    detector: Detector | None = None


@dataclass(slots=True)
class Outcome:
    """What became of a data set."""

    fitted: int = 0
    kept: int = 0
    """Already there, with nothing new to try."""
    failed: dict[str, str] = field(default_factory=dict)
    """Picture to reason."""
    error_px: float | None = None
    """Median over all entries."""


def pictures_of(folder: Path) -> list[Path]:
    """All pictures of a folder and of those in it, in order.

    Raises:
        SourceError: there are none, or too many.
    """
    if not folder.is_dir():
        raise SourceError(f"expected a folder of pictures, found none at {folder}")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )
    if not 0 < len(found) <= MOST_PICTURES:
        raise SourceError(
            f"expected 1 to {MOST_PICTURES} pictures ({', '.join(sorted(PICTURE_SUFFIXES))}) in "
            f"{folder}, found {len(found)}"
        )
    return found


def fit_dataset(
    folder: Path,
    out: Path,
    body: ParametricBody,
    prior: PosePrior,
    options: FitOptions,
    on_picture: Callable[[int, str], None] = lambda _done, _name: None,
) -> Outcome:
    """Fit every picture that has something new to try; write all results at the end.

    Args:
        folder: of the pictures.
        out: where ``fits/`` is kept and ``fits.npz`` is written.
        body: of SMPL's family.
        prior: of likely poses.
        options: camera, starts, detector.
        on_picture: told how many are done, and the next one's name.

    Raises:
        SourceError: there are no pictures, or the body is not of that family.
    """
    fitter = StillFitter(body, landmarks_of(body), prior, options.spheres)
    model = digest_of(
        body.template_m.tobytes(), body.joint_template_m.tobytes(), prior.means, prior.whiteners
    ).encode()
    store, outcome, entries, names = BestFits(out / "fits"), Outcome(), list[BestFit | None](), []
    for done, path in enumerate(pictures_of(folder)):
        name = path.relative_to(folder).as_posix()
        on_picture(done, name)
        names.append(name)
        try:
            entries.append(_fit_one(path, name, model, fitter, store, options, outcome))
        except AvatarError as error:
            outcome.failed[name] = str(error)
            entries.append(None)
    errors = [entry.fit.error_px for entry in entries if entry is not None]
    outcome.error_px = round(float(np.median(errors)), 2) if errors else None
    write_atomically(out / "fits.npz", collected(names, entries, len(body.parents)))
    return outcome


def _fit_one(
    path: Path,
    name: str,
    model: bytes,
    fitter: StillFitter,
    store: BestFits,
    options: FitOptions,
    outcome: Outcome,
) -> BestFit:
    """One picture's entry, improved where there is something new to try."""
    before = store.get(name)
    joints = keypoints_file(path)
    own = b"own landmarks" if joints is None else joints.read_bytes()
    choices = repr((options.field_of_view_deg, options.spheres is not None)).encode()
    size = path.stat()
    inputs = digest_of(model, own, choices, f"{size.st_size} {size.st_mtime_ns}".encode())
    wanted = [MEAN, *(initialiser.name for initialiser in options.initialisers)]
    if before is not None and before.inputs == inputs and set(wanted) <= set(before.tried):
        outcome.kept += 1
        return before
    image = read_still(path)
    camera = Camera.of_view(image.shape[1], image.shape[0], options.field_of_view_deg)
    seen = _seen(joints, image, camera, options, path)
    starts = [*seen.starts, *(one(image, seen, camera) for one in options.initialisers)]
    fit = fitter.fit(seen.points_px, seen.trust, camera, starts)
    outcome.fitted += 1
    return store.offer(name, BestFit(fit, camera.focal_px, tuple(wanted), inputs))


def _seen(joints: Path | None, image: U8, camera: Camera, options: FitOptions, path: Path) -> Seen:
    if joints is not None:
        return Seen(*read_openpose(joints))
    found = options.detector(image, camera) if options.detector is not None else None
    if found is None:
        raise SourceError(f"nobody is seen in {path}, and there is no {path.stem}{SUFFIX} for it")
    return found


def keypoints_file(picture: Path) -> Path | None:
    """OpenPose's file of a picture, beside it or in ``keypoints``."""
    name = picture.stem + SUFFIX
    found = (folder / name for folder in (picture.parent, picture.parent / "keypoints"))
    return next((path for path in found if path.is_file()), None)


def read_still(path: Path) -> U8:
    """(H, W, 3) RGB at its own size, upright as its metadata says.

    Raises:
        SourceError: it is no picture, or an impossibly large one.
    """
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MOST_PIXELS:
                raise SourceError(
                    f"expected at most {MOST_PIXELS // 10**6} megapixels in {path}, "
                    f"found {picture.width} x {picture.height}"
                )
            upright = ImageOps.exif_transpose(picture)
            return np.ascontiguousarray(np.asarray(upright.convert("RGB"), np.uint8))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise SourceError(f"expected a picture at {path}, found {error}") from error
