"""A whole clip at once, for people who record rather than stream: nothing lags behind.

The live fit knows only the past. Here the clip is followed twice, forwards and backwards, on the
body that all of it has shown. Between the two passes every frame gets a pose to begin with, its
hands and its face; then all frames' bodies are fitted as one (:mod:`engine.body.bundle`), by the
same residuals and with no filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from engine import quaternions
from engine.body.body_targets import HeadPose
from engine.body.bundle import Poses, bundle
from engine.body.smplify import BodyFitter, Standing
from engine.errors import SourceError
from engine.fusion.base_avatar import BaseAvatar
from engine.perception.landmarks import torso_size
from engine.reconstructor import Reconstructor
from engine.types import F32, F64, AvatarState, Identity, Observation

CUT = 0.5
"""Of the torso: landmarks that move further from one frame to the next are somebody else's."""
WINDOW, OVERLAP = 600, 60
"""Frames that are fitted together, and how many on either side help: a second is far enough."""
MOST_FRAMES = 120_000
"""About an hour at 30 fps; its landmarks take a gigabyte."""


def fit_clip(
    base: BaseAvatar,
    identity: Identity,
    observations: Sequence[Observation],
    field_of_view_deg: float | None = None,
) -> list[AvatarState]:
    """Every frame's state, each knowing the whole clip.

    Args:
        base: what all avatars have in common.
        identity: who the clip has shown.
        observations: of all frames, times not decreasing.
        field_of_view_deg: of the pictures' longer side, where it is known.

    Raises:
        SourceError: there are none, or more than can be kept.
    """
    if not observations:
        raise SourceError("expected a clip with at least one frame, found none")
    if len(observations) > MOST_FRAMES:
        raise SourceError(f"expected at most {MOST_FRAMES} frames, found {len(observations)}")
    person = Reconstructor(base, identity, field_of_view_deg)
    ahead = _follow(person, observations)
    last_ns = observations[0].captured_at_ns + observations[-1].captured_at_ns
    mirrored = [
        replace(o, captured_at_ns=last_ns - o.captured_at_ns) for o in reversed(observations)
    ]
    person.reset()
    back = _follow(person, mirrored)[::-1]
    moments = [_between(a, b) for a, b in zip(ahead, back, strict=True)]
    states: list[AvatarState] = []
    for first in range(0, len(moments), WINDOW):
        window = slice(max(first - OVERLAP, 0), first + WINDOW + OVERLAP)
        fitted = _bundled(person.body, observations[window], moments[window])
        states += fitted[first - window.start :][:WINDOW]
    return states


@dataclass(frozen=True, slots=True)
class _Moment:
    """One frame of one pass, or of what lies between two."""

    state: AvatarState
    head: HeadPose | None
    standing: Standing


def _follow(person: Reconstructor, observations: Sequence[Observation]) -> list[_Moment]:
    moments = []
    for seen in observations:
        state, _, _ = person.reconstruct(seen, pose=False)
        moments.append(_Moment(state, person.head_target, person.body.standing))
    return moments


def _bundled(
    fitter: BodyFitter, observations: Sequence[Observation], moments: Sequence[_Moment]
) -> list[AvatarState]:
    """A run of frames, their bodies fitted together."""
    frames = [
        fitter.measurements(seen, moment.head, moment.state.camera, moment.standing)
        for seen, moment in zip(observations, moments, strict=True)
    ]
    start = Poses(
        np.array([moment.standing.angles for moment in moments]),
        np.array([moment.standing.root for moment in moments]),
    )
    times = np.array([seen.captured_at_ns for seen in observations]) * 1e-9
    seconds = np.diff(times, prepend=times[0] - 1.0 / 30.0)
    cuts = np.array([False, *(_is_cut(a, b) for a, b in pairwise(observations))])
    found = bundle(fitter.problem, frames, start, seconds, cuts)
    return [
        _with_body(fitter, moment.state, *pose)
        for moment, *pose in zip(moments, found.angles, found.roots, strict=True)
    ]


def _with_body(fitter: BodyFitter, state: AvatarState, angles: F64, root: F64) -> AvatarState:
    rotations = fitter.rotations_of(angles, root)
    rotations[fitter.finger_rows] = state.rotations_xyzw[fitter.finger_rows]
    return replace(
        state, rotations_xyzw=rotations, translation_m=np.asarray(angles[:3], np.float32)
    )


def _is_cut(before: Observation, now: Observation) -> bool:
    """Whether the landmarks have moved further than anybody moves."""
    if before.pose is None or now.pose is None:
        return False
    moved = np.linalg.norm(now.pose.points_px[:, :2] - before.pose.points_px[:, :2], axis=1)
    return float(np.median(moved)) > CUT * max(torso_size(before.pose), torso_size(now.pose))


def _between(ahead: _Moment, back: _Moment) -> _Moment:
    """Half-way on the manifold; times and camera are the first's."""
    a, b = ahead.state, back.state
    state = replace(
        a,
        rotations_xyzw=np.asarray(_half_turn(a.rotations_xyzw, b.rotations_xyzw), np.float32),
        translation_m=_half(a.translation_m, b.translation_m),
        expression=_half(a.expression, b.expression),
        body_confidence=0.5 * (a.body_confidence + b.body_confidence),
        face_confidence=0.5 * (a.face_confidence + b.face_confidence),
        left_hand_confidence=0.5 * (a.left_hand_confidence + b.left_hand_confidence),
        right_hand_confidence=0.5 * (a.right_hand_confidence + b.right_hand_confidence),
    )
    return _Moment(state, _head_between(ahead.head, back.head), _standing_between(ahead, back))


def _head_between(a: HeadPose | None, b: HeadPose | None) -> HeadPose | None:
    if a is None or b is None:
        return a or b
    place = a.position_m
    if place is not None and b.position_m is not None:
        place = 0.5 * (place + b.position_m)
    turn = np.asarray(_half_turn(a.rotation_xyzw, b.rotation_xyzw), np.float64)
    return HeadPose(turn, 0.5 * (a.confidence + b.confidence), place)


def _standing_between(ahead: _Moment, back: _Moment) -> Standing:
    """Half-way; a sole stands where either pass has it stand."""
    a, b = ahead.standing, back.standing
    weights = a.place_weights + b.place_weights
    share = np.divide(b.place_weights, weights, out=np.zeros(4), where=weights > 0.0)[:, None]
    roots = [quaternions.from_matrix(s.root) for s in (a, b)]
    return Standing(
        0.5 * (a.angles + b.angles),
        np.asarray(quaternions.to_matrix(np.asarray(_half_turn(*roots), np.float64)), np.float64),
        (1.0 - share) * a.places_m + share * b.places_m,
        0.5 * weights,
    )


def _half_turn(a: F32 | F64, b: F32 | F64) -> F32 | F64:
    return quaternions.slerp(a.astype(np.float64), b.astype(np.float64), 0.5)


def _half(a: F32, b: F32) -> F32:
    return np.asarray(0.5 * (a + b), np.float32)
