"""From what the user typed to an open source."""

from __future__ import annotations

from pathlib import Path

from engine.errors import SourceError
from engine.sources.decoding import picture_field_of_view_deg
from engine.sources.picture import PictureSource, read_picture
from engine.sources.portrait import portrait
from engine.sources.source import Source
from engine.sources.video import VideoSource

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"})
CAMERA_DIGITS = 4
SHOWN = 60
"""Characters of what was typed that an error repeats."""
CHOICES = (
    "a webcam's number (0), the path of a video or picture, `portrait`, `performer`, "
    "`performer:full` or `performer:motion.bvh`"
)


def open_source(spec: str, *, paced: bool = False, frames: int | None = None) -> Source:
    """Open whatever SOURCE names.

    Args:
        spec: a webcam's number, a path, ``portrait`` or ``performer[:...]``
            (see :mod:`engine.sources.performer`).
        paced: give frames in real time; a webcam always does.
        frames: how many, for sources without an end of their own (pictures, the performer).

    Raises:
        SourceError: one sentence on what is wrong with it.
        ModelFileError: the performer needs the baked body, which is not there.
    """
    if spec.isdecimal():
        return _webcam(spec)
    if spec == "portrait":
        return PictureSource(portrait(), frames=frames, paced=paced)
    kind, _, rest = spec.partition(":")
    if kind == "performer":
        return _performer(rest, paced, frames)
    return _file(user_path(spec), paced, frames)


def user_path(text: str) -> Path:
    """A path as the user typed it, with ``~`` for a home folder; nothing may be there.

    Raises:
        SourceError: no file can have this name, there is no such user, or a folder on the way
            is closed to this one.
    """
    try:
        path = Path(text).expanduser()
        path.exists()  # raises here, where it is one sentence, what every later look would raise
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(
            f"{shortened(text)} cannot be looked at ({reason}); SOURCE is {CHOICES}"
        ) from error
    return path


def shortened(text: str) -> str:
    """What was typed, as an error may repeat it."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _webcam(digits: str) -> Source:
    from engine.sources.webcam import WebcamSource  # OpenCV's video part takes a while to load

    if len(digits) > CAMERA_DIGITS:
        raise SourceError(f"there is no camera {shortened(digits)}; SOURCE is {CHOICES}")
    return WebcamSource(int(digits))


def _performer(rest: str, paced: bool, frames: int | None) -> Source:
    try:
        from engine.sources.performer import open_performer  # needs OpenGL
    except ImportError as error:
        raise SourceError(
            f"the performer needs OpenGL bindings ({error}); run `pip install moderngl`"
        ) from error
    return open_performer(rest, paced=paced, frames=frames)


def _file(path: Path, paced: bool, frames: int | None) -> Source:
    if not path.exists():
        raise SourceError(f"there is no {path}; SOURCE is {CHOICES}")
    if path.suffix.lower() in PICTURE_SUFFIXES:
        view = picture_field_of_view_deg(path)
        picture = read_picture(path)
        return PictureSource(picture, frames=frames, paced=paced, field_of_view_deg=view)
    return VideoSource(path, paced=paced)
