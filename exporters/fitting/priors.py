"""A user's own pose prior: the ``gmm_08.pkl`` that comes with SMPLify, or the same as ``.npz``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engine.body.pose_priors import PosePrior, read_prior
from engine.errors import ModelFileError
from exporters.face_models.pickle_reader import read_pickle
from exporters.face_models.pickled_arrays import as_array


def read_any_prior(path: Path) -> PosePrior:
    """Read as data: nothing in a pickle can run.

    Raises:
        ModelFileError: it is missing, damaged or holds no mixture of ``means``, ``covars`` and
            ``weights``.
    """
    if path.suffix != ".pkl":
        return read_prior(path)
    content = read_pickle(path)
    try:
        means, covars, weights = (
            as_array(content[name]).astype(np.float64) for name in ("means", "covars", "weights")
        )
    except (ValueError, TypeError, LookupError) as error:
        raise ModelFileError(
            f"expected means, covars and weights in {path}, found {error!r}"
        ) from error
    return PosePrior.of(means, covars, weights)
