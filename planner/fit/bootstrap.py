"""Draws of a law by fitting it again to resampled runs (Efron 1979; Besiroglu et al. 2024).

With a Huber delta far below the residuals the loss is nearly absolute: the variance of its fit
hangs on how many residuals lie near zero, which a second derivative does not see. There the law is
fitted again to as many clusters of runs, drawn with replacement, as there are. Runs of one size
share their tuning, so sizes are the clusters where there are enough of them, groups elsewhere.
"""

from __future__ import annotations

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import Law
from planner.fit.points import Points
from planner.fit.solution import Solution
from planner.fit.solve import refit

ENOUGH = 30
"""Clusters from which on their resampling measures the spread between them."""


def clusters(points: Points, member: Floats) -> tuple[Floats, str]:
    """Return the 0/1 matrix (n, G) of rows in the clusters to resample, and what they are."""
    sizes, place = np.unique(points.x, return_inverse=True)
    whole = np.eye(len(sizes))[place]
    joined = whole.T @ member > 0
    if len(sizes) >= ENOUGH and (joined.sum(axis=0) == 1).all():
        return whole, "sizes"
    return member, "runs"


def bootstrap(
    points: Points,
    law: Law,
    solution: Solution,
    cluster: Floats,
    count: tuple[int, np.random.Generator],
) -> tuple[Floats, float]:
    """Return free coordinates (size, n_free) of refits, and the share of them that converged.

    Refits that do not converge are replaced by others that did.
    """
    size, rng = count
    total = cluster.shape[1]
    drawn = rng.multinomial(total, np.full(total, 1.0 / total), size)
    weights = points.weights * (drawn @ cluster.T)
    free, converged = refit(points, law, solution.delta, weights, solution.free)
    if not converged.any():
        return np.tile(solution.free, (size, 1)), 0.0
    return np.resize(free[converged], free.shape), float(converged.mean())
