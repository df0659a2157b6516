"""Whether the face that is watched is still the one whose neutral face was learned.

Actions explain a face that is known to half a millimetre or so, whoever it is and whatever it
does. A stranger's shape, read through somebody else's neutral face, leaves far more unexplained,
second after second. Measured on ten clips, averaged over four seconds: a person's own residual
stays within 1.2 times its least or below 0.65 mm, another's passes both limits in all 36 pairs.
"""

from __future__ import annotations

import math

AVERAGED_SECONDS = 4.0
STRANGE_MM = 0.75
STRANGE_RATIO = 1.4
"""Both must be exceeded: a face that was never explained better is no stranger for that."""


class Acquaintance:
    """A running mean of what is left unexplained, beside the least it has been."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Somebody new: nothing to compare with yet."""
        self._watched_s = 0.0
        self._mean_mm = 0.0
        self._least_mm = math.inf

    @property
    def is_strange(self) -> bool:
        """Whether another face than before has been watched for some seconds."""
        return self._mean_mm > max(STRANGE_MM, STRANGE_RATIO * self._least_mm)

    def watch(self, residual_mm: float, seconds: float) -> None:
        """Take in a frame.

        Args:
            residual_mm: root mean square of what the actions did not explain.
            seconds: since the frame before, less where the face is seen badly.
        """
        self._watched_s += seconds
        # A plain mean at first, so that the first frame does not count for all.
        share = seconds / min(max(self._watched_s, 1e-9), AVERAGED_SECONDS)
        self._mean_mm += min(share, 1.0) * (residual_mm - self._mean_mm)
        if self._watched_s >= AVERAGED_SECONDS:
            self._least_mm = min(self._least_mm, self._mean_mm)
