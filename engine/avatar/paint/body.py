"""From the neck down: shirt, trousers, shoes, hands with nails; and the inside of the mouth."""

from __future__ import annotations

import numpy as np

from engine.avatar.paint.atlas import EYE_CAVITIES, FEET, HANDS, MOUTH_BAG, TONGUE, TORSO
from engine.avatar.paint.brush import blend, noise, shade, smoothstep
from engine.avatar.paint.look import Look
from engine.avatar.topology import FusedAvatar
from engine.types import F32

NAILS_LEFT = (
    (0.6788, 0.9851), (0.6233, 0.9825), (0.7112, 0.9550), (0.5870, 0.9430), (0.7164, 0.9182),
)  # fmt: skip
NAILS_RIGHT = (
    (0.4452, 0.9843), (0.5005, 0.9820), (0.4134, 0.9540), (0.5366, 0.9426), (0.4077, 0.9179),
)  # fmt: skip
"""u, v of each finger nail."""


ARM_PREFIXES = ("shoulder", "upperarm", "lowerarm", "wrist", "finger", "metacarpal")
HEAD_PREFIXES = ("head", "eye")
EYE_PREFIXES = ("eye",)


def skin_share(avatar: FusedAvatar, prefixes: tuple[str, ...]) -> F32:
    """(V, 1): how much of each vertex's skin weight belongs to joints named so."""
    chosen = np.array([name.startswith(prefixes) for name in avatar.joint_names], np.float32)
    share: F32 = (avatar.skin_weights * chosen[avatar.skin_joints]).sum(axis=1, keepdims=True)
    return share


def paint_body(
    canvas: F32, surface: F32, avatar: FusedAvatar, look: Look, rng: np.random.Generator
) -> None:
    """Dress the torso island, paint hands, feet and mouth.

    Args:
        canvas: (N, N, 3) texture, changed in place.
        surface: (N, N, 6) rest position, arm, head and eye share of each texel, gutters included.
        avatar: whose joints say where waist, neck and wrists are.
        look: colours.
        rng: of folds and weave.
    """
    size = len(canvas)
    torso = TORSO.window(size)
    _clothes(canvas[torso], surface[torso], avatar, look, rng)
    for foot in FEET:
        _shoe(canvas[foot.window(size)], surface[foot.window(size)][..., 1], look)
    for hand, nails in zip(HANDS, (NAILS_RIGHT, NAILS_LEFT), strict=True):
        _nails(canvas[hand.window(size)], hand.grid(size), nails, look)
    _mouth(canvas, surface)


def _mouth(canvas: F32, surface: F32) -> None:
    """The deeper, the darker: no light of ours is blocked by lips."""
    size = len(canvas)
    bag = canvas[MOUTH_BAG.window(size)]
    bag[:] = (74, 26, 26)
    tongue, depth = TONGUE.window(size), surface[TONGUE.window(size)][..., 2]
    lit = smoothstep(float(depth.min()) + 0.035, float(depth.max()), depth)
    canvas[tongue] = (78, 30, 30)
    blend(canvas[tongue], (158, 78, 76), lit)
    for cavity in EYE_CAVITIES:
        window = cavity.window(size)
        blend(canvas[window], (120, 62, 56), surface[window][..., 4] > 0.5)


def _joint(avatar: FusedAvatar, name: str) -> F32:
    position: F32 = avatar.joints_m[avatar.joint_names.index(name)]
    return position


def _along_arm(positions_m: F32, avatar: FusedAvatar) -> F32:
    """0 at the shoulder, 1 at the wrist, on either side."""
    shoulder, wrist = _joint(avatar, "upperarm01.L"), _joint(avatar, "wrist.L")
    axis = (wrist - shoulder) / np.sum((wrist - shoulder) ** 2)
    x = np.abs(positions_m[..., 0]) - shoulder[0]
    y, z = positions_m[..., 1] - shoulder[1], positions_m[..., 2] - shoulder[2]
    share: F32 = (x * axis[0] + y * axis[1] + z * axis[2]).astype(np.float32)
    return share


def _clothes(
    torso: F32, surface: F32, avatar: FusedAvatar, look: Look, rng: np.random.Generator
) -> None:
    positions, on_arm = surface[..., :3], surface[..., 3] > 0.5
    height = positions[..., 1]
    neck, waist = _joint(avatar, "neck01"), float(_joint(avatar, "root")[1]) + 0.02
    arm = np.where(on_arm, _along_arm(positions, avatar), -1.0).astype(np.float32)
    collar = np.linalg.norm((positions - neck) * np.array((1.0, 1.25, 0.9), np.float32), axis=-1)
    shirt = smoothstep(0.092, 0.098, collar) * smoothstep(0.006, -0.006, arm - look.sleeve)
    shirt *= (surface[..., 4] < 0.5) * (height < neck[1] + 0.03)  # the throat is near the collar
    shirt *= np.where(on_arm, 1.0, smoothstep(-0.003, 0.003, height - waist))
    trousers = smoothstep(0.003, -0.003, height - waist) * ~on_arm
    folds = noise(rng, torso.shape[:2], (60, 40)) + 0.5 * noise(rng, torso.shape[:2], (14, 18))
    weave = (1.0 + 0.03 * folds + 0.02 * noise(rng, torso.shape[:2], (1.5, 1.5)))[..., None]
    blend(torso, np.asarray(look.trousers, np.float32) * weave, trousers)
    blend(torso, np.asarray(look.shirt, np.float32) * weave, shirt)
    hems = np.minimum(np.abs(collar - 0.106), np.abs(arm - look.sleeve + 0.03) * 0.5)
    hems = np.where(on_arm, hems, np.minimum(hems, np.abs(height - waist - 0.012)))
    shade(torso, 1.0 - 0.28 * smoothstep(0.004, 0.001, hems) * shirt)


def _shoe(foot: F32, height: F32, look: Look) -> None:
    """Only where the rectangle is low on the body: a finger reaches into it."""
    low = height < 0.3
    blend(foot, look.shoes, low)
    blend(foot, (44, 36, 32), smoothstep(0.022, 0.016, height))
    blend(foot, np.asarray(look.trousers, np.float32), smoothstep(0.085, 0.09, height) * low)


def _nails(
    hand: F32, grid: tuple[F32, F32], nails: tuple[tuple[float, float], ...], look: Look
) -> None:
    colour = np.asarray(look.skin, np.float32) * (1.04, 0.92, 0.92) + 8
    for u, v in nails:
        distance = np.hypot(grid[0] - u, grid[1] - v).astype(np.float32)
        blend(hand, colour, 0.8 * smoothstep(0.0034, 0.0028, distance))
        shade(hand, 1.0 - 0.18 * smoothstep(0.0006, 0.0, np.abs(distance - 0.0034)))
