"""From what silhouettes measure to Anny's weight, muscle, height and proportions.

``m = f(p; age, gender) + n`` with ``p ~ N(1/2, s^2)`` and Gaussian noise: the posterior by
Gauss-Newton about its mode (Bishop 2006, eqs 3.49-3.51 at each step). ``f`` is no geometry but the
*measured* response of the pose network's masks and landmarks to people whose build is known. The
noise has two parts: ``B``, what a person's measurements scatter however many views there are, and
``W``, what single views scatter about a person's mean.

The file beside this module is made by ``exporters/calibrate_build.py``. Derived from Anny
(Apache-2.0, data CC0) and MediaPipe's pose network (Apache-2.0); its licence: Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from engine.avatar.array_file import open_arrays
from engine.body.build_measurements import COUNT, LIMB_WIDTHS, NAMES
from engine.errors import ModelFileError
from engine.types import F64

FORMAT_VERSION = 1
FILE = Path(__file__).with_name("build_readout.npz")
CURE = "install the package again, or run `python -m exporters.calibrate_build`"
TRAITS = ("muscle", "weight", "height", "proportions")
"""The unknowns, in order; 0.5 is the average."""
AVERAGE = 0.5
DEVIATION = 0.17
"""Of people from the average: a fifth of them lie outside of what the performer is drawn from."""
LOWEST, HIGHEST = 0.08, 0.92
ROUNDS = 4
TRUNK, CLOTHES, ALONE, HAIR = 0.15, 0.10, 0.03, 0.20
"""Standard deviations of logarithms by which real people differ from painted ones of one build:
all measurements together, for the trunk is their unit; all widths together; each alone; those of
the head. Assumed, from looking at five real people; not calibrated: nobody's true build is known.
"""


def _unpainted() -> F64:
    """(M, M) the covariance of those."""
    is_width = np.array([name.startswith("trunk") or name in _WIDTHS for name in NAMES])
    alone = np.where(np.isin(NAMES, _OF_THE_HEAD), HAIR, ALONE)
    together = TRUNK**2 + CLOTHES**2 * np.outer(is_width, is_width)
    return np.asarray(together + np.diag(alone**2))


_WIDTHS = frozenset(name for name, *_ in LIMB_WIDTHS)
_OF_THE_HEAD = ("ears", "neck", "crown", "face")
_UNPAINTED = _unpainted()
_MAX_BYTES = 1 << 20
_TERMS = 4 + 4 * len(TRAITS)
_SHAPES = {
    "response": (_TERMS, COUNT),
    "scatter": (COUNT, COUNT),
    "view_scatter": (COUNT, COUNT),
    "decidable": (),
}


@dataclass(frozen=True, slots=True)
class Build:
    """What is known of a body."""

    traits: F64
    """(4,) TRAITS, each in [0, 1]."""
    confidence: float
    """In [0, 1]: how much of what silhouettes can tell of a build these have."""


@dataclass(frozen=True, slots=True)
class BuildReadout:
    """The calibrated model; M measurements."""

    response: F64
    """(20, M): what each of :func:`terms` adds to the logarithm of a measurement."""
    scatter: F64
    """(M, M) covariance ``B`` between people of one build."""
    view_scatter: F64
    """(M, M) covariance ``W`` between views of one person."""
    decidable: float
    """In (0, 1]: the share of the traits' variance that any number of views decides."""

    def predicted(self, age: float, gender: float, traits: F64) -> F64:
        """(M,) logarithms of the measurements of somebody of this build."""
        return np.asarray(terms(age, gender, traits) @ self.response)

    def read(self, values: F64, views: F64, age: float, gender: float) -> Build:
        """The most probable build.

        Args:
            values: (M,) means of each measurement over the views in which it was taken.
            views: (M,) how many equally good views those were; 0 where there was none.
            age: Anny's, given.
            gender: given.
        """
        has = np.flatnonzero(views > 0.0)
        traits = np.full(len(TRAITS), AVERAGE)
        prior = np.eye(len(TRAITS)) / DEVIATION**2
        if not len(has):
            return Build(traits, 0.0)
        share = 1.0 / np.sqrt(views[has])
        noise = self.scatter[np.ix_(has, has)] + self.view_scatter[np.ix_(has, has)] * np.outer(
            share, share
        )
        noise += _UNPAINTED[np.ix_(has, has)]
        precision, doubt = np.linalg.inv(noise), 1.0
        for _ in range(ROUNDS):
            slope = (slopes(age, gender, traits) @ self.response)[:, has]
            left = values[has] - self.predicted(age, gender, traits)[has]
            doubt = max(float(left @ precision @ left) / len(has), 1.0)
            hessian = slope @ precision @ slope.T / doubt + prior
            towards = slope @ precision @ left / doubt + prior @ (AVERAGE - traits)
            traits = np.clip(traits + np.linalg.solve(hessian, towards), LOWEST, HIGHEST)
        sure = decided(np.asarray(np.linalg.inv(hessian), np.float64)) / self.decidable
        return Build(traits, float(np.clip(sure, 0.0, 1.0)))


def decided(covariance: F64) -> float:
    """The share of the traits' variance that is not left to chance, a mean over them."""
    return 1.0 - float(np.trace(covariance)) / (len(TRAITS) * DEVIATION**2)


def terms(age: float, gender: float, traits: F64) -> F64:
    """(20,) what a measurement is linear in: traits, each by age and gender, and their kinks.

    Anny interpolates piecewise linearly with a kink at the average.
    """
    p, a, g = traits - AVERAGE, age - 0.67, gender - 0.5
    return np.concatenate([[1.0, a, g, a * g], p, g * p, a * p, np.abs(p)])


def slopes(age: float, gender: float, traits: F64) -> F64:
    """(4, 20) derivatives of :func:`terms` by the traits."""
    p, a, g = traits - AVERAGE, age - 0.67, gender - 0.5
    one = np.eye(len(TRAITS))
    return np.hstack([np.zeros((len(TRAITS), 4)), one, g * one, a * one, np.diag(np.sign(p))])


def load_readout(path: Path = FILE) -> BuildReadout:
    """Read and check the calibration file.

    Raises:
        ModelFileError: the file is missing, damaged, or of another version or shape.
    """
    with open_arrays(path, _MAX_BYTES, CURE) as file:
        arrays = {name: file.read(name) for name in file.names}
    version = arrays.get("format_version")
    if version is None or version.shape != () or int(version) != FORMAT_VERSION:
        raise ModelFileError(f"{path} is no build readout of version {FORMAT_VERSION}; {CURE}")
    for name, shape in _SHAPES.items():
        found = arrays[name].shape if name in arrays else None
        if found != shape:
            raise ModelFileError(f"{path}: {name} should have shape {shape}, found {found}; {CURE}")
        if arrays[name].dtype.kind != "f" or not np.isfinite(arrays[name]).all():
            raise ModelFileError(f"{path}: {name} holds numbers not finite; {CURE}")
    wide = {name: arrays[name].astype(np.float64) for name in _SHAPES}
    return BuildReadout(
        response=wide["response"],
        scatter=wide["scatter"],
        view_scatter=wide["view_scatter"],
        decidable=float(wide["decidable"]),
    )


@cache
def default_readout() -> BuildReadout:
    """The calibration that ships with the package, read once."""
    return load_readout()
