"""The makers' files that say which point of one model is which of another's."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from body_files import SIZES
from body_twins import twin_vertices, write_twin

from engine.avatar.anny import BodyModel
from engine.avatar.parametric_body import anny_as_body
from engine.body.model_conversion import BodyMotion, ModelConverter
from engine.body.shape_space import anny_space
from engine.errors import ModelFileError
from engine.inference.store import BODY_FILE, ModelStore
from exporters.body_models.smpl import read_smpl
from exporters.body_models.transfer_setup import read_transfer

sparse = pytest.importorskip("scipy.sparse", reason="writes the files; of the set-up extra")
COUNT = SIZES["SMPL-X"][0]


@pytest.fixture(scope="module")
def model(model_cache: ModelStore) -> BodyModel:
    return BodyModel.load(model_cache.path(BODY_FILE))


@pytest.fixture(scope="module")
def onto(model: BodyModel) -> np.ndarray:
    return twin_vertices("SMPL-X", model)


def written(path: Path, matrix: Any, name: str = "mtx") -> Path:
    path.write_bytes(pickle.dumps({name: matrix}, protocol=2))
    return path


def matrix_of(onto: np.ndarray) -> Any:
    shares = 1.0 / np.bincount(onto)[onto]
    return sparse.coo_matrix((shares, (onto, np.arange(len(onto)))), (COUNT, 2 * len(onto)))


@pytest.mark.parametrize("kind", ["csc_matrix", "csr_matrix", "coo_matrix"])
def test_every_kind_of_matrix_is_the_same_points(
    kind: str, onto: np.ndarray, tmp_path: Path
) -> None:
    path = written(tmp_path / "a.pkl", getattr(sparse, kind)(matrix_of(onto)))
    points = np.random.default_rng(0).normal(size=(len(onto), 3))
    wanted = matrix_of(onto).tocsr()[:, : len(onto)] @ points
    found = read_transfer(path, len(onto), COUNT)
    np.testing.assert_allclose(found.on(points), wanted, atol=1e-12)
    assert found.among(np.array([5, 3], np.int32)).rows.tolist() == [3, 5]


def test_told_points_are_used_and_found_ones_lie_beside_them(
    model: BodyModel, onto: np.ndarray, tmp_path: Path
) -> None:
    """The nearest points of another mesh, in another rest pose, against the true ones."""
    anny, space = anny_as_body(model), anny_space(model)
    smplx = read_smpl(write_twin("SMPL-X", model, tmp_path / "SMPLX_NEUTRAL.npz"))
    told = read_transfer(written(tmp_path / "a.pkl", matrix_of(onto)), len(onto), COUNT)
    found = ModelConverter(anny, smplx, source_space=space).pairs
    rest = anny.template_m + (space.mean @ anny.shape_dirs_m[: anny.betas]).reshape(-1, 3)
    apart = np.linalg.norm(found.on(rest) - told.among(found.rows).on(rest), axis=1)
    assert 1e3 * np.median(apart) < 2.0 and 1e3 * np.percentile(apart, 95) < 12.0
    still = np.zeros((1, len(anny.parents), 3), np.float32)
    motion = BodyMotion(space.betas(np.zeros(len(space.components))), still, still[:, 0])
    exact = ModelConverter(anny, smplx, source_space=space, known=told).convert(motion)
    assert exact.error.vertices_mm["all"].mean < 0.4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.tocsr()[:100], "expected mtx .*found .100"),
        (lambda m: m.tocsr() * 0.5, "do not sum to 1"),
        (lambda m: sparse.csr_matrix(m.shape), "1 to 3 corners"),
        (lambda m: np.ones(3), "no sparse matrix mtx"),
        (lambda m: {}, "no sparse matrix mtx"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    change: Any, words: str, onto: np.ndarray, tmp_path: Path
) -> None:
    path = written(tmp_path / "bad.pkl", change(matrix_of(onto)))
    with pytest.raises(ModelFileError, match=words):
        read_transfer(path, len(onto), COUNT)
    with pytest.raises(ModelFileError, match="does not exist"):
        read_transfer(tmp_path / "none.pkl", len(onto), COUNT)
