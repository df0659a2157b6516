"""A whole clip at once, for people who record rather than stream: nothing lags behind.

The live fit knows only the past. Here each frame is fitted twice by the same residuals, once with
the frames before it and once with those after it, from landmarks that were smoothed without lag,
and on the body that the whole clip has shown from the first frame on. The two poses are averaged
on the manifold: what one pass carries along from a bad frame, the other has not seen yet.
(Forward-backward smoothing, Fraser and Potter 1969; one joint bundle over all frames it is not.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from engine import quaternions
from engine.errors import SourceError
from engine.fusion.base_avatar import BaseAvatar
from engine.perception.landmarks import torso_size
from engine.reconstructor import Reconstructor
from engine.types import F32, F64, AvatarState, Identity, Observation, PoseLandmarks

SMOOTH_S = 0.04
"""Standard deviation in time of the weights about each landmark."""
REACH = 3.0
"""In those, how far away a frame still counts."""
LEAST_TRUST = 0.05
"""What a landmark that nobody sees still counts among its neighbours in time."""
CUT = 0.5
"""Of the torso: landmarks that move further from one frame to the next are somebody else's."""
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
    smooth = smoothed(observations)
    ahead = _fitted(Reconstructor(base, identity, field_of_view_deg), smooth)
    last_ns = smooth[0].captured_at_ns + smooth[-1].captured_at_ns
    mirrored = [replace(o, captured_at_ns=last_ns - o.captured_at_ns) for o in reversed(smooth)]
    back = _fitted(Reconstructor(base, identity, field_of_view_deg), mirrored)[::-1]
    return [_between(a, b) for a, b in zip(ahead, back, strict=True)]


def smoothed(observations: Sequence[Observation]) -> list[Observation]:
    """Observations whose body landmarks are weighted means over time, without lag.

    Nearer frames and better seen landmarks count more; nothing is averaged over a frame without a
    body, nor over a cut.
    """
    out = list(observations)
    for part in _segments(observations):
        times = np.array([observations[i].captured_at_ns for i in part]) * 1e-9
        poses = [pose for i in part if (pose := observations[i].pose) is not None]
        for i, pose in zip(part, _smoothed_poses(times, poses), strict=True):
            out[i] = replace(observations[i], pose=pose)
    return out


def _segments(observations: Sequence[Observation]) -> list[list[int]]:
    """Runs of frames that show one body without a break."""
    found: list[list[int]] = []
    before: PoseLandmarks | None = None
    for i, observation in enumerate(observations):
        pose = observation.pose
        if pose is not None:
            if before is None or _is_cut(before, pose):
                found.append([])
            found[-1].append(i)
        before = pose
    return found


def _is_cut(before: PoseLandmarks, now: PoseLandmarks) -> bool:
    moved = np.linalg.norm(now.points_px[:, :2] - before.points_px[:, :2], axis=1)
    return float(np.median(moved)) > CUT * max(torso_size(before), torso_size(now))


def _smoothed_poses(times: F64, poses: Sequence[PoseLandmarks]) -> list[PoseLandmarks]:
    points = np.stack([pose.points_px for pose in poses])
    world = np.stack([pose.world_m for pose in poses])
    trust = np.stack([pose.visibility for pose in poses]) + np.float32(LEAST_TRUST)
    first = np.searchsorted(times, times - REACH * SMOOTH_S)
    end = np.searchsorted(times, times + REACH * SMOOTH_S, "right")
    out = []
    for n, pose in enumerate(poses):
        near = slice(int(first[n]), int(end[n]))
        apart = (times[near] - times[n]) / SMOOTH_S
        weights = np.exp(-0.5 * apart**2)[:, None].astype(np.float32) * trust[near]
        weights /= weights.sum(axis=0)
        out.append(
            replace(
                pose,
                points_px=_mean(weights, points[near]),
                world_m=_mean(weights, world[near]),
            )
        )
    return out


def _mean(weights: F32, values: F32) -> F32:
    return np.ascontiguousarray(np.einsum("np,npc->pc", weights, values), np.float32)


def _fitted(reconstructor: Reconstructor, observations: Sequence[Observation]) -> list[AvatarState]:
    return [reconstructor.reconstruct(seen, pose=False)[0] for seen in observations]


def _between(ahead: AvatarState, back: AvatarState) -> AvatarState:
    """Half-way on the manifold; times and camera are the first's."""
    turned = quaternions.slerp(
        ahead.rotations_xyzw.astype(np.float64), back.rotations_xyzw.astype(np.float64), 0.5
    )
    return replace(
        ahead,
        rotations_xyzw=np.asarray(turned, np.float32),
        translation_m=_half(ahead.translation_m, back.translation_m),
        expression=_half(ahead.expression, back.expression),
        body_confidence=0.5 * (ahead.body_confidence + back.body_confidence),
        face_confidence=0.5 * (ahead.face_confidence + back.face_confidence),
        left_hand_confidence=0.5 * (ahead.left_hand_confidence + back.left_hand_confidence),
        right_hand_confidence=0.5 * (ahead.right_hand_confidence + back.right_hand_confidence),
    )


def _half(a: F32, b: F32) -> F32:
    return np.asarray(0.5 * (a + b), np.float32)
