"""Opening and decoding video and picture files with PyAV, whatever is in them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from engine.errors import SourceError
from engine.sources.source import LONGEST_SIDE, MAX_PIXELS, SHORTEST_SIDE, fitted_size
from engine.types import U8

log = logging.getLogger(__name__)

DEFAULT_FPS = 30.0
NARROWEST_DEG, WIDEST_DEG = 10.0, 150.0
FOCAL_KEY = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
_EXIF, _FOCAL_35MM = 0x8769, 0xA405
TEXT_FORMATS = frozenset({"tty", "bin", "xbin", "idf"})
"""FFmpeg draws any text file as ANSI art."""


def open_container(path: Path) -> Any:
    """An open container whose header was read.

    Raises:
        SourceError: not a file, empty, unreadable, or not a format that FFmpeg knows.
    """
    if not path.is_file():
        raise SourceError(f"{path} is not a file; give a video, a picture or a webcam's number")
    if path.stat().st_size == 0:
        raise SourceError(f"{path} is empty (zero bytes); give a video or a picture")
    try:
        container = av.open(str(path))
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SourceError(
            f"{path} cannot be read as a video or picture ({_reason(error)}); give another file"
        ) from error
    if container.format.name in TEXT_FORMATS:
        container.close()
        raise SourceError(f"{path} cannot be read as a video or picture (it is text)")
    return container


def video_stream(container: Any, path: Path) -> Any:
    """The stream with moving pictures (a cover picture in a music file is not one).

    Raises:
        SourceError: there is none, or its pictures are too small or too large.
    """
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        raise SourceError(f"{path} has no pictures in it (only sound?); give a video or a picture")
    stream = streams[0]
    if stream.codec_context is None:
        raise SourceError(f"{path} is coded in a way that this FFmpeg cannot read; convert it")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width == 0 or height == 0:
        raise SourceError(f"{path} cannot be read as a video or picture; give another file")
    if min(width, height) < SHORTEST_SIDE or width * height > MAX_PIXELS:
        raise SourceError(
            f"{path} is {width}x{height}; pictures must be at least {SHORTEST_SIDE} pixels a "
            f"side and at most {MAX_PIXELS // 1_000_000} megapixels"
        )
    stream.thread_type = "AUTO"
    return stream


def decoded(container: Any, stream: Any) -> Iterator[Any]:
    """Every frame that decodes; damaged packets are left out, a damaged end ends the file."""
    skipped = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = packet.decode()
        except av.error.InvalidDataError:
            skipped += 1
            continue
        except (av.error.FFmpegError, OSError) as error:
            log.warning("the file breaks off: %s", _reason(error))
            break
        yield from (frame for frame in frames if not frame.is_corrupt)
    if skipped:
        log.warning("%d damaged packets were left out", skipped)


def pixel_aspect(stream: Any) -> float:
    """Width of a pixel over its height: anamorphic video is stretched sideways."""
    aspect = float(stream.sample_aspect_ratio or 1.0)
    return aspect if 0.25 <= aspect <= 4.0 else 1.0


def upright_size(frame: Any, aspect: float = 1.0) -> tuple[int, int]:
    """Width and height of the delivered picture: square pixels, turned upright, fitted."""
    width, height = round(frame.width * aspect), int(frame.height)
    if _quarter_turns(frame) % 2:
        width, height = height, width
    return fitted_size(width, height)


def picture_of(frame: Any, aspect: float = 1.0) -> U8:
    """The frame as (H, W, 3) RGB of ``upright_size``."""
    turns = _quarter_turns(frame)
    width, height = fitted_size(round(frame.width * aspect), frame.height)
    picture = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.ascontiguousarray(np.rot90(picture, turns))


def note_scale(path: Path, frame: Any) -> None:
    """Tell once that large pictures are scaled down."""
    if max(frame.width, frame.height) > LONGEST_SIDE:
        width, height = upright_size(frame)
        log.warning("%s is %dx%d, used at %dx%d", path, frame.width, frame.height, width, height)


def frame_rate(stream: Any) -> float:
    """Frames per second as the file says, or a usual one where it does not."""
    rate = stream.average_rate or stream.guessed_rate
    value = float(rate) if rate else DEFAULT_FPS
    return value if 0.1 <= value <= 1000.0 else DEFAULT_FPS


def field_of_view_deg(metadata: Mapping[str, str]) -> float | None:
    """Of the longer side, from the focal length that phones write into a film's header."""
    return view_of_35mm(metadata.get(FOCAL_KEY))


def picture_field_of_view_deg(path: Path) -> float | None:
    """The same of a photograph, from its EXIF."""
    try:
        with Image.open(path) as picture:
            return view_of_35mm(picture.getexif().get_ifd(_EXIF).get(_FOCAL_35MM))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None  # FFmpeg reads more formats than Pillow; a lens is not worth an error


def view_of_35mm(focal_mm: object) -> float | None:
    """The angle that the longer side of a 36 mm frame spans; None where it cannot be right."""
    try:
        length = float(str(focal_mm))
    except ValueError:
        return None
    if not length > 0.0 or not math.isfinite(length):
        return None
    angle = math.degrees(2.0 * math.atan(18.0 / length))
    return angle if NARROWEST_DEG <= angle <= WIDEST_DEG else None


def _quarter_turns(frame: Any) -> int:
    """Counter-clockwise quarter turns that bring the picture upright (display matrix)."""
    turns: int = round(frame.rotation / 90.0) % 4
    return turns


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
