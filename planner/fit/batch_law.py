"""The law of the best batch, on a grid because its evidence may be one-sided.

    ln B*(D) = c + r ln(D/D0)

It depends on the horizon alone (published: independent of N at fixed D). Each horizon whose batches
were varied brings the whole density of its ln B*, widened by the scatter round the law.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.special import ndtri

from planner.arrays import Floats
from planner.fit.cells import BatchSweep
from planner.fit.optimum import Density, moments
from planner.fit.priors import Priors

LEVELS, SLOPES, REACH = 241, 81, 4.0
"""Points of the grid along c and r, and its half-width in prior sd."""

SCATTER_SD, SCATTERS = 0.4, np.exp(np.linspace(-1.2, 1.2, 7))
"""sd of ln scatter, and the factors on the believed scatter that are tried (three sd)."""

KEPT = 400
"""Points of the posterior kept: systematic draws, equally likely, sorted by c."""


@dataclass(frozen=True)
class BatchLaw:
    """Posterior of (c, r) at the anchor's tokens D0, as equally likely points."""

    tokens: float
    level: Floats
    slope: Floats
    scatter: float
    """sd of ln B* of single horizons round the law."""

    def draws(self, tokens: float, uniforms: Floats) -> Floats:
        """Return ln B* (S,) at a horizon for uniforms (S,) that pick the points."""
        pick = np.minimum((uniforms * len(self.level)).astype(int), len(self.level) - 1)
        log_tokens = float(np.log(tokens / self.tokens))
        return np.asarray(self.level[pick] + self.slope[pick] * log_tokens, dtype=np.float64)

    def own_share(self, prior: Priors) -> float:
        """Return 1 - posterior/prior variance, averaged over c and r."""
        left = self.level.var() / prior.batch.sd**2, self.slope.var() / prior.batch_slope.sd**2
        return float(np.clip(1 - np.array(left), 0.0, 1.0).mean())

    def to_json(self) -> dict[str, Any]:
        """Return the posterior as plain data."""
        return {
            "tokens": self.tokens,
            "level": self.level.tolist(),
            "slope": self.slope.tolist(),
            "scatter": self.scatter,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Read the posterior back from plain data."""
        return cls(
            data["tokens"], np.array(data["level"]), np.array(data["slope"]), data["scatter"]
        )


def fit_batch_law(sweeps: Sequence[tuple[BatchSweep, Density]], prior: Priors) -> BatchLaw:
    """Return the posterior of the law at the prior's anchor; without sweeps, the prior itself."""
    scatters = prior.batch_scatter * (SCATTERS if sweeps else np.ones(1))
    c, r, log_prior = _grid(prior)
    weights = np.array([_log_weight(sweeps, prior, (c, r), float(s)) for s in scatters]) + log_prior
    weights -= 0.5 * (np.log(scatters / prior.batch_scatter) / SCATTER_SD)[:, None, None] ** 2
    weight = np.exp(weights - weights.max())
    by_scatter = weight.sum((1, 2))
    scatter = float(np.exp(by_scatter @ np.log(scatters) / by_scatter.sum()))
    cumulative = np.cumsum(weight.sum(0)) / by_scatter.sum()
    pick = np.searchsorted(cumulative, (np.arange(KEPT) + 0.5) / KEPT)
    level, slope = (np.broadcast_to(axis, log_prior.shape).ravel()[pick] for axis in (c, r))
    return BatchLaw(prior.tokens, level, slope, scatter)


def _grid(prior: Priors) -> tuple[Floats, Floats, Floats]:
    """Return the axes c (LEVELS, 1) and r (SLOPES,), and the log of the belief on their grid."""
    steps = np.linspace(-REACH, REACH, LEVELS)[:, None], np.linspace(-REACH, REACH, SLOPES)
    c = prior.batch.mean + prior.batch.sd * steps[0]
    r = prior.batch_slope.mean + prior.batch_slope.sd * steps[1]
    return c, r, -0.5 * (steps[0] ** 2 + steps[1] ** 2)


def _log_weight(
    sweeps: Sequence[tuple[BatchSweep, Density]],
    prior: Priors,
    axes: tuple[Floats, Floats],
    scatter: float,
) -> Floats:
    """Return the log likelihood (LEVELS, SLOPES) of the sweeps at a scatter round the law."""
    c, r = axes
    log_weight = np.zeros(np.broadcast_shapes(c.shape, r.shape))
    for sweep, density in sweeps:
        x, likelihood = density.x, density.probability
        blurred = gaussian_filter1d(likelihood, scatter / (x[1] - x[0]), mode="nearest")
        log_likelihood = np.log(np.maximum(blurred, blurred.max() * 1e-12))
        log_weight += np.interp(c + r * np.log(sweep.tokens / prior.tokens), x, log_likelihood)
    return log_weight


@cache
def even_draws(draws: int, seed: int) -> tuple[Floats, Floats]:
    """Return uniforms (draws,) and standard normals (draws,), each evenly spaced and shuffled."""
    rng, even = np.random.default_rng(seed), (np.arange(draws) + 0.5) / draws
    uniforms, normals = rng.permutation(even), ndtri(rng.permutation(even))
    for one in (uniforms, normals):
        one.setflags(write=False)
    return uniforms, normals


def batch_conflict(law: BatchLaw, prior: Priors) -> float:
    """Return how far own data moved ln B* at the anchor, in sd of that move (0: silent)."""
    mean, sd = moments(law.level, np.full(len(law.level), 1 / len(law.level)))
    learnt = prior.batch.sd**2 - sd**2
    if learnt < 0.05 * prior.batch.sd**2:
        return 0.0
    return float((mean - prior.batch.mean) / np.sqrt(learnt))
