"""A soft portrait light: sky and ground, one key, one fill."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Light:
    """Linear RGB radiances; directions point from the person to the light, in camera space."""

    key_direction: Vector = (0.45, 0.55, 0.75)
    key: Vector = (0.78, 0.74, 0.70)
    fill_direction: Vector = (-0.7, 0.15, 0.6)
    fill: Vector = (0.20, 0.21, 0.24)
    sky: Vector = (0.34, 0.35, 0.37)
    ground: Vector = (0.14, 0.12, 0.11)
    specular: float = 0.10
    """Strength of the skin's sheen, 0 for none."""

    @staticmethod
    def varied(seed: int) -> Light:
        """A plausible room: key from either side, warm to cold, dim to bright."""
        rng = np.random.default_rng([seed, 0x11647])
        side, height = rng.uniform(-0.9, 0.9), rng.uniform(0.2, 0.9)
        warmth, power = rng.uniform(-0.08, 0.08), rng.uniform(0.6, 0.95)
        ambient = rng.uniform(0.26, 0.42)
        return Light(
            key_direction=(side, height, 0.75),
            key=(power * (1 + warmth), power, power * (1 - warmth)),
            fill_direction=(-np.sign(side) * 0.7, 0.15, 0.6),
            sky=(ambient * (1 - warmth), ambient, ambient * (1 + warmth)),
            ground=(ambient * 0.45, ambient * 0.4, ambient * 0.38),
        )
