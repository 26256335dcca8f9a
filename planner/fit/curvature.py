"""The curvature of basins, pooled: k of the loss in ln lr and ln B, a belief and own data.

Each basin's posterior used the prior, which must count once: precisions add up less the prior's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from planner.estimate import LEVEL, Estimate
from planner.fit.cells import BatchSweep
from planner.fit.priors import Normal, Priors


def pooled(prior: Normal, posteriors: Sequence[Normal]) -> Estimate:
    """Combine posteriors of one ln k that each used the prior: it must count once."""
    precision, total = prior.sd**-2, prior.mean * prior.sd**-2
    for own in posteriors:
        precision += own.sd**-2 - prior.sd**-2
        total += own.mean * own.sd**-2 - prior.mean * prior.sd**-2
    precision = max(precision, prior.sd**-2)
    method = f"log-normal prior and {len(posteriors)} own basins"
    return log_normal(total / precision, float(precision**-0.5), LEVEL, method)


def pooled_batch(prior: Priors, sweeps: Sequence[BatchSweep]) -> Estimate:
    """Pool the curvature in ln B over both sides of all batch sweeps."""
    sides = [side for s in sweeps for side in (s.basin.log_k_low, s.basin.log_k_high)]
    return pooled(prior.log_k_batch, sides)


def log_normal(mean: float, sd: float, level: float, method: str) -> Estimate:
    """Return the median and interval of exp(x) for x normal."""
    reach = float(ndtri((1 + level) / 2)) * sd
    low, value, high = np.exp([mean - reach, mean, mean + reach])
    return Estimate(float(value), float(low), float(high), level, method)
