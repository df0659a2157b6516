"""SMPLify on stills: the priors, known people found again, limbs kept out of bellies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from body_files import write_npz
from people_files import person_arrays

from benchmarks.similarity import aligned
from engine.avatar.anny import FILE_NAME, BodyModel
from engine.avatar.parametric_body import ParametricBody
from engine.body.parametric_forward import BodyPoser
from engine.body.pose_priors import PosePrior, limit_residuals, shipped_prior
from engine.body.stills import BETAS, BONES, Start, StillFit, StillFitter, spheres_of
from engine.errors import AvatarError, ModelFileError
from engine.inference.store import ModelStore
from engine.types import Camera
from exporters.body_models.smpl import read_smpl
from exporters.fitting.keypoints import JOINTS, NAMES, landmarks_of

CAMERA = Camera.from_size(640, 480)


@pytest.fixture(scope="module", params=["SMPL", "SMPL-X"])
def body(
    request: pytest.FixtureRequest,
    model_cache: ModelStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> ParametricBody:
    """A person in the official layout, that is not SMPL."""
    model = BodyModel.load(model_cache.path(FILE_NAME))
    folder = tmp_path_factory.mktemp("models")
    return read_smpl(write_npz(person_arrays(model, request.param), folder / "model.npz"))


class Person:
    """Somebody whose pose and shape are known, and what a perfect detector sees of them."""

    def __init__(self, body: ParametricBody, seed: int) -> None:
        rng, prior = np.random.default_rng(seed), shipped_prior()
        self.rotations = np.zeros((len(body.parents), 3))
        mean = prior.means[rng.integers(len(prior.means))]
        self.rotations[1:22] = (mean + rng.normal(size=63) * 0.1).reshape(21, 3)
        self.rotations[0] = rng.normal() * 0.1, rng.uniform(-3.0, 3.0), 0.0
        self.betas = rng.normal(size=10) * 0.7
        self.place = np.array([0.1, 0.0, -3.0])
        self.joints, self.points_px = posed(body, self.rotations, self.betas, self.place)


def posed(
    body: ParametricBody, rotations: np.ndarray, betas: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(22, 3) joints and (23, 2) pixels of NAMES."""
    poser = BodyPoser(body)
    poser.shape(betas.astype(np.float32))
    skin = poser.pose(rotations.astype(np.float32), place.astype(np.float32)).astype(float)
    joints = poser.joints_m.astype(float) + place
    points = np.array(
        [skin[k.vertex] if k.vertex >= 0 else joints[k.joint] for k in landmarks_of(body)]
    )
    scale = CAMERA.focal_px / -points[:, 2]
    pixels = [CAMERA.cx + scale * points[:, 0], CAMERA.cy - scale * points[:, 1]]
    return joints[: len(JOINTS)], np.stack(pixels, axis=1)


def error_mm(body: ParametricBody, fit: StillFit, person: Person) -> float:
    found, _ = posed(body, fit.rotations, fit.betas, fit.translation_m)
    apart = aligned(found, person.joints, scaled=True) - person.joints
    return 1e3 * float(np.linalg.norm(apart, axis=1).mean())


def test_known_people_are_found_from_nothing(body: ParametricBody) -> None:
    """From the front, the side and behind, by their 2D joints alone."""
    fitter = StillFitter(body, landmarks_of(body), shipped_prior())
    errors = []
    for seed in range(8):
        person = Person(body, seed)
        fit = fitter.fit(person.points_px, np.ones(len(NAMES)), CAMERA)
        assert fit.error_px < 3.0
        errors.append(error_mm(body, fit, person))
    assert np.median(errors) < 35.0
    assert max(errors) < 80.0


def test_a_start_that_knows_better_helps(body: ParametricBody) -> None:
    fitter = StillFitter(body, landmarks_of(body), shipped_prior())
    gained = []
    for seed in range(4):
        person = Person(body, seed)
        start = Start("truth", person.rotations, person.betas, person.place)
        trust = np.ones(len(NAMES))
        alone = fitter.fit(person.points_px, trust, CAMERA)
        helped = fitter.fit(person.points_px, trust, CAMERA, [start])
        assert helped.start == "truth" or helped.cost < alone.cost
        gained.append(error_mm(body, alone, person) - error_mm(body, helped, person))
    assert np.mean(gained) > 2.0


def test_wrong_joints_and_missing_ones_are_lived_with(body: ParametricBody) -> None:
    fitter, person = StillFitter(body, landmarks_of(body), shipped_prior()), Person(body, 0)
    trust, pixels = np.ones(len(NAMES)), person.points_px.copy()
    whole = error_mm(body, fitter.fit(pixels, trust, CAMERA), person)
    pixels[NAMES.index("left_wrist")] += 150.0
    pixels[NAMES.index("nose")] = np.nan
    trust[NAMES.index("right_ear")] = 0.0
    fit = fitter.fit(pixels, trust, CAMERA)
    assert np.isfinite(fit.rotations).all()
    assert error_mm(body, fit, person) < whole + 40.0


def test_too_little_to_tell_a_pose_is_said(body: ParametricBody) -> None:
    fitter, person = StillFitter(body, landmarks_of(body), shipped_prior()), Person(body, 0)
    trust = np.zeros(len(NAMES))
    with pytest.raises(AvatarError, match="a pose cannot be told"):
        fitter.fit(person.points_px, trust, CAMERA)
    legs = [
        NAMES.index(f"{side}_{part}")
        for side in ("left", "right")
        for part in ("knee", "ankle", "heel")
    ]
    trust[legs] = 1.0
    with pytest.raises(AvatarError, match="three of shoulders and hips"):
        fitter.fit(person.points_px, trust, CAMERA)
    with pytest.raises(AvatarError, match="expected 23 2D joints"):
        fitter.fit(person.points_px[:5], trust[:5], CAMERA)
    nowhere = np.full_like(person.points_px, np.nan)
    with pytest.raises(AvatarError, match="found 0"):
        fitter.fit(nowhere, np.ones(len(NAMES)), CAMERA)


def test_priors_slopes_are_exact() -> None:
    rng = np.random.default_rng(0)
    prior = shipped_prior()
    for residuals in (lambda t: prior.residuals(t)[:2], limit_residuals):
        theta = rng.normal(size=63) * 0.3
        _, jacobian = residuals(theta)
        steps = np.eye(63) * 1e-6
        numeric = [(residuals(theta + s)[0] - residuals(theta - s)[0]) / 2e-6 for s in steps]
        np.testing.assert_allclose(jacobian, np.array(numeric).T, atol=1e-4)


def test_the_mixture_is_the_gaussians_it_is_made_of() -> None:
    """Cost against scipy's densities, up to the one constant."""
    from scipy.stats import multivariate_normal

    rng, d = np.random.default_rng(0), 63
    means, roots = rng.normal(size=(3, d)), rng.normal(size=(3, d, 2 * d))
    covariances = roots @ roots.swapaxes(1, 2) / d
    weights = np.array([0.5, 0.3, 0.2])
    prior = PosePrior.of(means, covariances, weights)
    costs, densities = [], []
    for _ in range(6):
        theta = rng.normal(size=d)
        found, _, offset = prior.residuals(theta)
        costs.append(0.5 * float(found @ found) + offset)
        densities.append(
            max(
                multivariate_normal(m, c).logpdf(theta) + np.log(w)
                for m, c, w in zip(means, covariances, weights, strict=True)
            )
        )
    np.testing.assert_allclose(np.diff(costs), -np.diff(densities), atol=1e-6)


@pytest.mark.parametrize("what", ["shape", "nan", "weight", "covariance"])
def test_a_prior_that_is_none_is_refused(what: str) -> None:
    means, covariances, weights = np.zeros((2, 69)), np.tile(np.eye(69), (2, 1, 1)), np.ones(2)
    if what == "shape":
        means = means[:, :10]
    elif what == "nan":
        means[0, 0] = np.nan
    elif what == "weight":
        weights[0] = 0.0
    else:
        covariances[1] = -covariances[1]
    with pytest.raises(ModelFileError, match="expected"):
        PosePrior.of(means, covariances, weights)


def test_elbows_and_knees_do_not_bend_backwards(body: ParametricBody) -> None:
    """A straight arm that a detector draws a little beyond straight stays straight."""
    right_way = limit_residuals(np.zeros(63))[0] ** 2
    wrong = np.zeros(63)
    for joint, axis, sign in ((18, 1, 1), (19, 1, -1), (4, 0, -1), (5, 0, -1)):
        wrong[3 * (joint - 1) + axis] = 0.5 * sign
    assert (limit_residuals(wrong)[0] ** 2 > 10 * right_way).all()
    assert (limit_residuals(-wrong)[0] ** 2 < 0.1 * right_way).all()


def test_spheres_overlap_only_where_limbs_lie_in_the_body(body: ParametricBody) -> None:
    spheres = spheres_of(body, BONES)
    j = len(body.parents)
    rest = body.joint_template_m.astype(float)
    assert not len(spheres.residuals(rest, np.zeros((j, 3, 1)))[0])
    rng = np.random.default_rng(0)
    moved = rest.copy()
    moved[[18, 20]] = rest[[3, 6]] + rng.normal(0, 0.02, (2, 3))  # an arm in the belly
    directions = rng.normal(size=(j, 3, 4))
    depth, jacobian = spheres.residuals(moved, directions)
    assert len(depth)
    assert depth.max() > 0.05
    for n in range(4):
        step = 1e-6 * directions[..., n]
        ahead, _ = spheres.residuals(moved + step, directions)
        behind, _ = spheres.residuals(moved - step, directions)
        np.testing.assert_allclose(jacobian[:, n], (ahead - behind) / 2e-6, atol=1e-4)


def test_interpenetration_is_pushed_out(body: ParametricBody) -> None:
    """Both wrists drawn at the navel: without spheres the forearms go through the belly."""
    landmarks, prior = landmarks_of(body), shipped_prior()
    person = Person(body, 0)
    person.rotations[:] = 0.0
    person.rotations[16] = 0.0, -0.5, -1.2
    person.rotations[17] = 0.0, 0.5, 1.2
    person.rotations[18], person.rotations[19] = (0.0, -1.9, 0.0), (0.0, 1.9, 0.0)
    _, pixels = posed(body, person.rotations, np.zeros(BETAS), person.place)
    spheres = spheres_of(body, BONES)
    depths = []
    for own in (None, spheres):
        fit = StillFitter(body, landmarks, prior, own).fit(pixels, np.ones(len(NAMES)), CAMERA)
        poser = BodyPoser(body)
        poser.shape(fit.betas.astype(np.float32))
        poser.pose(fit.rotations.astype(np.float32), np.zeros(3, np.float32))
        joints = poser.joints_m.astype(float)
        depth, _ = spheres.residuals(joints, np.zeros((len(joints), 3, 1)))
        depths.append(float(depth.max(initial=0.0)))
    assert depths[1] < 0.02
    assert depths[1] <= depths[0]


def test_paths_of_the_prior_are_checked(tmp_path: Path) -> None:
    from engine.body.pose_priors import read_prior

    path = tmp_path / "prior.npz"
    np.savez(path, means=np.zeros((1, 63)))
    with pytest.raises(ModelFileError, match="covars"):
        read_prior(path)
