"""What a policy pays for the same result, and how sure the seeds make it: `bench_design`'s ratios.

A policy is there from the first budget on which its error stays at or below a level: middles of few
seeds go up and down. Intervals are 90 % over seeds drawn again, alike for every policy.
"""

from __future__ import annotations

import numpy as np

from planner.arrays import Floats

RESAMPLES = 1000


def again(values: Floats) -> Floats:
    """Return tables (1 + RESAMPLES, seeds, ...): as they are, then of seeds drawn again."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    return np.asarray(np.concatenate([values[None], values[drawn]]))


def interval(values: Floats) -> Floats:
    """Return the 5 and 95 % quantiles over resamples (R, ...), each one of the values."""
    return np.asarray(np.quantile(values, [0.05, 0.95], axis=0, method="nearest"))


def worst_from(errors: Floats) -> Floats:
    """Return the largest error at a budget or any larger one, (..., budgets)."""
    return np.asarray(np.maximum.accumulate(errors[..., ::-1], axis=-1)[..., ::-1])


def needed(errors: Floats, budgets: tuple[float, ...], level: Floats | float) -> Floats:
    """Return the budget (R,) from which on errors (R, budgets) stay at a level, inf where never."""
    above = worst_from(errors) > np.asarray(level)[..., None]
    return np.asarray(np.append(budgets, np.inf)[above.sum(axis=-1)])
