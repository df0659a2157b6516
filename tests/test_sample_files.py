"""Rendered samples on disk: whole, under the name that was asked for, and checked when read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.errors import ModelFileError
from exporters.face_calibration.identity_samples import IdentitySamples
from exporters.face_calibration.sample_files import load_samples, save_samples

SAMPLES = IdentitySamples(np.arange(6.0).reshape(2, 3), np.ones((2, 5)))


@pytest.mark.parametrize("name", ["people301.npz", "people"])
def test_samples_are_where_they_were_put(tmp_path: Path, name: str) -> None:
    save_samples(SAMPLES, tmp_path / name)
    found = load_samples(IdentitySamples, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    np.testing.assert_array_equal(found.coefficients, SAMPLES.coefficients)
    np.testing.assert_array_equal(found.features, SAMPLES.features)


def test_half_a_file_and_a_foreign_one_are_named(tmp_path: Path) -> None:
    path = tmp_path / "people.npz"
    save_samples(SAMPLES, path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ModelFileError, match=r"people\.npz"):
        load_samples(IdentitySamples, path)
    np.savez(path, coefficients=np.ones(3))
    with pytest.raises(ModelFileError, match="features"):
        load_samples(IdentitySamples, path)
