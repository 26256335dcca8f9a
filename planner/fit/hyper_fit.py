"""What is known of learning rate, batch and warmup, and what it says of any size and horizon.

    sd^2 = x' Sigma x + scatter^2 + (drift * decades of compute outside the cells)^2

The laws and how they are fitted: :mod:`planner.fit.transfer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from planner.arrays import Floats
from planner.estimate import LEVEL, Estimate
from planner.finding import Finding
from planner.fit.batch_law import BatchLaw, even_draws
from planner.fit.cells import BatchSweep, Cell, SeedNoise
from planner.fit.curvature import log_normal
from planner.fit.decay import RULE, DecayFit
from planner.fit.lr_choice import LrComparison
from planner.fit.lr_law import LrLaw
from planner.fit.priors import Priors
from planner.fit.priors_unpublished import owes_nothing
from planner.fit.warmup import WarmupFit
from planner.shape import Size

SCHEMA_VERSION = 1
DRAWS = 1000


@dataclass(frozen=True)
class HyperFit:
    """What is known of learning rate, batch and warmup; predicts them for any size and horizon."""

    prior: Priors
    lr_law: LrLaw
    lr_forms: LrComparison
    batch_law: BatchLaw
    k_low: Estimate
    """Curvature of the loss in ln lr below the optimum (nats), k_high above it."""
    k_high: Estimate
    k_batch: Estimate
    """Curvature of the loss in ln B (nats)."""
    seed_noise: SeedNoise | None
    """Pooled replicates; None when no trial was repeated with another seed."""
    sigma_seed: float
    """sd of one run's loss in nats: replicates averaged with the prior belief."""
    flops: tuple[float, float]
    """Compute of the cheapest and the dearest evidence; beyond it predictions widen."""
    n_convention: str
    """params_matmul with own cells, params_non_embedding where only the prior speaks."""
    cells: tuple[Cell, ...]
    batch_sweeps: tuple[BatchSweep, ...]
    warmup: WarmupFit
    findings: tuple[Finding, ...]
    decay: DecayFit = RULE
    depth_slope: float = 0.0
    """Exponent in N D of the curvatures, which are those at the anchor."""

    @property
    def own_share(self) -> float:
        """Share of what is known of the learning rate's level and slopes that own data gave."""
        return self.lr_law.own_share(self.prior)

    @property
    def _belief(self) -> str:
        return "wide" if owes_nothing(self.prior) else "published"

    @property
    def own_share_batch(self) -> float:
        """The same share for the batch's level and slope."""
        return self.batch_law.own_share(self.prior)

    def lr(
        self, size: Size, tokens: float, batch_tokens: float, *, level: float = LEVEL
    ) -> Estimate:
        """Return the best learning rate at a batch: posterior median, predictive interval."""
        mean, sd = self.lr_law.predict(self._params(size), tokens, batch_tokens)
        wide = float(np.hypot(sd, self._lr_spread(size, tokens)))
        method = f"MAP of own cells and {self._belief} priors, Laplace; + scatter and drift"
        return log_normal(mean, wide, level, method)

    def lr_draws(
        self, size: Size, tokens: float, batch_tokens: float, *, draws: int = DRAWS, seed: int = 0
    ) -> Floats:
        """Return predictive draws (draws,) of the best learning rate at a batch."""
        rng = np.random.default_rng(seed)
        normals = rng.normal(size=(draws, len(self.lr_law.mean)))
        law = self.lr_law.draws(self._params(size), tokens, batch_tokens, normals)
        log_lr = law + self._lr_spread(size, tokens) * rng.normal(size=draws)
        return np.asarray(np.exp(log_lr), dtype=np.float64)

    def batch(self, size: Size, tokens: float, *, level: float = LEVEL) -> Estimate:
        """Return the best batch in tokens: posterior median, predictive interval."""
        draws = self.batch_draws(size, tokens)
        method = f"own batch sweeps and {self._belief} prior on a grid; + scatter and drift"
        return Estimate.from_draws(draws, level=level, method=method)

    def batch_draws(
        self, size: Size, tokens: float, *, draws: int = DRAWS, seed: int = 0
    ) -> Floats:
        """Return predictive draws (draws,) of the best batch in tokens."""
        return np.asarray(np.exp(self._log_batch(size, tokens, draws, seed)), dtype=np.float64)

    def best_batch(self, size: Size, tokens: float) -> float:
        """Return the median of :meth:`batch` alone: a ladder asks for thousands."""
        draws, half = self._log_batch(size, tokens, DRAWS, 0), DRAWS // 2
        below, above = np.exp(np.partition(draws, (half - 1, half))[half - 1 : half + 1])
        return float(above - (above - below) * 0.5)

    def _log_batch(self, size: Size, tokens: float, draws: int, seed: int) -> Floats:
        """Return predictive draws (draws,) of ln B*."""
        drift = self.prior.batch_drift * self._decades(size, tokens)
        spread = np.hypot(self.batch_law.scatter, drift)
        uniforms, normals = even_draws(draws, seed)
        return np.asarray(self.batch_law.draws(tokens, uniforms) + spread * normals)

    def depth(self, size: Size, tokens: float) -> float:
        """Return how deep basins are at a size and horizon, as a share of the anchor's."""
        away = self._params(size) * tokens / (self.prior.params * self.prior.tokens)
        return float(away**self.depth_slope)

    def regret(self, log_lr_error: float, depth: float = 1.0) -> float:
        """Return what a learning rate exp(log_lr_error) times the best one costs, in nats."""
        k = self.k_low if log_lr_error < 0 else self.k_high
        return depth * k.value * log_lr_error**2

    def batch_regret(self, log_batch_error: float, depth: float = 1.0) -> float:
        """Return what a batch exp(log_batch_error) times the best one costs, in nats."""
        return depth * self.k_batch.value * log_batch_error**2

    def known_regret(self, size: Size, tokens: float, batch_tokens: float, lr: float) -> float:
        """Return what a run's lr and batch are known to cost, nats: at the laws' means.

        Unlike the mean of :meth:`regret_draws` it holds nothing for not knowing the laws: that is
        common to all runs of a ladder, while a branch's distance from its own optimum is not.
        """
        best = self.lr_law.predict(self._params(size), tokens, batch_tokens)[0]
        batch = self.batch_law.level + self.batch_law.slope * np.log(tokens / self.batch_law.tokens)
        off_batch = float(np.log(batch_tokens) - batch.mean())
        depth = self.depth(size, tokens)
        return self.regret(float(np.log(lr) - best), depth) + self.batch_regret(off_batch, depth)

    def regret_draws(
        self, size: Size, tokens: float, batch_tokens: float, lr: float, *, draws: int = DRAWS
    ) -> Floats:
        """Return draws (draws,) of what training at this lr and batch costs, nats, never below 0.

        A plan's loss holds them: a learning rate that is hardly known makes a loss hardly known.
        """
        off_lr = np.log(lr / self.lr_draws(size, tokens, batch_tokens, draws=draws))
        off_batch = np.log(batch_tokens / self.batch_draws(size, tokens, draws=draws))
        k = np.where(off_lr < 0, self.k_low.value, self.k_high.value)
        cost = k * off_lr**2 + self.k_batch.value * off_batch**2
        return np.asarray(self.depth(size, tokens) * cost, dtype=np.float64)

    def _params(self, size: Size) -> float:
        return float(getattr(size, self.n_convention))

    def _decades(self, size: Size, tokens: float) -> float:
        """Return how far a run lies outside the cells, in decades of compute."""
        low, high = np.log10(self.flops)
        here = np.log10(size.flops(tokens))
        return float(max(here - high, low - here, 0.0))

    def _lr_spread(self, size: Size, tokens: float) -> float:
        drift = self.prior.lr_drift * self._decades(size, tokens)
        return float(np.hypot(self.lr_law.scatter, drift))

    def to_json(self) -> dict[str, Any]:
        """Return everything needed to predict again, as plain data."""
        noise = self.seed_noise
        return {
            "schema_version": SCHEMA_VERSION,
            "prior": self.prior.to_json(),
            "lr_law": self.lr_law.to_json(),
            "lr_forms": self.lr_forms.to_json(),
            "batch_law": self.batch_law.to_json(),
            "k_low": self.k_low.to_json(),
            "k_high": self.k_high.to_json(),
            "k_batch": self.k_batch.to_json(),
            "seed_noise": {"sd": noise.sd, "df": noise.df} if noise else None,
            "sigma_seed": self.sigma_seed,
            "flops": list(self.flops),
            "n_convention": self.n_convention,
            "own_share": self.own_share,
            "own_share_batch": self.own_share_batch,
            "cells": [cell.to_json() for cell in self.cells],
            "batch_sweeps": [sweep.to_json() for sweep in self.batch_sweeps],
            "warmup": self.warmup.to_json(),
            "decay": self.decay.to_json(),
            **({"depth_slope": self.depth_slope} if self.depth_slope else {}),
            "findings": [finding.to_json() for finding in self.findings],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read a fit back from plain data."""
        return cls(
            prior=Priors.from_json(data["prior"]),
            lr_law=LrLaw.from_json(data["lr_law"]),
            lr_forms=LrComparison(**data["lr_forms"]),
            batch_law=BatchLaw.from_json(data["batch_law"]),
            k_low=Estimate(**data["k_low"]),
            k_high=Estimate(**data["k_high"]),
            k_batch=Estimate(**data["k_batch"]),
            seed_noise=SeedNoise(**data["seed_noise"]) if data["seed_noise"] else None,
            sigma_seed=data["sigma_seed"],
            flops=(data["flops"][0], data["flops"][1]),
            n_convention=data["n_convention"],
            cells=tuple(Cell.from_json(cell) for cell in data["cells"]),
            batch_sweeps=tuple(BatchSweep.from_json(s) for s in data["batch_sweeps"]),
            warmup=WarmupFit.from_json(data["warmup"]),
            findings=tuple(Finding.from_json(finding) for finding in data["findings"]),
            decay=DecayFit.from_json(data["decay"]) if "decay" in data else RULE,
            depth_slope=data.get("depth_slope", 0.0),
        )
