"""The order in which a posed avatar is computed: sorted so that whole runs do the same thing.

Vertices are sorted by the joints they follow, and among those by the expressions that move them.
Then one joint moves one contiguous run of vertices and one expression adds to a few contiguous
spans, so both loops are plain vector arithmetic on consecutive numbers (structure of arrays), and
the result is put back into the avatar's own order at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.avatar.topology import FusedAvatar
from engine.fusion.fans import cover_with_fans
from engine.fusion.normals import fan_tiles
from engine.types import ARKIT_NAMES, F32, I32

INT16_MAX = 32767
SPAN_GAP = 8
"""Spans of one expression that lie closer than this are joined; the gap is filled with zeros."""


@dataclass(frozen=True, slots=True)
class MorphSpans:
    """Expression offsets as dense spans over sorted vertices."""

    spans: I32
    """(S, 4): expression, first vertex, end vertex, where its values begin."""
    steps_m: F32
    """(S,): the length of one step of its values."""
    values: NDArray[np.int16]
    """Offsets in steps, all x of the first span, then all its y, then all its z, then the next
    span. Two megabytes of them would not stay in a core's cache; steps are about a micrometre."""
    entries: I32
    """(N, 2): for each morph entry of the avatar its span, and its place in it."""


@dataclass(frozen=True, slots=True)
class SkinRuns:
    """Runs of sorted vertices that follow the same joints."""

    bounds: I32
    """(G + 1,): run g holds the vertices bounds[g]:bounds[g + 1]."""
    slots: I32
    """(G + 1,): run g has the joint slots slots[g]:slots[g + 1]."""
    joints: I32
    """(M,): the joint of each slot."""
    weight_starts: I32
    """(M,): where the slot's weights, one per vertex of its run, begin."""
    weights: F32


@dataclass(frozen=True, slots=True)
class SkinLayout:
    """An avatar's rest pose, expressions and skin in computing order."""

    order: I32
    """(V,): the avatar's vertex in each sorted place,"""
    places: I32
    """(V,): and the sorted place of each of its vertices."""
    rest_m: F32
    """(3, V) sorted."""
    morphs: MorphSpans
    runs: SkinRuns
    fans: I32
    """Tiles of fans over sorted vertices, for :func:`engine.fusion.normals.fan_normals`."""


def with_identity(layout: SkinLayout, avatar: FusedAvatar, *, morphs: bool) -> SkinLayout:
    """The same order for another identity of one skin.

    Args:
        layout: of an avatar with the same topology, skin, morph_starts and morph_actions.
        avatar: whose rest pose differs.
        morphs: whether its morph offsets do too.
    """
    rest = np.ascontiguousarray(avatar.rest_vertices_m[layout.order].T, np.float32)
    own = layout.morphs
    if morphs:
        own = _quantised(own.spans, own.entries, avatar)
    return replace(layout, rest_m=rest, morphs=own)


def sort_for_skinning(avatar: FusedAvatar) -> SkinLayout:
    """Lay an avatar out for :func:`engine.body.blend_skinning.pose_avatar`."""
    weights = np.zeros((len(avatar.rest_vertices_m), len(avatar.parents)), np.float32)
    rows = np.arange(len(weights))
    np.add.at(weights, (rows[:, None], avatar.skin_joints), avatar.skin_weights)
    actions = np.zeros((len(weights), len(ARKIT_NAMES)), bool)
    actions[np.repeat(rows, np.diff(avatar.morph_starts)), avatar.morph_actions] = True
    followed, moved = np.packbits(weights > 0, axis=1), np.packbits(actions, axis=1)
    # lexsort's last key is the most significant one.
    order = np.lexsort((rows, *moved.T[::-1], *followed.T[::-1])).astype(np.int32)
    places = np.empty_like(order)
    places[order] = np.arange(len(order), dtype=np.int32)
    return SkinLayout(
        order=order,
        places=places,
        rest_m=np.ascontiguousarray(avatar.rest_vertices_m[order].T, np.float32),
        morphs=_morph_spans(avatar, places),
        runs=_skin_runs(weights[order]),
        fans=fan_tiles(cover_with_fans(places[avatar.topology.faces], len(order))),
    )


def _skin_runs(weights: F32) -> SkinRuns:
    used = weights > 0
    changes = np.flatnonzero((used[1:] != used[:-1]).any(axis=1)) + 1
    bounds = np.concatenate([[0], changes, [len(used)]])
    joints = [np.flatnonzero(used[first]) for first in bounds[:-1]]
    lengths = np.repeat(np.diff(bounds), [len(j) for j in joints])
    runs = zip(bounds[:-1], bounds[1:], joints, strict=True)
    values = [weights[first:end, own].T.reshape(-1) for first, end, own in runs]
    return SkinRuns(
        bounds=bounds.astype(np.int32),
        slots=np.cumsum([0] + [len(j) for j in joints]).astype(np.int32),
        joints=np.concatenate(joints).astype(np.int32),
        weight_starts=np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int32),
        weights=np.concatenate(values).astype(np.float32),
    )


def _morph_spans(avatar: FusedAvatar, places: I32) -> MorphSpans:
    place = np.repeat(places, np.diff(avatar.morph_starts))
    order = np.lexsort((place, avatar.morph_actions))
    action, sorted_place = avatar.morph_actions[order], place[order]
    opens = (np.diff(action, prepend=-1) != 0) | (np.diff(sorted_place, prepend=-1) > SPAN_GAP)
    number = np.cumsum(opens) - 1
    first = sorted_place[opens]
    end = sorted_place[np.append(opens[1:], True)[: len(opens)]] + 1
    begin = np.cumsum(3 * (end - first)) - 3 * (end - first)
    entries = np.empty((len(order), 2), np.int32)
    entries[order] = np.stack([number, sorted_place - first[number]], axis=1)
    spans = np.stack([action[opens], first, end, begin], axis=1).astype(np.int32)
    return _quantised(spans, entries, avatar)


def _quantised(spans: I32, entries: I32, avatar: FusedAvatar) -> MorphSpans:
    steps = np.empty(len(spans), np.float32)
    size = 3 * int((spans[:, 2] - spans[:, 1]).sum())
    values = np.zeros(size, np.int16)
    _quantise(spans, entries, avatar.morph_offsets_m, steps, values)
    return MorphSpans(spans, steps, values, entries)


@njit(cache=True, nogil=True)
def _quantise(
    spans: I32, entries: I32, offsets: F32, steps: F32, values: NDArray[np.int16]
) -> None:
    """Steps and values of :class:`MorphSpans`; ``values`` comes filled with zeros."""
    steps[:] = np.float32(0.0)
    for n in range(entries.shape[0]):
        for axis in range(3):
            steps[entries[n, 0]] = max(steps[entries[n, 0]], abs(offsets[n, axis]))
    for s in range(steps.shape[0]):
        steps[s] = steps[s] / np.float32(INT16_MAX) if steps[s] > 0.0 else np.float32(1.0)
    for n in range(entries.shape[0]):
        s, place = entries[n, 0], entries[n, 1]
        for axis in range(3):
            at = spans[s, 3] + axis * (spans[s, 2] - spans[s, 1]) + place
            values[at] = np.int16(np.rint(offsets[n, axis] / steps[s]))
