"""Learning rate and batch of a target run: the pair whose expected regret is least.

    regret(lr, B) = k(u) u^2 + h(v) v^2,  averaged over draws of the posterior, and of what no fit
    removes: the target's own scatter round the laws and a drift per decade beyond the runs and
    the anchor of the beliefs

The intervals hold the whole drift beyond the runs: beliefs anchored at the target may be wrong
there, but a choice that fears it on top of them moves down too far.

The average pays for asymmetry by itself: where too high a rate costs more than too low a one, the
choice moves down as far as the uncertainty asks. What a run would teach is measured by the same
regret: ``aim`` is the root of its curvature at the choice, so that |aim (theta - mean)|^2 is the
regret an error of theta causes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from planner.arrays import Floats
from planner.estimate import LEVEL, Estimate
from planner.fit.surface import Surface
from planner.fit.unknowns import CURVATURE, DEPTH

DRAWS = 400
LR_REACH, BATCH_REACH = 0.8, 1.0
"""How far round the medians of ln lr* and ln B* the choice is looked for."""
LR_GRID, BATCH_GRID = 17, 17


@dataclass(frozen=True)
class Recommendation:
    """The chosen pair, what it is expected to cost, and draws (S,) of ln lr* there and of ln B*."""

    lr: float
    batch_tokens: float
    expected_regret: float
    """Nats above the target's best pair."""
    log_lr: Floats
    log_batch: Floats

    def interval(self, level: float = LEVEL) -> tuple[Estimate, Estimate]:
        """Return the predictive intervals of lr* at the chosen batch, and of B*."""
        method = "joint surface, Laplace draws; + scatter and drift"
        lr = Estimate.from_draws(np.exp(self.log_lr), level=level, method=method)
        return lr, Estimate.from_draws(np.exp(self.log_batch), level=level, method=method)


class Optimum(NamedTuple):
    """Draws (S,) at a target: ln lr* of an endless batch, ln B_s, ln B*, and k, k, h, h (S, 4)."""

    log_lr: Floats
    log_noise_batch: Floats
    log_batch: Floats
    curvature: Floats

    def log_lr_at(self, log_batch: Floats) -> Floats:
        """Return ln lr* (S, m) at batches (m,) or (S, m)."""
        return self.log_lr[:, None] - np.logaddexp(0.0, self.log_noise_batch[:, None] - log_batch)


def recommend(
    surface: Surface,
    params: float,
    tokens: float,
    *,
    batch_tokens: float | None = None,
    seed: int = 0,
) -> Recommendation:
    """Return the pair of least expected regret for a run of (params, tokens).

    ``batch_tokens`` fixes the batch; the expected regret then holds what that costs.
    """
    prior = surface.prior
    at = _draws(surface, (params, tokens), max(surface.reach, prior.params * prior.tokens), seed)
    wide = _draws(surface, (params, tokens), surface.reach or prior.params * prior.tokens, seed)
    batches = np.median(at.log_batch) + np.linspace(-BATCH_REACH, BATCH_REACH, BATCH_GRID)
    if batch_tokens is not None:
        batches = np.log([batch_tokens])
    best = at.log_lr_at(batches)
    rates = np.median(best, axis=0) + np.linspace(-LR_REACH, LR_REACH, LR_GRID)[:, None]
    low, high, small, large = at.curvature.T
    u, v = rates - best[:, None], batches - at.log_batch[:, None]
    for_lr = np.where(u < 0, low[:, None, None], high[:, None, None]) * u**2
    for_batch = np.where(v < 0, small[:, None], large[:, None]) * v**2
    regret = for_lr.mean(axis=0) + for_batch.mean(axis=0)
    i, j = np.unravel_index(int(regret.argmin()), regret.shape)
    return Recommendation(
        float(np.exp(rates[i, j])),
        float(np.exp(batches[j])),
        float(regret[i, j]),
        wide.log_lr_at(batches)[:, j],
        wide.log_batch,
    )


def aim(surface: Surface, params: float, tokens: float) -> Floats:
    """Return the root (2, P) of the regret's curvature at the target: rows for lr and for B."""
    n, d = np.log(params / surface.prior.params), np.log(tokens / surface.prior.tokens)
    _, _, _, s, g, c, r = surface.mean[:7]
    above = s + g * d - c - r * d
    share = float(np.exp(above - np.logaddexp(0.0, above)))
    depth = surface.mean[DEPTH] @ [n, d]
    low, high, small, large = np.exp(surface.mean[CURVATURE] + depth)
    root = np.zeros((2, len(surface.mean)))
    root[0, :5] = np.sqrt((low + high) / 2) * np.array([1.0, n, d, -share, -share * d])
    root[1, 5:7] = np.sqrt((small + large) / 2) * np.array([1.0, d])
    return root


def _draws(surface: Surface, target: tuple[float, float], reach: float, seed: int) -> Optimum:
    """Draw the target's optimum; it drifts beyond ``reach``, in N D."""
    params, tokens = target
    rng, prior = np.random.default_rng(seed), surface.prior
    theta = surface.draws(DRAWS, rng)
    n, d = np.log(params / prior.params), np.log(tokens / prior.tokens)
    decades = max(0.0, float(np.log10(params * tokens / reach)))
    of_lr = np.hypot(prior.lr_scatter, prior.lr_drift * decades)
    of_batch = np.hypot(prior.batch_scatter, prior.batch_drift * decades)
    return Optimum(
        theta[:, 0] + theta[:, 1] * n + theta[:, 2] * d + of_lr * rng.normal(size=DRAWS),
        theta[:, 3] + theta[:, 4] * d,
        theta[:, 5] + theta[:, 6] * d + of_batch * rng.normal(size=DRAWS),
        np.exp(theta[:, CURVATURE] + theta[:, DEPTH] @ np.array([[n], [d]])),
    )
