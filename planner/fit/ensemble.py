"""Draws from any density of a few parameters by an ensemble of walkers (Goodman and Weare 2010).

Each walker jumps along the line through another one, z = u + g (v - u) with g ~ 1/sqrt(g) on
[1/2, 2], and the jump is taken with probability min(1, g^(P-1) p(z) / p(v)). No scale has to be
set, so a curved or narrow ridge costs no more than a round one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from planner.arrays import Floats

WALKERS = 200
BURN, BETWEEN = 300, 60


def ensemble(
    log_density: Callable[[Floats], Floats], begin: Floats, size: int, rng: np.random.Generator
) -> Floats:
    """Return draws (size, P); ``begin`` (200, P) must have a finite log density (200,)."""
    place = begin.copy()
    value = log_density(place)
    half = WALKERS // 2
    taken: list[Floats] = []
    for step in range(BURN + BETWEEN * -(-size // WALKERS)):
        for moving in (slice(0, half), slice(half, WALKERS)):
            still = place[half:] if moving.start == 0 else place[:half]
            partner = still[rng.integers(half, size=half)]
            stretch = (1.0 + rng.random(half)) ** 2 / 2.0
            trial = partner + stretch[:, None] * (place[moving] - partner)
            found = log_density(trial)
            gain = (begin.shape[1] - 1) * np.log(stretch) + found - value[moving]
            jump = np.log(rng.random(half)) < gain
            place[moving] = np.where(jump[:, None], trial, place[moving])
            value[moving] = np.where(jump, found, value[moving])
        if step >= BURN and (step - BURN) % BETWEEN == BETWEEN - 1:
            taken.append(place.copy())
    return np.concatenate(taken)[:size]
