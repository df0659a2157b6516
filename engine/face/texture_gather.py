"""One frame's face in texture space: where each texel is seen, how well, and its colour.

Colours are linear light by gamma 2, as everything here draws (:mod:`engine.rendering.shaders`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from engine.face.face_atlas import FaceAtlas
from engine.face.landmark_warp import LandmarkWarp
from engine.face.occlusion import DepthMap
from engine.types import F32, U8, Camera, FusedMesh

CHUNK = 1 << 15
"""Texels per call of a kernel: about a millisecond, so that nobody waits for the interpreter."""
LINEAR = np.square(np.arange(256, dtype=np.float32) / 255.0)
"""Linear light of an 8-bit value."""
DARKEST, BRIGHTEST = 8, 250
"""8-bit values beyond which a channel tells nothing."""
STEEPEST = 0.22
"""Cosine between normal and view ray below which a texel is not looked at."""
DEPTH_SLACK_M = 0.006


@dataclass(frozen=True, slots=True)
class Sample:
    """What one frame shows of the atlas' N texels. Overwritten by the next frame."""

    colours: F32
    """(N, 3) linear RGB in [0, 1]."""
    normals: F32
    """(N, 3) unit, camera space."""
    weights: F32
    """(N,) in [0, 1]: 0 where hidden, edge-on, saturated or dark."""

    @staticmethod
    def empty(atlas: FaceAtlas) -> Sample:
        """Room for one frame."""
        count = len(atlas.texels)
        return Sample(
            np.zeros((count, 3), np.float32),
            np.zeros((count, 3), np.float32),
            np.zeros(count, np.float32),
        )


def gather(
    image: U8,
    mesh: FusedMesh,
    camera: Camera,
    depth: DepthMap,
    atlas: FaceAtlas,
    warp: LandmarkWarp,
    shifts_px: F32,
    out: Sample,
) -> None:
    """Look every texel up in a picture.

    Args:
        image: (H, W, 3) RGB.
        mesh: posed, camera space.
        camera: that took the picture.
        depth: what is nearest around the face.
        atlas: the texels.
        warp: how landmarks move texels.
        shifts_px: (478, 2) how far landmarks are off the mesh, zeros for none.
        out: overwritten.
    """
    lens = np.array([camera.focal_px, camera.cx, camera.cy], np.float32)
    # A read-only array would have the kernel compiled a second time.
    picture = image if image.flags.writeable and image.flags.c_contiguous else image.copy()
    for first in range(0, len(atlas.texels), CHUNK):
        part = slice(first, first + CHUNK)
        _gather(
            picture,
            LINEAR,
            mesh.vertices_m,
            mesh.normals,
            lens,
            depth.depth_m,
            depth.placing,
            atlas.corners[part],
            atlas.barycentric[part],
            warp.landmarks[part],
            warp.shares[part],
            shifts_px,
            out.colours[part],
            out.normals[part],
            out.weights[part],
        )


@njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
def _gather(  # type: ignore[no-untyped-def]
    image, linear, vertices, vertex_normals, lens, depth, placing, corners, shares,
    landmarks, landmark_shares, shifts, colours, normals, weights,
):  # pragma: no cover - compiled  # fmt: skip
    height, width, _ = image.shape
    rows, columns = depth.shape
    one = np.float32(1.0)
    p, m = np.empty(3, np.float32), np.empty(3, np.float32)
    for n in range(corners.shape[0]):
        weights[n] = np.float32(0.0)
        a, b, c = corners[n, 0], corners[n, 1], corners[n, 2]
        length, distance, facing = np.float32(1e-20), np.float32(1e-20), np.float32(0.0)
        for k in range(3):
            p[k] = (
                shares[n, 0] * vertices[a, k]
                + shares[n, 1] * vertices[b, k]
                + shares[n, 2] * vertices[c, k]
            )
            m[k] = (
                shares[n, 0] * vertex_normals[a, k]
                + shares[n, 1] * vertex_normals[b, k]
                + shares[n, 2] * vertex_normals[c, k]
            )
            length += m[k] * m[k]
            distance += p[k] * p[k]
            facing -= m[k] * p[k]
        length = one / np.sqrt(length)
        for k in range(3):
            normals[n, k] = m[k] * length
        cosine = facing * length / np.sqrt(distance)
        z = -p[2]
        if cosine < STEEPEST or z < np.float32(0.05):
            continue
        x = lens[1] + lens[0] * p[0] / z
        y = lens[2] - lens[0] * p[1] / z
        i = int((y - placing[1]) * placing[2] + np.float32(0.5))
        j = int((x - placing[0]) * placing[2] + np.float32(0.5))
        if i < 0 or j < 0 or i >= rows or j >= columns or depth[i, j] < z - DEPTH_SLACK_M:
            continue
        for k in range(3):
            x += landmark_shares[n, k] * shifts[landmarks[n, k], 0]
            y += landmark_shares[n, k] * shifts[landmarks[n, k], 1]
        if not (x >= 0 and y >= 0 and x < width - 1 and y < height - 1):
            continue
        i, j = int(y), int(x)
        dy, dx = y - np.float32(i), x - np.float32(j)
        usable = True
        for k in range(3):
            p00, p01, p10, p11 = (
                image[i, j, k], image[i, j + 1, k], image[i + 1, j, k], image[i + 1, j + 1, k],
            )  # fmt: skip
            usable &= max(p00, p01, p10, p11) <= BRIGHTEST
            top = linear[p00] * (one - dx) + linear[p01] * dx
            bottom = linear[p10] * (one - dx) + linear[p11] * dx
            colours[n, k] = top * (one - dy) + bottom * dy
        usable &= max(image[i, j, 0], image[i, j, 1], image[i, j, 2]) >= DARKEST
        if usable:
            share = (cosine - STEEPEST) / (one - STEEPEST)
            weights[n] = share * share
