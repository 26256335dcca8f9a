"""IsoFLOP designs with a planted law: sizes spread about N* at levels of compute."""

from __future__ import annotations

from typing import Any

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.observations import Observations
from tests.fit.planted import observed

BESIROGLU = np.array([1.8172, 482.01, 2085.43, 0.3478, 0.3658])
HOFFMANN = np.array([1.69, 406.4, 410.7, 0.34, 0.28])
ASYMMETRIC = np.array([1.69, 406.4, 410.7, 0.465, 0.155])
"""Exponents whose ratio is 3: the parabola's worst case."""


def isoflop_runs(
    truth: Floats,
    *,
    width: float = 8.0,
    off: tuple[float, float] = (1.0, 1.0),
    sizes: int = 7,
    levels: int = 5,
    decades: float = 2.0,
    noise: float = 0.0,
    seed: int = 0,
) -> Observations:
    """Sizes from N* / width to N* width at each level, 6e18 FLOPs and ``decades`` up.

    ``off`` is the factor by which the middle of the sizes misses N* at the lowest and at the
    highest level.
    """
    flops = np.repeat(6e18 * np.geomspace(1.0, 10**decades, levels), sizes)
    miss = np.repeat(np.geomspace(*off, levels), sizes)
    spread = np.tile(np.geomspace(1.0 / width, width, sizes), levels)
    params = optimal_params(truth, flops) * miss * spread
    tokens = flops / (6.0 * params)
    scatter = noise * np.random.default_rng(seed).standard_normal(len(flops))
    return observed(params, tokens, CHINCHILLA.predict(truth, params, tokens) * np.exp(scatter))


def random_law(rng: np.random.Generator) -> Floats:
    """Return a law with exponents of .15 to .55 and any optimum from 3e7 to 3e9 at 1e20 FLOPs."""
    alpha, beta = np.exp(rng.uniform(np.log(0.15), np.log(0.55), 2))
    size = np.exp(rng.uniform(np.log(3e7), np.log(3e9)))
    share = rng.uniform(0.1, 0.4)
    b = share * alpha / beta * (1e20 / 6.0 / size) ** beta
    return np.array([rng.uniform(1.0, 2.2), share * size**alpha, b, alpha, beta])


def random_design(rng: np.random.Generator) -> dict[str, Any]:
    """Return the width (4 to 32x), sizes, levels and range of a design, off or drifting by 3.5x."""
    width = np.exp(rng.uniform(np.log(4.0), np.log(32.0)))
    reach = min(np.log(3.5), 0.7 * np.log(width))
    off = np.exp(rng.uniform(-reach, reach, 2))
    return {
        "width": width,
        "sizes": int(rng.integers(5, 10)),
        "levels": int(rng.integers(4, 8)),
        "decades": rng.uniform(1.5, 3.0),
        "off": tuple(off if rng.random() < 0.5 else off[[0, 0]]),
    }
