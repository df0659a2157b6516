"""The lens: as the user says, else as the file says, else a usual webcam's."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from puppet import Puppet

from engine.fusion.base_avatar import BaseAvatar
from engine.inference.store import ModelStore
from engine.reconstructor import Reconstructor
from engine.sources import open_source
from engine.sources.decoding import FOCAL_KEY, field_of_view_deg, view_of_35mm
from engine.types import Camera, Identity

EXIF_IFD, FOCAL_35MM = 0x8769, 0xA405


def photograph(path: Path, focal_mm: int | None) -> Path:
    exif = Image.Exif()
    if focal_mm is not None:
        exif.get_ifd(EXIF_IFD)[FOCAL_35MM] = focal_mm
    Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(path, exif=exif)
    return path


def test_the_longer_side_spans_the_angle() -> None:
    for width, height in ((640, 480), (480, 640)):
        camera = Camera.of_view(width, height, 90.0)
        assert camera.focal_px == pytest.approx(320.0)
        assert (camera.cx, camera.cy) == ((width - 1) / 2, (height - 1) / 2)
    assert Camera.of_view(640, 480, None) == Camera.from_size(640, 480)


def test_a_photograph_and_a_film_say_their_focal_length(tmp_path: Path) -> None:
    with open_source(str(photograph(tmp_path / "phone.jpg", 26))) as source:
        assert source.field_of_view_deg == pytest.approx(69.39, abs=0.01)
    with open_source(str(photograph(tmp_path / "plain.jpg", None))) as source:
        assert source.field_of_view_deg is None
    assert field_of_view_deg({FOCAL_KEY: "18"}) == pytest.approx(90.0)
    assert field_of_view_deg({}) is None


@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf", "wide", "", None, 1e9, 0.1, [1]])
def test_a_focal_length_that_cannot_be_is_no_focal_length(value: object) -> None:
    assert view_of_35mm(value) is None


def test_the_user_overrules_the_file_and_a_wider_lens_brings_people_nearer(
    model_cache: ModelStore,
) -> None:
    base = BaseAvatar.load(model_cache)
    puppet = Puppet(base.model)
    puppet.natural(np.random.default_rng(1), 0.2)
    seen, depths = puppet.see(0), {}
    for name, own, of_file in (("usual", None, None), ("file", None, 90.0), ("user", 90.0, 30.0)):
        reconstructor = Reconstructor(base, Identity(), own)
        reconstructor.look_through(of_file)
        state, _, _ = reconstructor.reconstruct(seen, pose=False)
        depths[name] = -float(state.translation_m[2])
    assert depths["user"] == pytest.approx(depths["file"], abs=1e-4)
    expected = math.tan(math.radians(30.0)) / math.tan(math.radians(45.0))
    assert depths["file"] / depths["usual"] == pytest.approx(expected, rel=0.06)
