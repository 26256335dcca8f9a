"""The planted truth of the synthetic proxy: where losses, learning rates and batches really lie.

    L(N, D, lr, B) = law(N, D) + k ln^2(lr / lr*) + k_B ln^2(B / B*) + warmup excess
    lr*(N, D, B)   = lr_inf (N / N0)^p (D / D0)^q / (1 + B_s(D) / B),   B_s = b (D / D0)^g
    B*(D)          = B0 (D / D1)^r

with k = k_low below lr* and k_high above. The forms are those of published sweeps (refits of the
Step Law runs: lr* saturates in B, basins are asymmetric in ln lr); the default numbers resemble
byte-level transformers of 1e4-1e5 parameters on one CPU core. C is 6 N D throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self

import numpy as np

from planner.arrays import Floats
from planner.errors import SpaceError
from planner.fit.laws import CHINCHILLA
from planner.run import Trial


@dataclass(frozen=True)
class Part:
    """A group of options: numbers only, each with a default."""

    @classmethod
    def read(cls, name: str, options: Mapping[str, Any] | None) -> Self:
        """Make the group from the YAML's mapping. Raises SpaceError for unknown or odd entries."""
        known = [f.name for f in fields(cls)]
        given = dict(options or {})
        if unknown := [key for key in given if key not in known]:
            raise SpaceError(
                f"proxy synthetic: `{name}` has no `{unknown[0]}`; it knows {', '.join(known)}"
            )
        try:
            return cls(**{key: float(value) for key, value in given.items()})
        except (TypeError, ValueError):
            raise SpaceError(f"proxy synthetic: `{name}` must hold numbers, not {given}") from None


@dataclass(frozen=True)
class LossLaw(Part):
    """E + A N^-alpha + B D^-beta, nats per token."""

    E: float = 1.0
    A: float = 29.0
    B: float = 1.1e4
    alpha: float = 0.40
    beta: float = 0.735

    @property
    def theta(self) -> Floats:
        """The five numbers in the law's order."""
        return np.array([self.E, self.A, self.B, self.alpha, self.beta])


@dataclass(frozen=True)
class LrBasin(Part):
    """``optimum`` is lr* at (params, tokens) and the best batch there; p, q, g are exponents.

    ``batch_scale`` is B_s in tokens at ``tokens``; above ``diverges`` x lr* a run diverges.
    """

    optimum: float = 0.016
    params: float = 3e4
    tokens: float = 2e6
    p: float = -0.35
    q: float = 0.2
    batch_scale: float = 128.0
    g: float = 0.7
    diverges: float = 8.0


@dataclass(frozen=True)
class BatchBasin(Part):
    """B* in tokens per step is ``optimum`` at ``tokens`` tokens and grows as D^r."""

    optimum: float = 384.0
    tokens: float = 2e6
    r: float = 0.5


@dataclass(frozen=True)
class Curvature(Part):
    """Nats per squared e-fold away from the optimum."""

    low: float = 0.035
    high: float = 0.045
    batch: float = 0.05


@dataclass(frozen=True)
class Warmup(Part):
    """Excess of a run without warmup, its e-folding in tokens, cost of warming all along (nats)."""

    excess: float = 0.05
    tokens: float = 8e3
    cost: float = 0.02


@dataclass(frozen=True)
class Drift(Part):
    """A slow departure from the law per decade of C beyond ``from_flops``.

    ``loss_per_decade`` changes ln(L - E), ``ln_n_per_decade`` moves ln N*; both default to nothing.
    """

    loss_per_decade: float = 0.0
    ln_n_per_decade: float = 0.0
    from_flops: float = 1e12

    def decades(self, flops: Floats) -> Floats:
        """Return how many decades of compute lie beyond the start of the drift."""
        return np.log10(np.maximum(flops / self.from_flops, 1.0))


@dataclass(frozen=True)
class Truth:
    """Everything planted, and the questions a benchmark asks of it. Arrays broadcast."""

    law: LossLaw = field(default_factory=LossLaw)
    lr: LrBasin = field(default_factory=LrBasin)
    batch: BatchBasin = field(default_factory=BatchBasin)
    curvature: Curvature = field(default_factory=Curvature)
    warmup: Warmup = field(default_factory=Warmup)
    drift: Drift = field(default_factory=Drift)

    def best_loss(self, params: Floats | float, tokens: Floats | float) -> Floats:
        """Return the decayed loss at the best lr and batch, nats per token."""
        n, d = np.broadcast_arrays(np.asarray(params, float), np.asarray(tokens, float))
        decades = self.drift.decades(6.0 * n * d)
        shift = np.exp(self.drift.ln_n_per_decade * decades)
        flat = CHINCHILLA.predict(self.law.theta, (n / shift).ravel(), (d * shift).ravel())
        reducible = flat.reshape(n.shape) - self.law.E
        return self.law.E + reducible * np.exp(self.drift.loss_per_decade * decades)

    def best_batch(self, tokens: Floats | float) -> Floats:
        """Return B*, tokens per step."""
        horizon = np.asarray(tokens, float) / self.batch.tokens
        return np.asarray(self.batch.optimum * horizon**self.batch.r)

    def best_lr(
        self, params: Floats | float, tokens: Floats | float, batch_tokens: Floats | float
    ) -> Floats:
        """Return lr* at a batch of ``batch_tokens`` tokens."""
        basin = self.lr
        horizon = np.asarray(tokens, float) / basin.tokens
        peak = basin.optimum * (1.0 + basin.batch_scale / self.best_batch(basin.tokens))
        peak = peak * (np.asarray(params, float) / basin.params) ** basin.p * horizon**basin.q
        scale = basin.batch_scale * horizon**basin.g
        return np.asarray(peak / (1.0 + scale / np.asarray(batch_tokens, float)))

    def optimal_size(self, flops: Floats | float) -> Floats:
        """Return N*(C) for C = 6 N D."""
        c = np.asarray(flops, float)
        law, total = self.law, self.law.alpha + self.law.beta
        scale = (law.alpha * law.A / (law.beta * law.B)) ** (1.0 / total)
        drifted = np.exp(self.drift.ln_n_per_decade * self.drift.decades(c))
        return np.asarray(scale * (c / 6.0) ** (law.beta / total) * drifted)

    def penalty(self, trial: Trial, params: float) -> float:
        """Return what lr, batch and warmup of a trial cost above :meth:`best_loss`, nats."""
        off = np.log(trial.lr / self.best_lr(params, trial.tokens, trial.batch_tokens))
        curvature = self.curvature.low if off < 0 else self.curvature.high
        batch = np.log(trial.batch_tokens / self.best_batch(trial.tokens))
        warm = self.warmup.excess * np.exp(-trial.warmup_tokens / self.warmup.tokens)
        warm += self.warmup.cost * trial.warmup_tokens / trial.tokens
        return float(curvature * off**2 + self.curvature.batch * batch**2 + warm)
