"""Avatar states that move like nobody in particular: smooth, every joint but the toes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from engine.avatar.topology import Topology
from engine.types import ARKIT_NAMES, F32, JOINT_COUNT, AvatarState, Camera, FusedMesh

FRAME_NS = 33_333_333
TOES = [*range(7, 21), *range(27, 41)]


def quaternions(rotation_vectors: F32) -> F32:
    """Unit quaternions xyzw of rotation vectors (N, 3) in radians."""
    angles = np.linalg.norm(rotation_vectors, axis=1, keepdims=True)
    vector = 0.5 * np.sinc(angles / (2 * np.pi)) * rotation_vectors
    return np.concatenate([vector, np.cos(angles / 2)], axis=1).astype(np.float32)


def rest_state(index: int = 0, identity_version: int = 0) -> AvatarState:
    return AvatarState(
        index=index,
        captured_at_ns=10**12 + index * FRAME_NS,
        identity_version=identity_version,
        rotations_xyzw=quaternions(np.zeros((JOINT_COUNT, 3), np.float32)),
        translation_m=np.zeros(3, np.float32),
        expression=np.zeros(len(ARKIT_NAMES), np.float32),
        camera=Camera(554.25, 319.5, 239.5, 640, 480),
    )


def moving_states(count: int, amplitude: float = 0.3, seed: int = 0) -> Iterator[AvatarState]:
    """States at 30 fps: sinusoids of 0.3 to 1.5 Hz plus the jitter of landmarks."""
    rng = np.random.default_rng(seed)
    size = (JOINT_COUNT, 3)
    reach = rng.normal(size=size) * amplitude
    reach[TOES] = 0.0
    frequency, phase = rng.uniform(0.3, 1.5, size), rng.uniform(0, 2 * np.pi, size)
    for index in range(count):
        angle = 2 * np.pi * frequency * index / 30 + phase
        vectors = reach * np.sin(angle) + (reach != 0) * rng.normal(size=size) * 0.005
        base = rest_state(index, 1)
        yield AvatarState(
            base.index,
            base.captured_at_ns,
            1,
            quaternions(vectors.astype(np.float32)),
            np.array([0.1 * np.sin(index / 20), 0.0, -2.0], np.float32),
            np.clip(np.sin(angle[:52, 0]), 0.0, 1.0).astype(np.float32),
            base.camera,
            0.9,
            0.8,
            0.7,
            0.6,
        )


SHEET_VERTICES = 12_000
NO_TOPOLOGY = Topology(*[np.zeros((0, 3), np.int32)] * 6)


def sheet(index: int, vertices: np.ndarray | None = None) -> FusedMesh:
    """A wavy sheet of human size that moves a little from frame to frame."""
    if vertices is None:
        u, v = np.meshgrid(np.linspace(0, 1.8, SHEET_VERTICES // 100), np.linspace(0, 0.6, 100))
        wave = 0.1 * np.sin(7 * u + 0.2 * index)
        vertices = np.stack([v, u - 0.9, wave - 2.0 + 0.05 * index], axis=-1).reshape(-1, 3)
    vertices = vertices.astype(np.float32)
    return FusedMesh(index, 10**12 + index, vertices, vertices, NO_TOPOLOGY)
