"""Feet that stand, and the ground they stand on.

A foot that rests in the picture rests in space: from then on its place is known, depth included,
and holds the whole body still. Where several steps have shown the ground, the next one's depth is
where its line of sight meets it, which one camera tells better than the size of a person.

The ground is the plane ``n x = d`` that passes nearest to where feet have stood, under the prior
that the camera is held roughly level.
"""

from __future__ import annotations

import numpy as np
from numba import njit

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


class Ground:
    """The plane under the feet, as far as it is known: ``y = a x + b z + c``."""

    def __init__(self) -> None:
        self._precision, self._pull = np.zeros((3, 3)), np.zeros(3)

    def forget(self) -> None:
        """Nothing is known but that the camera is held roughly level."""
        self._precision[:] = 0.0
        self._pull[:] = 0.0

    def add(self, x: float, y: float, z: float) -> None:
        """A sole has stood here."""
        _add(x, y, z, self._precision, self._pull)

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
        lens = camera.focal_px, camera.cx, camera.cy
        state = self._slow, self._slower, self.places_m, self._bias_m
        clocks = self._rested_s, self._apart_s
        _look(points_px, depths_m, trust, points_m, lens, seconds, *state, self.weights, *clocks)

    def settle(self, points_m: F64, seconds: float) -> None:
        """After a frame's fit: new places, and how the old ones have borne.

        Args:
            points_m: (4, 3) as this frame's fit has them.
            seconds: since the last frame.
        """
        _bear(points_m, seconds, self.places_m, self.weights, self._rested_s)
        for k in range(len(SOLES)):
            if self.weights[k] == 0.0 and self._rested_s[k] > SETTLE_S:
                height = float(self.heights_m[k])
                self.places_m[k] = self.ground.place_on_line(points_m[k], height)
                self._bias_m[k] = self._slow[k, 2] - self.places_m[k, 2]
        self._strengthen()

    def _strengthen(self) -> None:
        """Places weigh more the longer they have held; firm ones on the floor tell the ground."""
        if not self._rested_s.any():
            return
        ramp = np.clip((self._rested_s - SETTLE_S) / RAMP_S, 0.0, 1.0)
        self.weights[:] = ramp / PLACE_SIGMA_M
        firm = np.flatnonzero(ramp >= 1.0)
        if not len(firm):
            return
        heights = self.places_m[:, 1] - self.heights_m
        lowest = heights[ramp > 0.0].min()
        for k in firm:
            if heights[k] < lowest + LIFTED_M:
                x, _, z = self.places_m[k]
                self.ground.add(float(x), float(heights[k]), float(z))

    def shifts(self, points_m: F64, seconds: float) -> F64:
        """(2, 3) by which a filtered pose's feet, left and right, must move to where they stand.

        They come and go smoothly.

        Args:
            points_m: (4, 3) of SOLES in the filtered pose.
            seconds: since the last frame.
        """
        _shift(points_m, seconds, self.places_m, self.weights, self._shifts)
        return self._shifts


@njit(cache=True, nogil=True)
def _add(x: float, y: float, z: float, precision: F64, pull: F64) -> None:
    row = x, z, 1.0
    for i in range(3):
        pull[i] = FORGET * pull[i] + row[i] * y / GROUND_SIGMA_M**2
        for k in range(3):
            precision[i, k] = FORGET * precision[i, k] + row[i] * row[k] / GROUND_SIGMA_M**2


@njit(cache=True, nogil=True)
def _look(
    points_px: F64,
    depths_m: F64,
    trust: F64,
    points_m: F64,
    lens: tuple[float, float, float],
    seconds: float,
    slow: F64,
    slower: F64,
    places: F64,
    bias: F64,
    weights: F64,
    rested: F64,
    apart_s: F64,
) -> None:
    focal, cx, cy = lens
    gain, now = seconds / (seconds + SPEED_S), np.empty(3)
    for k in range(len(weights)):
        metre = max(-points_m[k, 2], 0.2) / focal
        now[0], now[1], now[2] = points_px[k, 0], points_px[k, 1], depths_m[k]
        fresh = np.isnan(slow[k, 0])
        if fresh:
            slow[k], slower[k] = now, now
        slow[k] += gain * (now - slow[k])
        slower[k] += gain * (slow[k] - slower[k])
        # Between two low-passes, for the distance to the landmark itself is mostly noise.
        moved = (slow[k] - slower[k]) / SPEED_S
        across = np.sqrt(moved[0] * moved[0] + moved[1] * moved[1]) * metre
        speed = max(across / REST_MPS, abs(moved[2]) / REST_DEPTH_MPS)
        seen, held = trust[k] > SEEN, weights[k] > 0.0
        scale = focal / max(-places[k, 2], 0.2)
        du = points_px[k, 0] - (cx + scale * places[k, 0])
        dv = points_px[k, 1] - (cy - scale * places[k, 1])
        strays = np.sqrt(du * du + dv * dv) * metre > APART_M
        strays = strays or abs(slow[k, 2] - places[k, 2] - bias[k]) > APART_DEPTH_M
        apart_s[k] = apart_s[k] + seconds if held and strays else 0.0
        # At the turning point of a swing a foot rests as well, but not for long.
        firm = rested[k] > SETTLE_S + RAMP_S
        left = not seen or apart_s[k] > APART_S or (not firm and speed > AGAIN)
        stays = not left if held else seen and speed < 1.0 and not fresh
        rested[k] = rested[k] + seconds if stays else 0.0
        if not stays:
            weights[k] = 0.0


@njit(cache=True, nogil=True)
def _bear(points_m: F64, seconds: float, places: F64, weights: F64, rested: F64) -> None:
    """Places follow the fit that they hold; those that it tears itself from are given up."""
    gain = seconds / (seconds + DRIFT_S)
    for k in range(len(weights)):
        if weights[k] == 0.0:
            continue
        apart = points_m[k] - places[k]
        if np.sqrt((apart * apart).sum()) > TORN_M:
            weights[k] = rested[k] = 0.0
        else:
            places[k] += gain * apart


@njit(cache=True, nogil=True)
def _shift(points_m: F64, seconds: float, places: F64, weights: F64, shifts: F64) -> None:
    shifts *= 1.0 - seconds / (seconds + LET_GO_S)
    for foot in range(len(shifts)):
        total, strongest, apart = 0.0, 0.0, np.zeros(3)
        for k in range(foot, len(weights), 2):
            total += weights[k]
            strongest = max(strongest, weights[k])
            apart += weights[k] * (places[k] - points_m[k])
        if total > 0.0:
            held = strongest * PLACE_SIGMA_M
            shifts[foot] += held * (apart / total - shifts[foot])
