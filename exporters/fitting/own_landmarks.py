"""2D joints and a start from our own networks: the default where nothing else is given."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from engine.avatar.parametric_body import ParametricBody
from engine.body.stills import Start
from engine.fusion.base_avatar import BaseAvatar
from engine.inference.store import ModelStore
from engine.perception.body import BodyTracker
from engine.perception.networks import Networks
from engine.reconstructor import Reconstructor
from engine.types import ARKIT_NAMES, F64, U8, Camera, Identity, Observation, PoseLandmarks
from exporters.fitting.dataset import Seen
from exporters.fitting.keypoints import BLAZEPOSE, JOINTS, NAMES
from exporters.motion.amass import smplx_rotations
from exporters.motion.clip import MotionClip

LONGEST_SIDE = 1280
"""The network looks at 256 pixels; decoding more of a large picture shows it nothing more."""
NAME = "landmarks"


class OwnLandmarks:
    """Our pose network, and the live fit's cold start on Anny carried over to SMPL."""

    def __init__(self, store: ModelStore, body: ParametricBody) -> None:
        """Load the network.

        Raises:
            ModelFileError: a model is missing: run ``sars setup``.
        """
        self._tracker = BodyTracker(Networks(store))
        self._base = BaseAvatar.load(store)
        self._joints, self._betas = len(body.parents), body.betas

    def __call__(self, image: U8, camera: Camera) -> Seen | None:
        """The nearest person of a picture (H, W, 3); ``None`` where nobody is seen."""
        scale = min(1.0, LONGEST_SIDE / max(image.shape[:2]))
        small = image
        if scale < 1.0:
            size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
            small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        self._tracker.reset()
        pose = self._tracker.track(small)
        if pose is None:
            return None
        pose = self._tracker.track(small) or pose  # the landmarks' own region is the better one
        ratio = np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0], 1.0])
        whole = replace(pose, points_px=np.asarray(pose.points_px * ratio, np.float32))
        rows = [BLAZEPOSE.get(name) for name in NAMES]
        points = np.array([whole.points_px[r, :2] if r is not None else (0, 0) for r in rows])
        trust = np.array([whole.visibility[r] if r is not None else 0.0 for r in rows])
        start = self._start(whole, camera)
        return Seen(points.astype(np.float64), trust.astype(np.float64), (start,))

    def _start(self, pose: PoseLandmarks, camera: Camera) -> Start:
        angle = 2.0 * np.arctan(0.5 * max(camera.width, camera.height) / camera.focal_px)
        fit = Reconstructor(self._base, Identity(), float(np.degrees(angle)))
        seen = Observation(0, 0, camera.width, camera.height, None, pose, None, None)
        state, _, _ = fit.reconstruct(seen, pose=False)
        clip = MotionClip(
            avatar=fit.fitted_avatar,
            times_s=np.zeros(1),
            rotations_xyzw=state.rotations_xyzw[None],
            translation_m=state.translation_m[None],
            expression=np.zeros((1, len(ARKIT_NAMES)), np.float32),
        )
        rotations: F64 = np.zeros((self._joints, 3))
        rotations[: len(JOINTS)] = smplx_rotations(clip, np.eye(3))[0, : len(JOINTS)]
        return Start(NAME, rotations, np.zeros(0))
