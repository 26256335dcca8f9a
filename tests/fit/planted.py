"""Ladders with a planted law: the truth is known, so fits and intervals can be scored."""

from __future__ import annotations

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA
from planner.observations import Observations

TRUTH = np.array([0.9, 60.0, 400.0, 0.35, 0.37])
TRUTHS = (
    TRUTH,
    np.array([1.2, 40.0, 800.0, 0.33, 0.42]),
    np.array([0.8, 30.0, 150.0, 0.28, 0.31]),
    np.array([1.1, 300.0, 600.0, 0.50, 0.40]),
)


def observed(
    params: Floats, tokens: Floats, loss: Floats, group: tuple[str, ...] | None = None
) -> Observations:
    unknown = np.full(len(params), np.nan)
    names = tuple(f"r{i}" for i in range(len(params)))
    return Observations(
        params,
        tokens,
        6.0 * params * tokens,
        loss,
        unknown,
        unknown,
        unknown,
        group or names,
        names,
    )


def ladder(
    truth: Floats = TRUTH,
    *,
    noise: float = 0.0,
    shared: float = 0.4,
    sizes: int = 5,
    horizons: tuple[float, ...] = (1e6, 2e6, 4e6),
    seed: int = 0,
) -> Observations:
    """Forks of one trunk per size; ``shared`` is the trunk's share of the noise variance."""
    rng = np.random.default_rng(seed)
    params = np.repeat(np.geomspace(1e4, 1.15e5, sizes), len(horizons))
    tokens = np.tile(horizons, sizes)
    trunk = np.repeat(rng.standard_normal(sizes), len(horizons))
    own = rng.standard_normal(len(params))
    ln_noise = noise * (np.sqrt(shared) * trunk + np.sqrt(1.0 - shared) * own)
    loss = CHINCHILLA.predict(truth, params, tokens) * np.exp(ln_noise)
    group = tuple(str(i) for i in np.repeat(np.arange(sizes), len(horizons)))
    return observed(params, tokens, loss, group)


def many_runs(noise: float, *, n: int = 200, seed: int = 0) -> Observations:
    """Independent runs over three decades of compute, Chinchilla's constants."""
    rng = np.random.default_rng(seed)
    params, ratio = np.exp(rng.uniform(np.log(5e7), np.log(1e10), n)), rng.uniform(1.5, 5.0, n)
    tokens = params * np.exp(ratio)
    truth = np.array([1.8172, 482.0, 2085.0, 0.348, 0.366])
    loss = CHINCHILLA.predict(truth, params, tokens) * np.exp(noise * rng.standard_normal(n))
    return observed(params, tokens, loss)
