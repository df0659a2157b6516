"""Learn the shipped pose prior: ``python -m exporters.train_pose_prior MOCAP_FOLDER``.

Motions are retargeted to Anny, expressed as SMPL-X's joints, mirrored, and gathered by k-means;
every cluster gets the mean and the covariance of its poses, widened by what a motion capture of
eleven clips cannot have seen.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from scipy.cluster.vq import kmeans2

from engine.body.pose_priors import BODY_JOINTS, FILE_NAME
from engine.inference.store import write_atomically
from engine.sources.bvh import read_bvh
from engine.sources.motion.retarget import MocapMotion
from engine.sources.motion.skeleton import Skeleton
from engine.sources.performer import person
from engine.types import ARKIT_NAMES, F64
from exporters.motion.amass import smplx_rotations
from exporters.motion.clip import MotionClip

COMPONENTS = 6
FRAMES_EACH = 400
WIDTH_RAD = 0.2
"""Standard deviation added to every angle."""
_SIDES = np.array([1, 0, 2, 4, 3, 5, 7, 6, 8, 10, 9, 11, 13, 12, 14, 16, 15, 18, 17, 20, 19])
"""Left for right among the 21 joints after the root."""


def main(folder: Annotated[Path, typer.Argument(help="With .bvh files.")]) -> None:
    """Write the prior beside the engine's body."""
    poses = np.concatenate([_poses(path) for path in sorted(folder.rglob("*.bvh"))])
    mirrored = poses[:, _SIDES] * np.array([1.0, -1.0, -1.0])
    everything = np.concatenate([poses, mirrored]).reshape(-1, 3 * BODY_JOINTS)
    _, labels = kmeans2(everything, COMPONENTS, seed=0, minit="++")
    groups = [everything[labels == k] for k in range(COMPONENTS)]
    groups = [group for group in groups if len(group) > 1]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        means=np.array([group.mean(axis=0) for group in groups]),
        covars=np.array([np.cov(g.T) + WIDTH_RAD**2 * np.eye(g.shape[1]) for g in groups]),
        weights=np.array([len(group) / len(everything) for group in groups]),
        licence=np.array("motions: Meta's AnimatedDrawings (MIT); mocap.cs.cmu.edu (free use)"),
    )
    path = Path(__file__).parents[1] / "engine" / "body" / FILE_NAME
    write_atomically(path, content.getvalue())
    typer.echo(f"{len(everything)} poses, {len(groups)} components, {path}")


def _poses(path: Path) -> F64:
    """(N, 21, 3) axis-angle relative to the parent, spread over one motion."""
    avatar = person(0)
    motion = MocapMotion(read_bvh(path), Skeleton.of(avatar))
    times = np.linspace(0.0, motion.duration_s, min(FRAMES_EACH, int(30 * motion.duration_s)))
    moments = [motion.at(float(t)) for t in times]
    clip = MotionClip(
        avatar=avatar,
        rotations_xyzw=np.stack([moment.rotations_xyzw for moment in moments]),
        translation_m=np.stack([moment.root_m for moment in moments]),
        expression=np.zeros((len(moments), len(ARKIT_NAMES)), np.float32),
        times_s=times,
    )
    return smplx_rotations(clip)[:, 1 : 1 + BODY_JOINTS]


if __name__ == "__main__":
    typer.run(main)
