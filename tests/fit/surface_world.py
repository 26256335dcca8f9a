"""A planted surface of loss over size, horizon, batch and learning rate, as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.fit.priors import Priors

CELLS = np.array([[1e8, 2e9], [1e8, 8e9], [4e8, 2e9], [4e8, 8e9]])
PRIOR = Priors.published(2e8, 4e9, without=("steplaw",))
TARGET = (2e9, 4e10)


@dataclass(frozen=True)
class Runs:
    params: np.ndarray
    tokens: np.ndarray
    batch_tokens: np.ndarray
    lr: np.ndarray

    @property
    def flops(self):
        return 6 * self.params * self.tokens


RATES, BATCHES = 2.0 ** np.arange(-11, -6), 2.0 ** np.array([16, 18, 20])


def grid(cells=CELLS):
    """Every learning rate at every batch of every cell."""
    cell, batch, lr = (g.ravel() for g in np.meshgrid(range(len(cells)), BATCHES, RATES))
    return Runs(cells[cell, 0], cells[cell, 1], batch, lr)


@dataclass(frozen=True)
class World:
    """Laws at 2e8 parameters and 4e9 tokens; a learning rate ``edge`` times lr* diverges."""

    level: float = float(np.log(2e-3))
    size_slope: float = -0.5
    token_slope: float = 0.1
    noise_batch: float = float(np.log(1.5e5))
    batch: float = float(np.log(2.5e5))
    k: tuple[float, float] = (0.02, 0.03)
    h: float = 0.02
    noise: float = 0.002
    edge: float = 12.0
    shallower: tuple[float, float] = (0.0, 0.0)
    """Exponents in N and D of how deep basins are."""

    def log_lr(self, params, tokens, batch):
        n, d = np.log(params / 2e8), np.log(tokens / 4e9)
        level = self.level + self.size_slope * n + self.token_slope * d
        return level - np.logaddexp(0.0, self.noise_batch + 0.5 * d - np.log(batch))

    def log_batch(self, tokens):
        return self.batch + 0.45 * np.log(tokens / 4e9)

    def loss(self, runs, rng):
        """Train runs; nan where one diverged."""
        u = np.log(runs.lr) - self.log_lr(runs.params, runs.tokens, runs.batch_tokens)
        v = np.log(runs.batch_tokens) - self.log_batch(runs.tokens)
        floor = 1.7 + 400 * runs.params**-0.34 + 400 * runs.tokens**-0.28
        m, t = self.shallower
        depth = (runs.params / 2e8) ** m * (runs.tokens / 4e9) ** t
        loss = floor + depth * (np.where(u < 0, *self.k) * u**2 + self.h * v**2)
        return np.where(u > np.log(self.edge), np.nan, loss + self.noise * rng.normal(size=len(u)))

    def regret(self, lr, batch, params, tokens):
        """What a pair costs at a target, nats."""
        u = np.log(lr) - self.log_lr(params, tokens, batch)
        v = np.log(batch) - self.log_batch(tokens)
        return self.k[int(u > 0)] * u**2 + self.h * v**2
