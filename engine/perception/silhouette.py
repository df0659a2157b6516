"""A person cut out of one picture, with the landmarks that the same look gives.

The pose network's file has a second output, a mask, whose decoder the frame path has no time for.
The slow loop has: about 12 ms for a picture a second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.perception.crop import Cropper, is_picture
from engine.perception.heatmap import refine
from engine.perception.landmarks import LEFT_HIP, RIGHT_HIP, sigmoid, to_gltf_axes
from engine.perception.networks import Networks
from engine.perception.region import Region, from_alignment_points
from engine.types import F32, U8, PoseLandmarks

SIDE = 256
PRESENT = 0.5
REACH = 1.15
"""The crop reaches so many times as far from the hips as the furthest landmark that is seen."""
SEEN = 0.5


@dataclass(frozen=True, slots=True)
class Silhouette:
    """One look at a person; pixels are those of an upright square crop of 256."""

    mask: F32
    """(256, 256) probability that a pixel is the person."""
    points_px: F32
    """(33, 2) BlazePose's points in the crop."""
    world_m: F32
    """(33, 3) metres from between the hips, glTF axes of the crop."""
    visibility: F32
    """(33,) in [0, 1]."""
    presence: float
    frame_px: float
    """Pixels of the frame that one of the crop spans."""


class SilhouetteReader:
    """Reads one picture at a time; not for two threads at once."""

    def __init__(self, networks: Networks) -> None:
        """Open the network.

        Args:
            networks: where sessions come from.

        Raises:
            ModelFileError: the network is missing or damaged.
        """
        self._network = networks.open("pose_silhouette")
        self._crop = Cropper(self._network.image)

    def read(self, image: U8, pose: PoseLandmarks) -> Silhouette | None:
        """Cut a person out.

        Args:
            image: (H, W, 3) RGB.
            pose: the person's landmarks in this very picture.

        Returns:
            The silhouette, or None where the crop shows nobody or too little.
        """
        if not is_picture(image):
            return None
        region = around(pose)
        if region is None or not region.is_readable(image.shape[1], image.shape[0]):
            return None
        landmarks, presence, silhouette, heatmap, world = self._network(self._crop(image, region))
        if not float(presence.flat[0]) >= PRESENT:
            return None
        points = np.array(landmarks[0, :, :3])
        refine(points, heatmap[0], SIDE / heatmap.shape[-1], 3, 0.5)
        found = Silhouette(
            mask=sigmoid(silhouette[0, 0]),
            points_px=np.ascontiguousarray(points[:33, :2]),
            world_m=to_gltf_axes(world[0, :33]),
            visibility=sigmoid(landmarks[0, :33, 3]),
            presence=float(presence.flat[0]),
            frame_px=region.side / SIDE,
        )
        self._network.rest()
        return found


def around(pose: PoseLandmarks) -> Region | None:
    """The upright square about the hips that holds every landmark that is seen."""
    points = pose.points_px[:, :2]
    hips = (points[LEFT_HIP] + points[RIGHT_HIP]) / 2.0
    seen = points[pose.visibility >= SEEN]
    if not len(seen) or not np.isfinite(points).all():
        return None
    reach = REACH * float(np.abs(seen - hips).max())
    rim = hips - np.array([0.0, reach], np.float32)
    return from_alignment_points(hips, rim, 1.0)
