"""Which size for the top C level? A pool of runs below it, and the best-known answer.

Pools are a table without the top level and all above it. The best-known answer is that of the best
law of the set (:data:`tests.benchmarks.bench_extrapolation.REFERENCE`) on all rows; ``doubt`` says
how sure that is itself. Error = |ln N - ln N*|; waste = loss given up at equal C, as a share of
compute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import Law
from planner.observations import Observations
from planner.sweep.replay.pool import Pool, Target
from tests.benchmarks import bench_extrapolation as sets

LEVEL = 0.1
"""Decades of compute that make one IsoFLOP level."""
AGAIN = 20
"""Tables drawn with replacement from all rows, whose best-known answers scatter by ``doubt``."""


@dataclass(frozen=True)
class Question:
    """A pool with the flops per token of its sizes, and the best-known answer."""

    pool: Pool
    log_flops_per_token: Floats
    """Polynomial in ln N: how the table's own convention turns C and N into tokens."""
    log_sizes: Floats
    best_loss: Floats
    """ln loss of the best-known law at C over ``log_sizes``."""
    slope: float
    """-d ln L / d ln C of that law at its optimum."""
    doubt: float
    """sd of ln N* of that law over tables drawn again."""

    def tokens(self, log_sizes: Floats, flops: float) -> Floats:
        """Return D of sizes at C."""
        return np.asarray(np.exp(np.log(flops) - np.polyval(self.log_flops_per_token, log_sizes)))

    @property
    def log_best(self) -> float:
        """The best-known ln N*."""
        return float(self.log_sizes[self.best_loss.argmin()])

    def judge(self, log_size: float) -> tuple[float, float]:
        """Return the error of ln N and the compute wasted by it."""
        given_up = np.interp(log_size, self.log_sizes, self.best_loss) - self.best_loss.min()
        return abs(log_size - self.log_best), float(given_up / self.slope)


def question(name: str, runs: Observations) -> Question:
    """Set up one pool."""
    top = top_level(runs.flops)
    kept = runs.take(runs.flops < top * 10**-0.15)
    # No lr and no batch is told of these runs; one value for all carries no information.
    untold = np.ones(len(kept))
    columns = kept.params, kept.tokens, untold, untold, kept.flops, kept.loss
    pool = Pool(*columns, target=Target(np.nan, np.nan, top))
    per_token = np.polyfit(np.log(runs.params), np.log(runs.flops / runs.tokens), 2)
    sizes = np.linspace(np.log(runs.params.min()), np.log(runs.params.max()), 2001)
    law = sets.law_named(sets.REFERENCE[name])

    def profile(table: Observations, flops: float) -> Floats:
        tokens = np.exp(np.log(flops) - np.polyval(per_token, sizes))
        return _log_loss(law, table, np.exp(sizes), tokens)

    rng = np.random.default_rng(0)
    tables = [runs.take(np.sort(rng.integers(len(runs), size=len(runs)))) for _ in range(AGAIN)]
    best = [sizes[profile(table, top).argmin()] for table in tables]
    level, above = profile(runs, top), profile(runs, top * np.exp(0.1))
    slope = float(level.min() - above.min()) / 0.1
    return Question(pool, per_token, sizes, level, slope, float(np.std(best)))


def top_level(flops: Floats) -> float:
    """Return the C of the highest level with five rows or more."""
    level = np.round(np.log10(flops) / LEVEL).astype(int)
    full = [v for v in np.unique(level) if (level == v).sum() >= 5]
    return float(np.median(flops[level == full[-1]]))


def _log_loss(law: Law, table: Observations, sizes: Floats, tokens: Floats) -> Floats:
    theta = sets.solve_to_scale(table, law).solution.theta
    return np.asarray(np.log(law.predict(theta, sizes, tokens)))
