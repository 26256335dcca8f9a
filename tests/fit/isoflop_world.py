"""IsoFLOP designs with a planted law: sizes spread about N* at levels of compute."""

from __future__ import annotations

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
    noise: float = 0.0,
    seed: int = 0,
) -> Observations:
    """Sizes from N* / width to N* width at each level, 6e18 to 6e20 FLOPs.

    ``off`` is the factor by which the middle of the sizes misses N* at the lowest and at the
    highest level.
    """
    flops = np.repeat(np.geomspace(6e18, 6e20, levels), sizes)
    miss = np.repeat(np.geomspace(*off, levels), sizes)
    spread = np.tile(np.geomspace(1.0 / width, width, sizes), levels)
    params = optimal_params(truth, flops) * miss * spread
    tokens = flops / (6.0 * params)
    scatter = noise * np.random.default_rng(seed).standard_normal(len(flops))
    return observed(params, tokens, CHINCHILLA.predict(truth, params, tokens) * np.exp(scatter))
