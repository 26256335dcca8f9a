"""A planted table: quadratic basins whose optimum follows a power law, diverged at high lr."""

from __future__ import annotations

import numpy as np

from planner.sweep.replay.pool import Seen

TARGET = (1e9, 1e11)


def best(n: np.ndarray, d: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ln lr* and ln B*, Step Law's exponents and a level a little off."""
    return np.log(1.5) - 0.713 * np.log(n) + 0.307 * np.log(d), np.log(0.8) + 0.571 * np.log(d)


def table(noise: float = 0.002, seed: int = 0) -> Seen:
    """Return full 7 x 6 grids at nine proxy cells and at the target."""
    rng = np.random.default_rng(seed)
    cells = [(n, d) for n in (1e8, 2e8, 4e8) for d in (4e9, 1e10, 2e10)] + [TARGET]
    lr, batch = np.meshgrid(2.0 ** np.arange(-12, -5), 2.0 ** np.arange(16, 22))
    rows = [(n, d, b, r) for n, d in cells for r, b in zip(lr.ravel(), batch.ravel(), strict=True)]
    n, d, b, r = np.array(rows).T
    log_lr, log_batch = best(n, d)
    u, v = np.log(r) - log_lr, np.log(b) - log_batch
    loss = 1.8 + 480 * n**-0.348 + 2085 * d**-0.366 + 0.018 * u**2 + 0.014 * v**2
    loss += noise * rng.standard_normal(len(loss))
    return Seen(n, d, b, r, 6 * n * d, np.where(u > np.log(6), np.nan, loss))
