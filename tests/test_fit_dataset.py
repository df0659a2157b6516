"""``sars fit``: a kill loses nothing, nothing is fitted twice, better fits replace worse ones."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from body_files import write_npz
from people_files import person_arrays
from PIL import Image
from test_stills import CAMERA, Person

from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.parametric_body import ParametricBody
from engine.body.pose_priors import shipped_prior
from engine.body.stills import Start, StillFit
from engine.errors import ModelFileError, SourceError
from engine.inference.store import ModelStore
from engine.types import U8, Camera
from exporters.body_models.smpl import read_smpl
from exporters.fitting.best_fits import BestFit, BestFits
from exporters.fitting.dataset import FitOptions, Seen, fit_dataset, pictures_of
from exporters.fitting.keypoints import BODY_25, NAMES, arranged, landmarks_of, read_openpose
from exporters.fitting.priors import read_any_prior


@pytest.fixture(scope="module")
def model_file(model_cache: ModelStore, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = BodyModel.load(model_cache.path(FILE_NAME))
    return write_npz(person_arrays(model, "SMPL"), tmp_path_factory.mktemp("m") / "SMPL.npz")


@pytest.fixture(scope="module")
def body(model_file: Path) -> ParametricBody:
    return read_smpl(model_file)


def openpose_of(points: np.ndarray, trust: np.ndarray) -> str:
    rows = np.zeros((25, 3))
    for name, point, sure in zip(NAMES, points, trust, strict=True):
        rows[BODY_25.index(name)] = *point, sure
    return json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": rows.ravel().tolist()}]})


def make_dataset(folder: Path, body: ParametricBody, count: int) -> list[Person]:
    people = [Person(body, seed) for seed in range(count)]
    (folder / "keypoints").mkdir(parents=True)
    for n, person in enumerate(people):
        picture = np.full((480, 640, 3), n, np.uint8)
        Image.fromarray(picture).save(folder / f"{n:02}.png")
        text = openpose_of(person.points_px, np.ones(len(NAMES)))
        (folder / "keypoints" / f"{n:02}_keypoints.json").write_text(text)
    return people


def test_every_picture_gets_its_fit_in_spins_names(body: ParametricBody, tmp_path: Path) -> None:
    people = make_dataset(tmp_path / "in", body, 3)
    done = fit_dataset(tmp_path / "in", tmp_path / "out", body, shipped_prior(), FitOptions())
    assert (done.fitted, done.kept, done.failed) == (3, 0, {})
    with np.load(tmp_path / "out" / "fits.npz") as found:
        assert found["imgname"].tolist() == ["00.png", "01.png", "02.png"]
        assert found["pose"].shape == (3, 72)
        assert found["shape"].shape == (3, 10)
        assert found["has_smpl"].all()
        np.testing.assert_allclose(found["focal"], CAMERA.focal_px)
        assert found["error_px"].max() < 3.0
        assert np.abs(found["trans"] - people[0].place).max() < 0.6


def test_a_second_run_does_nothing_and_new_joints_are_fitted_anew(
    body: ParametricBody, tmp_path: Path
) -> None:
    make_dataset(tmp_path / "in", body, 3)
    arguments = (tmp_path / "in", tmp_path / "out", body, shipped_prior(), FitOptions())
    fit_dataset(*arguments)
    before = (tmp_path / "out" / "fits.npz").read_bytes()
    again = fit_dataset(*arguments)
    assert (again.fitted, again.kept) == (0, 3)
    other = Person(body, 9)
    text = openpose_of(other.points_px, np.ones(len(NAMES)))
    (tmp_path / "in" / "keypoints" / "01_keypoints.json").write_text(text)
    third = fit_dataset(*arguments)
    assert (third.fitted, third.kept) == (1, 2)
    assert (tmp_path / "out" / "fits.npz").read_bytes() != before


class Knows:
    """An initialiser that is right, or useless."""

    def __init__(self, name: str, people: list[Person], right: bool) -> None:
        self.name, self._people, self._right = name, people, right

    def __call__(self, image: U8, seen: Seen, camera: Camera) -> Start:
        person = self._people[int(image[0, 0, 0])]
        rotations = person.rotations if self._right else np.full_like(person.rotations, 0.9)
        return Start(self.name, rotations, person.betas, person.place if self._right else None)


def test_another_initialiser_only_ever_improves(body: ParametricBody, tmp_path: Path) -> None:
    people = make_dataset(tmp_path / "in", body, 4)

    def costs(*initialisers: Knows) -> np.ndarray:
        options = FitOptions(initialisers=initialisers)
        done = fit_dataset(tmp_path / "in", tmp_path / "out", body, shipped_prior(), options)
        assert not done.failed
        with np.load(tmp_path / "out" / "fits.npz") as found:
            return np.asarray(found["cost"])

    first = costs()
    useless = costs(Knows("useless", people, False))
    assert (useless <= first).all()
    right = costs(Knows("right", people, True))
    assert (right <= useless).all()
    assert right.mean() < first.mean()
    np.testing.assert_array_equal(costs(), right)


def test_one_bad_picture_does_not_stop_the_others(body: ParametricBody, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    make_dataset(folder, body, 5)
    (folder / "00.png").write_bytes(b"no picture")
    (folder / "keypoints" / "01_keypoints.json").write_text('{"people": []}')
    (folder / "keypoints" / "02_keypoints.json").write_text("{")
    (folder / "keypoints" / "03_keypoints.json").unlink()
    done = fit_dataset(folder, tmp_path / "out", body, shipped_prior(), FitOptions())
    assert done.fitted == 1
    assert "expected a picture at" in done.failed["00.png"]
    assert "shows nobody" in done.failed["01.png"]
    assert "expected OpenPose's JSON" in done.failed["02.png"]
    assert "nobody is seen in" in done.failed["03.png"]
    with np.load(tmp_path / "out" / "fits.npz") as found:
        assert found["has_smpl"].tolist() == [0, 0, 0, 0, 1]


def test_a_damaged_entry_is_fitted_again(body: ParametricBody, tmp_path: Path) -> None:
    make_dataset(tmp_path / "in", body, 2)
    arguments = (tmp_path / "in", tmp_path / "out", body, shipped_prior(), FitOptions())
    fit_dataset(*arguments)
    entry = next((tmp_path / "out" / "fits").glob("*.npz"))
    entry.write_bytes(entry.read_bytes()[:200])
    again = fit_dataset(*arguments)
    assert (again.fitted, again.kept, again.failed) == (1, 1, {})


@pytest.mark.slow
def test_a_fit_that_is_killed_goes_on_where_it_was(
    model_file: Path, body: ParametricBody, tmp_path: Path
) -> None:
    make_dataset(tmp_path / "in", body, 40)
    command = [sys.executable, "-m", "sars", "fit", str(tmp_path / "in")]
    command += ["--model", str(model_file), "--out", str(tmp_path / "out")]
    root = Path(__file__).parents[1]
    entries = tmp_path / "out" / "fits"
    running = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(entries.glob("[!.]*.npz"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    written = {path: path.stat().st_mtime_ns for path in entries.glob("[!.]*.npz")}
    assert 5 <= len(written) < 40, "killed in the middle"
    report = tmp_path / "report.json"
    subprocess.run([*command, "--json", str(report)], cwd=root, check=True, capture_output=True)
    numbers = json.loads(report.read_text())
    assert numbers["kept"] == len(written)
    assert numbers["fitted"] == 40 - len(written)
    assert numbers["failed"] == 0
    assert all(path.stat().st_mtime_ns == then for path, then in written.items())
    with np.load(tmp_path / "out" / "fits.npz") as found:
        assert found["has_smpl"].all()


def test_the_better_fit_is_kept(tmp_path: Path) -> None:
    store = BestFits(tmp_path)

    def entry(cost: float, start: str, inputs: str = "a") -> BestFit:
        fit = StillFit(np.zeros((24, 3)), np.zeros(10), np.zeros(3), cost, 1.0, start)
        return BestFit(fit, 500.0, (start,), inputs)

    store.offer("folder/x.png", entry(2.0, "mean"))
    store.offer("folder/x.png", entry(3.0, "spin"))
    kept = store.get("folder/x.png")
    assert kept is not None
    assert (kept.fit.cost, kept.fit.start, kept.tried) == (2.0, "mean", ("mean", "spin"))
    store.offer("folder/x.png", entry(1.0, "landmarks"))
    assert store.get("folder/x.png").fit.start == "landmarks"  # type: ignore[union-attr]
    store.offer("folder/x.png", entry(9.0, "mean", "other joints"))
    assert store.get("folder/x.png").fit.cost == 9.0  # type: ignore[union-attr]
    assert store.get("y.png") is None


def test_folders_without_pictures_and_foreign_models_are_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="found none at"):
        pictures_of(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="found 0"):
        pictures_of(tmp_path)


def test_openposes_missing_joints_are_not_at_the_corner(tmp_path: Path) -> None:
    rows = np.full((25, 3), 50.0)
    rows[:, 2] = 2.0
    rows[0] = 0.0
    rows[4, 0] = np.nan
    points, trust = arranged(BODY_25, rows)
    assert trust[NAMES.index("nose")] == 0.0
    assert trust[NAMES.index("right_wrist")] == 0.0
    assert trust.max() == 1.0
    assert points[NAMES.index("left_hip")].tolist() == [50.0, 50.0]
    path = tmp_path / "x_keypoints.json"
    path.write_text(json.dumps({"people": [{"pose_keypoints_2d": [1.0] * 12}]}))
    with pytest.raises(SourceError, match="neither 25 nor 17"):
        read_openpose(path)


def test_smplifys_own_prior_is_read_as_data(tmp_path: Path) -> None:
    import pickle

    mixture = {
        "means": np.zeros((2, 69)),
        "covars": np.tile(np.eye(69), (2, 1, 1)),
        "weights": np.array([0.4, 0.6]),
    }
    path = tmp_path / "gmm_08.pkl"
    path.write_bytes(pickle.dumps(mixture, protocol=2))
    assert read_any_prior(path).means.shape == (2, 63)
    path.write_bytes(pickle.dumps({"means": np.zeros((2, 69))}, protocol=2))
    with pytest.raises(ModelFileError, match="expected means, covars and weights"):
        read_any_prior(path)


def test_a_cloud_is_no_body_of_that_family(body: ParametricBody) -> None:
    from dataclasses import replace

    with pytest.raises(SourceError, match="expected a body of SMPL's family"):
        landmarks_of(
            replace(
                body,
                template_m=body.template_m[:100],
                shape_dirs_m=body.shape_dirs_m[:, :300],
                pose_dirs_m=body.pose_dirs_m[:, :300],
                weights=body.weights[:100],
                faces=body.faces[:0],
            )
        )
