"""What a painted person looks like: a few colours and a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

Colour = tuple[int, int, int]

SKINS: tuple[Colour, ...] = (
    (232, 190, 172), (222, 175, 152), (205, 155, 125), (180, 128, 98), (140, 94, 70), (104, 70, 54),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = ((28, 22, 20), (52, 36, 26), (88, 58, 36), (140, 100, 60), (96, 92, 90))
IRISES: tuple[Colour, ...] = ((86, 54, 32), (58, 88, 110), (84, 96, 62), (52, 34, 24))
CLOTHES: tuple[Colour, ...] = (
    (60, 84, 120), (150, 60, 58), (70, 104, 84), (190, 186, 178), (54, 56, 62), (176, 138, 72),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Look:
    """8-bit sRGB colours of one person, and the seed of everything irregular on them."""

    skin: Colour = SKINS[1]
    hair: Colour = HAIRS[1]
    iris: Colour = IRISES[1]
    shirt: Colour = CLOTHES[0]
    trousers: Colour = CLOTHES[4]
    shoes: Colour = (64, 52, 46)
    sleeve: float = 0.32
    """How far the sleeves reach from shoulder (0) to wrist (1)."""
    seed: int = 0

    @staticmethod
    def varied(seed: int) -> Look:
        """Another person for every seed."""
        rng = np.random.default_rng([seed, 0x100C])
        skin = SKINS[rng.integers(len(SKINS))]
        look = Look(
            skin=skin,
            hair=HAIRS[rng.integers(len(HAIRS))],
            iris=IRISES[rng.integers(len(IRISES))],
            shirt=CLOTHES[rng.integers(len(CLOTHES))],
            trousers=CLOTHES[rng.integers(len(CLOTHES))],
            sleeve=float(rng.choice([0.32, 0.45, 0.93])),
            seed=seed,
        )
        dark_skinned = sum(skin) < 350
        return replace(look, hair=HAIRS[0], iris=IRISES[0]) if dark_skinned else look
