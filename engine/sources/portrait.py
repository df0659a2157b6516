"""The default input without a camera: the astronaut Eileen Collins (NASA, public domain)."""

from __future__ import annotations

import numpy as np

from engine.errors import SourceError
from engine.types import U8


def portrait() -> U8:
    """(512, 512, 3) RGB from scikit-image's own data folder: no network.

    Raises:
        SourceError: scikit-image is not installed.
    """
    try:
        from skimage import data  # imported here: most sources do not need it
    except ImportError as error:
        raise SourceError(
            "the portrait is part of scikit-image, which is not installed; "
            "run `pip install scikit-image` or name another SOURCE"
        ) from error
    picture: U8 = np.ascontiguousarray(data.astronaut(), np.uint8)  # type: ignore[no-untyped-call]
    return picture
