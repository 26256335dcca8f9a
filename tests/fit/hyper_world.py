"""A planted world of learning-rate and batch basins, and the runs a sweep would make in it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from planner.run import Run, Status, Trial
from planner.shape import Size


@dataclass
class World:
    """ln lr* and ln B* laws at an anchor (2e4 parameters, 1e6 tokens), scatter, and basins."""

    rng: np.random.Generator
    log_lr: float = float(np.log(0.018))
    size_slope: float = -0.3
    token_slope: float = 0.1
    log_noise_batch: float = float(np.log(200.0))
    noise_batch_slope: float = 0.7
    log_batch: float = float(np.log(512.0))
    batch_slope: float = 0.5
    k_low: float = 0.03
    k_high: float = 0.045
    k_batch: float = 0.04
    noise: float = 0.005
    lr_scatter: float = 0.0
    batch_scatter: float = 0.0
    edge: float = 50.0
    seen: dict[tuple[float, ...], float] = field(default_factory=dict)

    def best_lr(self, params: float, tokens: float, batch: float) -> float:
        """ln lr* of a cell, its scatter included (drawn once)."""
        d = np.log(tokens / 1e6)
        noise_batch = self.log_noise_batch + self.noise_batch_slope * d
        law = self.log_lr + self.size_slope * np.log(params / 2e4) + self.token_slope * d
        law -= np.logaddexp(0.0, noise_batch - np.log(batch))
        return float(law + self._scatter((params, tokens, batch), self.lr_scatter))

    def best_batch(self, params: float, tokens: float) -> float:
        """ln B* of a horizon, its scatter included."""
        law = self.log_batch + self.batch_slope * np.log(tokens / 1e6)
        return float(law + self._scatter((params, tokens), self.batch_scatter))

    def _scatter(self, place: tuple[float, ...], sd: float) -> float:
        if place not in self.seen:
            self.seen[place] = float(sd * self.rng.normal())
        return self.seen[place]

    def run(self, params: float, tokens: int, batch: int, lr: float, **trial) -> Run:
        """Train one trial; a learning rate ``edge`` times the best one diverges."""
        planned = Trial(
            stage="lr_batch",
            shape={"params": params},
            tokens=tokens,
            batch_tokens=batch,
            lr=float(lr),
            warmup_tokens=trial.pop("warmup_tokens", tokens // 50),
            **trial,
        )
        u = np.log(lr) - self.best_lr(params, tokens, batch)
        v = np.log(batch) - self.best_batch(params, tokens)
        loss = 1.7 + (self.k_low if u < 0 else self.k_high) * u**2 + self.k_batch * v**2
        loss += self.noise * self.rng.normal()
        diverged = u > np.log(self.edge)
        return Run(
            trial=planned,
            key=planned.key({}),
            status=Status.DIVERGED if diverged else Status.DONE,
            loss=float("nan") if diverged else float(loss),
            loss_se=0.001,
            size=Size(params, params, 1.2 * params, 6.0 * params),
            tokens=tokens,
            spent_flops=6.0 * params * tokens,
        )

    def cell(self, params, tokens, batch, lrs) -> list[Run]:
        return [self.run(params, tokens, batch, lr) for lr in lrs]

    def anchor(self, batches=(128, 512, 2048), points=5) -> list[Run]:
        """The LR x batch grid at the anchor: x2 learning rates round a lattice point near lr*."""
        runs = []
        for batch in batches:
            centre = np.round(self.best_lr(2e4, 1e6, batch) / np.log(2) + self.rng.uniform(-1, 1))
            steps = np.arange(points) - points // 2
            runs += self.cell(2e4, 1_000_000, batch, 2.0 ** (centre + steps))
        return runs
