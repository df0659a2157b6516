"""Feet that stand, and the ground they stand on.

A foot that rests in the picture rests in space: from then on its place is known, depth included,
and holds the whole body still. Where several steps have shown the ground, the next one's depth is
where its line of sight meets it, which one camera tells better than the size of a person.

The ground is the plane ``n x = d`` that passes nearest to where feet have stood, under the prior
that the camera is held roughly level.
"""

from __future__ import annotations

import numpy as np

from engine.types import F64, Camera

SOLES = (29, 30, 31, 32)
"""BlazePose's heels and toes, left and right."""
SPEED_S = 0.05
"""Time constant of the speed in the picture."""
REST_MPS, REST_DEPTH_MPS = 0.12, 0.3
"""A point slower than this, across the picture and in depth, comes to rest."""
AGAIN = 1.5
"""So many times as fast, one that has just come to rest moves again."""
SETTLE_S = 0.1
"""How long a point must rest before its place counts."""
RAMP_S = 0.2
"""In which a place gains its full weight."""
APART_M, APART_DEPTH_M = 0.04, 0.1
"""A landmark further than this from where its point should stand has left: in the picture, and in
the depth that the network tells, which is taken as it was when the point came to rest."""
APART_S = 0.05
"""Only when it has been there for so long: the network misplaces a foot for a frame or two."""
TORN_M = 0.08
"""A fit that wants to be so far away is believed more than the place."""
PLACE_SIGMA_M = 0.02
DRIFT_S = 0.7
"""Time constant with which a place follows the fit that it holds."""
LET_GO_S = 0.15
"""Time constant with which the last correction goes when no sole rests any more."""
SEEN = 0.3
"""Trust from which on a landmark tells whether its point rests."""
TILT_SIGMA = 0.1
"""How far from level, in radians, a camera usually is held."""
GROUND_SIGMA_M = 0.03
"""How well a foot's place tells the ground."""
FIT_DEPTH_SIGMA_M = 0.08
LEAST_GRAZING = 0.1
"""Sine of the angle at which a line of sight must meet the ground to tell a depth."""
LIFTED_M = 0.05
"""A sole so much above the lowest one that rests is held up, and no ground."""
FORGET = 0.995
"""A contact's share of what was known before."""
_UP = np.array([0.0, 1.0, 0.0])


class Ground:
    """The plane under the feet, as far as it is known: ``y = a x + b z + c``."""

    def __init__(self) -> None:
        self._precision, self._pull = np.zeros((3, 3)), np.zeros(3)

    def forget(self) -> None:
        """Nothing is known but that the camera is held roughly level."""
        self._precision[:] = 0.0
        self._pull[:] = 0.0

    def add(self, point_m: F64) -> None:
        """A sole has stood here, (3,)."""
        row = np.array([point_m[0], point_m[2], 1.0])
        self._precision *= FORGET
        self._pull *= FORGET
        self._precision += np.outer(row, row) / GROUND_SIGMA_M**2
        self._pull += row * point_m[1] / GROUND_SIGMA_M**2

    def plane(self) -> tuple[F64, float] | None:
        """(3,) unit normal n upwards and d, where ``n x = d``; None before anyone has stood."""
        if self._precision[2, 2] == 0.0:
            return None
        prior = np.diag([TILT_SIGMA**-2, TILT_SIGMA**-2, 0.0])
        a, b, c = np.linalg.solve(self._precision + prior, self._pull)
        length = float(np.sqrt(1.0 + a * a + b * b))
        return np.array([-a, 1.0, -b]) / length, float(c) / length

    def place_on_line(self, point_m: F64, height_m: float) -> F64:
        """A point moved along its line of sight to where it stands on the ground.

        Two estimates of one depth, weighed by what each is worth.

        Args:
            point_m: (3,) where the fit has it.
            height_m: of the point above the sole.
        """
        plane = self.plane()
        if plane is None:
            return point_m
        normal, d = plane
        distance = float(np.linalg.norm(point_m))
        sine = float(normal @ point_m) / distance
        level = d + height_m
        if abs(sine) < LEAST_GRAZING or level * sine <= 0.0:
            return point_m
        own, other = FIT_DEPTH_SIGMA_M**-2, (sine / GROUND_SIGMA_M) ** 2
        share = other / (own + other)
        return np.asarray(point_m * (1.0 + share * (level / sine / distance - 1.0)))


class FootContacts:
    """Which soles rest, and where: four points, heels and toes."""

    def __init__(self, heights_m: F64) -> None:
        """Nothing rests yet.

        Args:
            heights_m: (4,) of the points of SOLES above the sole.
        """
        self.heights_m = heights_m
        self.ground = Ground()
        self.places_m = np.zeros((4, 3))
        """(4, 3); only where :attr:`weights` is above 0."""
        self.weights = np.zeros(4)
        """(4,) 1 / standard deviation in metres."""
        self._slow, self._slower = np.zeros((2, 4, 3))
        self._bias_m = np.zeros(4)
        self.reset()

    def reset(self) -> None:
        """Forget everything, the ground too: after a cut it may be another one."""
        self.ground.forget()
        self.weights[:] = 0.0
        self._slow[:] = np.nan
        self._rested_s = np.zeros(4)
        self._apart_s = np.zeros(4)
        self._shifts = np.zeros((2, 3))

    def look(
        self,
        points_px: F64,
        depths_m: F64,
        trust: F64,
        points_m: F64,
        camera: Camera,
        seconds: float,
    ) -> None:
        """Before a frame's fit: see what rests.

        Args:
            points_px: (4, 2) in this frame.
            depths_m: (4,) the network's own idea of their z, from the hips of the last frame's fit.
            trust: (4,) in them.
            points_m: (4, 3) as the last frame's fit has them.
            camera: of this picture.
            seconds: since the last frame.
        """
        metre = np.maximum(-points_m[:, 2], 0.2) / camera.focal_px
        fresh = ~np.isfinite(self._slow[:, 0])
        seen_at = np.column_stack([points_px, depths_m])
        self._slow[fresh] = self._slower[fresh] = seen_at[fresh]
        gain = seconds / (seconds + SPEED_S)
        self._slow += gain * (seen_at - self._slow)
        self._slower += gain * (self._slow - self._slower)
        # Between two low-passes, for the distance to the landmark itself is mostly noise.
        moved = (self._slow - self._slower) / SPEED_S
        speed = np.linalg.norm(moved[:, :2], axis=1) * metre
        held, seen = self.weights > 0.0, trust > SEEN
        apart = np.linalg.norm(points_px - _project(self.places_m, camera), axis=1) * metre
        deeper = np.abs(self._slow[:, 2] - self.places_m[:, 2] - self._bias_m)
        speed = np.maximum(speed / REST_MPS, np.abs(moved[:, 2]) / REST_DEPTH_MPS)
        rests = seen & (speed < 1.0) & ~fresh
        firm = self._rested_s > SETTLE_S + RAMP_S
        strays = held & ((apart > APART_M) | (deeper > APART_DEPTH_M))
        self._apart_s = np.where(strays, self._apart_s + seconds, 0.0)
        # At the turning point of a swing a foot rests as well, but not for long.
        left = held & (~seen | (self._apart_s > APART_S) | (~firm & (speed > AGAIN)))
        self.weights[left] = 0.0
        self._rested_s = np.where(rests | (held & ~left), self._rested_s + seconds, 0.0)

    def settle(self, points_m: F64, seconds: float) -> None:
        """After a frame's fit: new places, and how the old ones have borne.

        Args:
            points_m: (4, 3) as this frame's fit has them.
            seconds: since the last frame.
        """
        held = self.weights > 0.0
        torn = held & (np.linalg.norm(points_m - self.places_m, axis=1) > TORN_M)
        self.weights[torn] = 0.0
        self._rested_s[torn] = 0.0
        follow = held & ~torn
        gain = seconds / (seconds + DRIFT_S)
        self.places_m[follow] += gain * (points_m - self.places_m)[follow]
        for k in np.flatnonzero(~held & (self._rested_s > SETTLE_S)):
            self.places_m[k] = self.ground.place_on_line(points_m[k], float(self.heights_m[k]))
            self._bias_m[k] = self._slow[k, 2] - self.places_m[k, 2]
        resting = self._rested_s > SETTLE_S
        ramp = np.clip((self._rested_s - SETTLE_S) / RAMP_S, 0.0, 1.0)
        self.weights = np.where(resting, ramp / PLACE_SIGMA_M, 0.0)
        soles = self.places_m - np.outer(self.heights_m, _UP)
        lowest = soles[resting, 1].min(initial=np.inf)
        for k in np.flatnonzero(ramp >= 1.0):
            if soles[k, 1] < lowest + LIFTED_M:
                self.ground.add(soles[k])

    def shifts(self, points_m: F64, seconds: float) -> F64:
        """(2, 3) by which a filtered pose's feet, left and right, must move to where they stand.

        They come and go smoothly.

        Args:
            points_m: (4, 3) of SOLES in the filtered pose.
            seconds: since the last frame.
        """
        self._shifts *= 1.0 - seconds / (seconds + LET_GO_S)
        for foot in range(2):
            weights = self.weights[foot::2]
            if weights.any():
                apart = weights @ (self.places_m - points_m)[foot::2] / weights.sum()
                held = float(weights.max()) * PLACE_SIGMA_M
                self._shifts[foot] += held * (apart - self._shifts[foot])
        return self._shifts


def _project(points_m: F64, camera: Camera) -> F64:
    scale = camera.focal_px / np.maximum(-points_m[:, 2], 0.2)
    return np.stack(
        [camera.cx + scale * points_m[:, 0], camera.cy - scale * points_m[:, 1]], axis=1
    )
