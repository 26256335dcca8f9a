"""Sets on which a solver can fail: designs, tails, outliers, weights and one-sidedness at random.

Exponents .15-.8, noise .0005-.05, n = 12-300 (log-uniform); sizes and horizons spread, on few
levels, on IsoFLOP curves, over less than a decade, or nearly collinear.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import CHINCHILLA, CHINCHILLA_TIED, PowerSum
from planner.fit.points import Points


class Case(NamedTuple):
    """What to solve."""

    points: Points
    law: PowerSum
    delta: float


def case(seed: int) -> Case:
    rng = np.random.default_rng([7, seed])
    n = int(np.exp(rng.uniform(np.log(12), np.log(300))))
    params, tokens = _design(rng, n)
    x, z = np.log(params), np.log(tokens)
    alpha, beta = np.exp(rng.uniform(np.log(0.15), np.log(0.8), 2))
    a, b = np.exp(rng.uniform(np.log(0.03), np.log(1.5), 2))
    loss = rng.choice([0.3, 0.8, 1.2, 1.8, 2.2]) + a * np.exp(-alpha * (x - x.mean()))
    loss = loss + b * np.exp(-beta * (z - z.mean()))
    scale = 10 ** rng.uniform(-3.3, -1.3)
    loss = loss * np.exp(np.clip(scale * _noise(rng, n, params), -0.5, 1.0))
    weights = rng.integers(1, 5, n).astype(float) if rng.random() < 0.3 else None
    slack = rng.choice([1.0, 0.3, 0.1, 0.0], n) if rng.random() < 0.3 else None
    delta = [1e-3, 1e-2, 1.345 * scale, np.inf][rng.integers(4)]
    law = CHINCHILLA_TIED if rng.random() < 0.3 else CHINCHILLA
    return Case(Points.of(params, tokens, loss, weights, slack), law, delta)


def _design(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    smallest, span = 10 ** rng.uniform(4, 9), 10 ** rng.uniform(0.7, 3.5)
    levels, kind = int(rng.integers(3, 8)), rng.integers(5)
    spread = smallest * span ** rng.uniform(0, 1, n)
    level = rng.integers(0, levels, n)
    if kind == 0:
        return spread, spread * np.exp(rng.uniform(0, 6, n))
    if kind == 1:
        horizons = 20 * smallest * 4.0 ** rng.integers(0, 4, n)
        return smallest * span ** (level / (levels - 1)), horizons
    if kind == 2:
        flops = 2400 * smallest**2 * 10 ** (level * rng.uniform(0.4, 0.9))
        params = np.sqrt(flops / 120) * np.exp(rng.uniform(-1.5, 1.5, n))
        return params, flops / 6 / params
    if kind == 3:
        params = smallest * span ** (0.4 * level / (levels - 1))
        return params, 20 * params * 2.0 ** rng.integers(-1, 3, n)
    return spread, 20 * spread * np.exp(0.3 * rng.standard_normal(n))


def _noise(rng: np.random.Generator, n: int, params: Floats) -> Floats:
    normal = rng.standard_normal(n)
    group = np.unique(params, return_inverse=True)[1] // 2
    return [
        normal,
        rng.standard_t(2, n),
        1.5 * np.abs(normal),
        normal + (rng.random(n) < 0.1) * rng.normal(0, 15, n),
        0.6 * normal + rng.standard_normal(group.max() + 1)[group],
    ][rng.integers(5)]
