"""The curvature of basins, pooled: k of the loss in ln lr and ln B, a belief and own data.

    ln k(N, D) = ln k + s ln(N D / N0 D0)

s is 0 for language models. A classifier's loss falls by decades, and its basins with it: there s is
believed to be that of the loss's own terms, and own basins that lie apart have their say. Each
basin's posterior used the prior, which must count once: precisions add up less the prior's.
Only basins with points on both sides of their minimum are pooled: at the edge of a grid any k fits
a minimum far enough away, so that each edge would take ln k down, and many of them without end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtri

from planner.arrays import Floats
from planner.estimate import LEVEL, Estimate
from planner.fit.cells import BatchSweep, Cell
from planner.fit.optimum import Basin
from planner.fit.priors import Normal, Priors

SHRINKING = Normal(-0.35, 0.3)
"""s where basins may shrink: the loss's own terms go as (N D)^-.35; basins that stay are inside.
Digits, width 8 to 16 and 16,000 to 48,000 images: k fell from .09 to .005 nats, s = -1.2."""
BASIN_SD = 0.5
"""sd of ln k of single basins round the trend: those of one horizon differ by as much."""


def depth_slope(cells: Sequence[Cell], prior: Priors) -> float:
    """Return s, the mean of the belief SHRINKING after own basins."""
    rows, weight = [], []
    for cell in cells:
        for own, belief in zip(
            _sides(cell.basin), (prior.log_k_low, prior.log_k_high), strict=True
        ):
            told = own.sd**-2 - belief.sd**-2
            if told > 0.0:
                mean = (own.mean * own.sd**-2 - belief.mean * belief.sd**-2) / told
                rows.append((_away(cell, prior), mean - belief.mean))
                weight.append(1.0 / (1.0 / told + BASIN_SD**2))
    x, y = np.array(rows, dtype=np.float64).reshape(-1, 2).T
    w: Floats = np.array(weight, dtype=np.float64)
    total = np.array([[w.sum(), w @ x], [w @ x, (w * x) @ x]])
    total += np.diag([prior.log_k_low.sd**-2, SHRINKING.sd**-2])
    aim = np.array([w @ y, (w * x) @ y + SHRINKING.mean * SHRINKING.sd**-2])
    return float(np.linalg.solve(total, aim)[1])


def at_anchor(place: Cell | BatchSweep, prior: Priors, slope: float) -> tuple[Normal, Normal]:
    """Return ln k below and above a basin's minimum as it would be at the anchor."""
    low, high = _sides(place.basin)
    by = slope * _away(place, prior)
    return Normal(low.mean - by, low.sd), Normal(high.mean - by, high.sd)


def _sides(basin: Basin) -> tuple[Normal, Normal]:
    return basin.log_k_low, basin.log_k_high


def _away(place: Cell | BatchSweep, prior: Priors) -> float:
    """Return ln(N D / N0 D0)."""
    return float(np.log(place.params * place.tokens / (prior.params * prior.tokens)))


def pooled(prior: Normal, posteriors: Sequence[Normal]) -> Estimate:
    """Combine posteriors of one ln k that each used the prior: it must count once."""
    precision, total = prior.sd**-2, prior.mean * prior.sd**-2
    for own in posteriors:
        precision += own.sd**-2 - prior.sd**-2
        total += own.mean * own.sd**-2 - prior.mean * prior.sd**-2
    precision = max(precision, prior.sd**-2)
    method = f"log-normal prior and {len(posteriors)} own basins"
    return log_normal(total / precision, float(precision**-0.5), LEVEL, method)


def pooled_batch(prior: Priors, sweeps: Sequence[BatchSweep], slope: float = 0.0) -> Estimate:
    """Pool the curvature in ln B over both sides of batch sweeps, at the anchor."""
    within = [sweep for sweep in sweeps if sweep.basin.interior]
    sides = [side for sweep in within for side in at_anchor(sweep, prior, slope)]
    return pooled(prior.log_k_batch, sides)


def log_normal(mean: float, sd: float, level: float, method: str) -> Estimate:
    """Return the median and interval of exp(x) for x normal."""
    reach = float(ndtri((1 + level) / 2)) * sd
    low, value, high = np.exp([mean - reach, mean, mean + reach])
    return Estimate(float(value), float(low), float(high), level, method)
