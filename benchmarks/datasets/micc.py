"""``sars eval micc``: the Florence 2D/3D faces of MICC (Bagdanov et al. 2011) as distributed.

    subject_01/Model/frontal1/obj/*.obj        a scan, millimetres, upright and facing +Z
    subject_01/Video/Indoor-Cooperative.mjpg  PTZ-Indoor.mjpg  PTZ-Outdoor.mjpg

Films may be of other kinds or folders of pictures, and lie in Videos: their names say the setting.
Each person is watched in each setting, and the head that is known of them at the end
(:mod:`benchmarks.datasets.watching`) is compared with the scan: cropped to 95 mm around the nose
tip, registered by ICP, the average symmetric point-to-plane distance (Table I). The paper says
rigid, so that is what stands beside its figure; with a scale, as others measure the heads that one
camera sees, is ``ours_scaled``. The nose tip of a scan is what sticks out most near its middle;
where a scan lies otherwise, ``nose.txt`` beside it (x y z in its millimetres) says where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.datasets.lpips import Lpips
from benchmarks.datasets.paper import TABLE_1_MICC_MM, TABLE_2_LPIPS, beside
from benchmarks.datasets.pictures import PictureFrames
from benchmarks.datasets.watching import Watched, watch_person
from benchmarks.heads.ict_people import LANDMARKS_478, NOSE_TIP
from benchmarks.heads.surface_error import Head, HeadError, measure
from engine.avatar.anny import PART_NAMES, BodyModel
from engine.engine import EngineOptions
from engine.errors import AvatarError, SourceError
from engine.face.landmark_embedding import default_embedding
from engine.reconstructor import Reconstructor
from engine.rendering.offscreen import OffscreenRenderer
from engine.sources.opening import PICTURE_SUFFIXES
from engine.sources.source import Source
from engine.sources.video import VideoSource
from engine.types import F32, F64
from exporters.face_models.obj import read_mesh

SETTINGS = ("cooperative", "indoor", "outdoor")
VIDEO_SUFFIXES = frozenset(
    {".mjpg", ".mjpeg", ".avi", ".mp4", ".mov", ".mkv", ".mpg", ".mpeg", ".m4v"}
)
FPS = 25.0
AXIS_M = 0.05
FACE_SIDE, FACE_ROOM = 256, 0.2
"""Pixels of the pictures that LPIPS compares, and how much they show around the face."""
_CURE = "give the folder that holds MICC's subject_01, subject_02 and so on"


def subjects_of(folder: Path) -> list[Path]:
    """The people, in order.

    Raises:
        SourceError: there are none.
    """
    found = sorted(path for path in folder.glob("subject_*") if path.is_dir())
    if not found:
        raise SourceError(f"expected folders such as subject_01 in {folder}; {_CURE}")
    return found


def scan_of(subject: Path) -> Path:
    """The frontal scan's OBJ.

    Raises:
        SourceError: there is none.
    """
    inside = subject / "Model"
    found = sorted(inside.glob("frontal1/**/*.obj")) or sorted(inside.glob("**/*.obj"))
    if not found:
        raise SourceError(f"expected a scan such as {inside}/frontal1/obj/*.obj; {_CURE}")
    return found[0]


def films_of(subject: Path) -> dict[str, Path]:
    """Which film, or folder of pictures, shows which setting; those that are there.

    "Indoor-Cooperative" is the cooperative one: its name has both words.
    """
    found: dict[str, Path] = {}
    for path in sorted(subject.rglob("*")):
        name = path.name.lower()
        is_film = path.suffix.lower() in VIDEO_SUFFIXES and path.is_file()
        if not is_film and not (path.is_dir() and _pictures(path)):
            continue
        words = f"{path.parent.name.lower()} {name}"
        setting = next((setting for setting in SETTINGS if setting in words), None)
        if setting is not None:
            found.setdefault(setting, path)
    return found


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)


def read_scan(path: Path) -> Head:
    """A scan in metres.

    Raises:
        ModelFileError: the file is damaged or too large.
        SourceError: it is no scan of a face in millimetres.
    """
    mesh = read_mesh(path)
    corners = mesh.polygons
    triangles = corners[:, :3]
    quads = corners[corners[:, 3] >= 0][:, [0, 2, 3]]
    faces = np.ascontiguousarray(np.concatenate([triangles, quads]), np.int32)
    vertices = mesh.vertices * 1e-3
    size = np.ptp(vertices, axis=0) if len(vertices) else np.zeros(3)
    if not len(faces) or not 0.1 < float(size.max()) < 1.0:
        raise SourceError(
            f"expected a scan of a face in millimetres in {path}, found {len(faces)} triangles "
            f"that span {1e3 * float(size.max()):.0f}"
        )
    tip = _nose_tip(path, vertices)
    return Head(vertices, faces, _axes_at(tip), 0)


def _nose_tip(path: Path, vertices: F64) -> F64:
    """(3,) as ``nose.txt`` says; else what sticks out most in the middle third of the scan."""
    note = path.with_name("nose.txt")
    if note.is_file():
        try:
            words = note.read_text(encoding="utf-8")[:200].split()
            tip = np.array([float(word) for word in words]).reshape(3) * 1e-3
        except ValueError as error:
            raise SourceError(f"expected x y z in millimetres in {note}, found {error}") from error
        if np.isfinite(tip).all():
            return tip
        raise SourceError(f"expected finite millimetres in {note}")
    low, size = vertices.min(axis=0), np.ptp(vertices, axis=0)
    share = (vertices - low) / np.maximum(size, 1e-9)
    middle = (np.abs(share[:, :2] - 0.5) < 1.0 / 6.0).all(axis=1)
    near = vertices[middle] if middle.any() else vertices
    return np.asarray(near[np.argmax(near[:, 2])], np.float64)


def _axes_at(tip: F64) -> F64:
    """(4, 3) a point and three beside it: says where a head is and how it is turned."""
    return np.vstack([tip, tip + AXIS_M * np.eye(3)])


def head_of(model: BodyModel, rest_vertices_m: F32) -> Head:
    """Ours, its skin alone."""
    vertices = rest_vertices_m[: len(model.template_m)]
    faces = model.faces[model.face_parts == PART_NAMES.index("head")]
    points = default_embedding().landmarks_m(vertices)[list(LANDMARKS_478)]
    return Head(
        vertices.astype(np.float64), faces, _axes_at(points[NOSE_TIP].astype(np.float64)), 0
    )


async def eval_micc(
    folder: Path,
    options: EngineOptions,
    lpips: Lpips | None = None,
    on_subject: Callable[[int, str], None] = lambda _done, _name: None,
) -> dict[str, Any]:
    """Watch every person in every setting and compare: Table I, and Table II with weights.

    Args:
        folder: of the data set.
        options: of the engine.
        lpips: the user's weights of it, for Table II.
        on_subject: told how many people are done, and the next one's name.

    Raises:
        SourceError: the folder is not MICC's, or nobody of it could be compared.
    """
    errors: dict[str, dict[str, HeadError]] = {setting: {} for setting in SETTINGS}
    failed: dict[str, str] = {}
    likeness: list[float] = []
    for done, subject in enumerate(subjects_of(folder)):
        on_subject(done, subject.name)
        try:
            scan, films = read_scan(scan_of(subject)), films_of(subject)
        except AvatarError as error:
            failed[subject.name] = str(error)
            continue
        for setting in SETTINGS:
            try:
                if setting not in films:
                    raise SourceError(f"expected a film of {setting} in {subject}; {_CURE}")
                seen = await watch_person(options, partial(_open, films[setting]))
                errors[setting][subject.name] = _compared(seen, scan, films[setting])
                if lpips is not None:
                    likeness.append(_likeness(films[setting], seen, lpips))
            except AvatarError as error:
                failed[f"{subject.name} {setting}"] = str(error)
    if not any(errors.values()):
        raise SourceError(next(iter(failed.values())))
    settings = {setting: _numbers(found) for setting, found in errors.items() if found}
    rigid = {setting: numbers["rigid_mm"] for setting, numbers in settings.items()}
    scaled = {setting: numbers["scaled_mm"] for setting, numbers in settings.items()}
    people = {name for found in errors.values() for name in found}
    count = sum(len(found) for found in errors.values())
    return {
        "ran": f"{len(people)} people, {count} films",
        "not_measured": {} if lpips else {"table_2": "no weights"},
        "table_1": beside(TABLE_1_MICC_MM, rigid, ours_scaled=scaled),
        "settings": settings,
        "table_2": beside({"lpips": TABLE_2_LPIPS}, _mean_likeness(likeness)),
        "pictures_for_lpips": len(likeness),
        "failed": failed,
    }


def _compared(seen: Watched, scan: Head, film: Path) -> HeadError:
    """The head that is known at a film's end, against the scan."""
    if all(one.face is None for one in seen.observations):
        raise SourceError(f"no face is seen in {film}")
    fitted = seen.base.fitted_of(seen.identity)
    return measure(head_of(seen.base.model, fitted.rest_vertices_m), scan)


def _numbers(errors: Mapping[str, HeadError]) -> dict[str, float]:
    """Of one setting's people."""
    rigid, scaled = ([getattr(e, n) for e in errors.values()] for n in ("rigid_mm", "scaled_mm"))
    return {
        "people": len(errors),
        "rigid_mm": round(float(np.mean(rigid)), 3),
        "rigid_std_mm": round(float(np.std(rigid)), 3),
        "scaled_mm": round(float(np.mean(scaled)), 3),
        "scaled_std_mm": round(float(np.std(scaled)), 3),
    }


def _mean_likeness(likeness: list[float]) -> dict[str, float]:
    return {"lpips": round(float(np.mean(likeness)), 4)} if likeness else {}


def _likeness(film: Path, seen: Watched, lpips: Lpips) -> float:
    """LPIPS between the middle picture with a face, and the same with our head drawn over it."""
    rows = [n for n, one in enumerate(seen.observations) if one.face is not None]
    row = rows[len(rows) // 2]
    observation = seen.observations[row]
    assert observation.face is not None
    with _open(film) as source:
        picture = next(islice(iter(source), row, None)).image
    person = Reconstructor(seen.base, seen.identity, seen.field_of_view_deg)
    state, mesh, _ = person.reconstruct(observation)
    assert mesh is not None
    with OffscreenRenderer(observation.width, observation.height) as renderer:
        renderer.set_texture(person.avatar.texture)
        renderer.set_background(picture)
        drawn = renderer.render(mesh, state.camera)
    points = observation.face.points_px[:, :2]
    low, high = points.min(axis=0), points.max(axis=0)
    room, ends = FACE_ROOM * (high - low), (observation.width, observation.height)
    left, top = np.clip(low - room, 0, ends).astype(int)
    right, bottom = np.clip(high + room, 0, ends).astype(int)
    if right <= left or bottom <= top:
        raise SourceError(f"the face in the middle of {film} lies outside of the picture")
    size = (FACE_SIDE, FACE_SIDE)
    both = [
        cv2.resize(image[top:bottom, left:right], size, interpolation=cv2.INTER_AREA)
        for image in (picture, drawn)
    ]
    return lpips(*(np.asarray(image, np.uint8) for image in both))


def _open(film: Path) -> Source:
    if film.is_dir():
        return PictureFrames(_pictures(film), FPS, None)
    return VideoSource(film)
