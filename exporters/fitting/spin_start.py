"""SPIN as an initialiser: one network call on a crop of the person gives pose, shape and camera."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from engine import quaternions
from engine.avatar.parametric_body import ParametricBody
from engine.body.stills import Start
from engine.errors import ModelFileError
from engine.types import F32, F64, U8, Camera
from exporters.fitting.dataset import Seen
from exporters.fitting.keypoints import JOINTS

SIDE = 224
MARGIN = 1.2
"""The crop's side over the larger extent of the 2D joints, as SPIN was trained."""
MAX_BYTES = 1 << 30
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_SPREAD = np.array([0.229, 0.224, 0.225], np.float32)
"""ImageNet's."""
_SHAPES = {"rotations": (1, 24, 3, 3), "betas": (1, 10), "camera": (1, 3)}


class SpinStart:
    """A converted SPIN checkpoint."""

    name = "spin"

    def __init__(self, path: Path, body: ParametricBody) -> None:
        """Load it.

        Raises:
            ModelFileError: it is missing, damaged, or not a file of ``sars convert spin``.
        """
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            raise ModelFileError(f"expected a file of `sars convert spin` at {path}")
        try:
            self._session = onnxruntime.InferenceSession(
                path.read_bytes(), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises a class of its own for every fault
            raise ModelFileError(
                f"{path} is no network that can be read; convert SPIN's checkpoint again"
            ) from error
        found = {o.name: tuple(o.shape) for o in self._session.get_outputs()}
        if found != _SHAPES or [i.name for i in self._session.get_inputs()] != ["image"]:
            raise ModelFileError(f"{path} is not SPIN: expected outputs {_SHAPES}, found {found}")
        self._joints = len(body.parents)
        self._hips_m = body.joint_template_m[0].astype(np.float64)

    def __call__(self, image: U8, seen: Seen, camera: Camera) -> Start:
        """Pose, shape and place of the person whose 2D joints are given."""
        middle, side = person_square(seen.points_px[seen.trust > 0.0])
        crop = crop_of(image, middle, side)
        rotations, betas, weak = self._session.run(list(_SHAPES), {"image": crop})
        turns = np.zeros((self._joints, 3))
        used = min(len(JOINTS), self._joints)
        matrices = rotations[0, :used].astype(np.float64)
        # SPIN looks along +z with y down, as OpenCV does: half a turn about x.
        matrices[0] = np.diag([1.0, -1.0, -1.0]) @ matrices[0]
        turns[:used] = quaternions.to_rotation_vector(quaternions.from_matrix(matrices))
        place = place_of(weak[0].astype(np.float64), middle, side, camera)
        # The body turns about its hips, not about the origin.
        place += np.array([0.0, -2.0, -2.0]) * self._hips_m
        return Start(self.name, turns, betas[0].astype(np.float64), place)


def person_square(points: F64) -> tuple[F64, float]:
    """Middle (2,) and side in pixels of the square around 2D joints (K, 2)."""
    low, high = points.min(axis=0), points.max(axis=0)
    return 0.5 * (low + high), max(float((high - low).max()) * MARGIN, 2.0)


def crop_of(image: U8, middle: F64, side: float) -> F32:
    """(1, 3, 224, 224) as SPIN's training normalised it; black beyond the picture."""
    scale = SIDE / side
    shift = 0.5 * (SIDE - 1) - scale * middle
    matrix = np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
    crop = cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    scaled = (crop.astype(np.float32) / 255.0 - _MEAN) / _SPREAD
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None])


def place_of(weak: F64, middle: F64, side: float, camera: Camera) -> F64:
    """(3,) metres, glTF's camera axes, of SPIN's weak perspective (scale, x, y) in its crop.

    A body of scale s spans s metres per half crop: depth = 2 f / (s side).
    """
    scale = float(np.clip(weak[0], 0.05, 20.0))
    depth = 2.0 * camera.focal_px / (scale * side)
    x = weak[1] + (middle[0] - camera.cx) * depth / camera.focal_px
    y = weak[2] + (middle[1] - camera.cy) * depth / camera.focal_px
    return np.array([x, -y, -depth])
