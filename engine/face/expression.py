"""52 ARKit expressions from landmark features, by bounded least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.face.bounded_least_squares import solve_bounded
from engine.face.expression_network import ExpressionNetwork
from engine.face.expression_prior import JAW_OPEN, MOUTH_CLOSE, ExpressionPrior
from engine.face.response import LandmarkResponse
from engine.types import ARKIT_NAMES, F32, F64

DEEPEST_UNDERSHOOT = -0.5
BELOW_NONE = 2.0
"""How much more evidence less than none of an action needs than some of it."""
WITHIN_TAKEN = 0.2
"""The same within what was taken into the neutral face,"""
TAKEN = 0.03
"""if that is more than this."""
LEARNED_SHARE = 0.5
SEEN_DIRECTLY = ("jawOpen", "eyeBlink", "eyeLookIn", "eyeLookOut", "browInnerUp")
"""What the parted lips, the lids, the irises and the brows say outright: on real clips the network,
which has only seen painted ones, reads these no better, so least squares read them alone."""
TWO_WAY = ("eye", "brow", "jawLeft", "jawRight", "mouthLeft", "mouthRight")
"""Actions whose opposite is an action too: less than none of them is some of the other."""


@dataclass(frozen=True, slots=True)
class ExpressionFit:
    """One frame's solution."""

    expression: F64
    """(52,) in [0, 1]."""
    signed: F64
    """(52,) in [-0.5, 1]: the same where actions may also undo what is in the neutral face.
    Negative where a face shows less than none of an action: the person's neutral face was taken
    with some of it in."""


class ExpressionSolver:
    """Solves frame after frame, each from the last one's solution. Not thread-safe."""

    def __init__(
        self,
        response: LandmarkResponse,
        prior: ExpressionPrior,
        network: ExpressionNetwork | None = None,
    ) -> None:
        """Start from rest.

        Args:
            response: how landmarks answer to actions.
            prior: on the actions.
            network: averaged with least squares; without one those stand alone.
        """
        self._response = response
        self._prior = prior
        self._network = network
        self._learned_share = np.array(
            [0.0 if name.startswith(SEEN_DIRECTLY) else LEARNED_SHARE for name in ARKIT_NAMES]
        )
        self._expression = np.zeros(len(ARKIT_NAMES))
        self._signed = np.zeros(len(ARKIT_NAMES))
        self._deepest = np.array(
            [0.0 if name.startswith(TWO_WAY) else DEEPEST_UNDERSHOOT for name in ARKIT_NAMES]
        ) * (prior.upper > 0.0)

    def reset(self) -> None:
        """Forget the last solution."""
        self._expression[:] = self._signed[:] = 0.0

    def solve(
        self,
        features: F32,
        view: tuple[float, float],
        taken: F64,
        caution: float = 1.0,
    ) -> ExpressionFit:
        """Minimise ``1/2 |f - G'e|^2_S + 1/2 e'Qe + l'max(e, 0) + m'max(-e, 0)`` in the box.

        ``m`` is twice ``l``, but where some of an action was taken into the neutral face little
        is asked for taking it out again: else a smile that ends would read as a frown.

        Args:
            features: (1434,) mm from the person's neutral face.
            view: yaw and pitch of the head as the camera sees it, rad.
            taken: (52,) how much of each action the neutral face may hold.
            caution: 1, or more while the neutral face is not known well: multiplies ``l``.
        """
        information, gradient = self._response.normal_equations(features, view[0])
        hessian = information + self._prior.quadratic
        above = caution * self._prior.linear
        held = np.maximum(taken, 0.0)
        below = np.where(held > TAKEN, WITHIN_TAKEN, BELOW_NONE) * above
        expression, signed = (
            solve_bounded(hessian, gradient, lower, self._prior.upper, start, above, below)
            for lower, start in (
                (-held, self._expression),
                (np.minimum(self._deepest, -held), self._signed),
            )
        )
        self._expression[:], self._signed[:] = expression, signed
        undershoot = np.minimum(expression, 0.0)
        expression -= undershoot
        if self._network is not None:
            # The network knows nothing of what was taken: it reads a face without that.
            evidence = gradient - information @ undershoot
            learned = self._network.read(information, evidence, *view)
            expression += self._learned_share * (learned - expression)
        # mouthClose corrects an open jaw: on a closed one it means nothing.
        expression[MOUTH_CLOSE] = min(expression[MOUTH_CLOSE], expression[JAW_OPEN])
        return ExpressionFit(expression, signed)
