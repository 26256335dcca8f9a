"""The best law for given points: no start is trusted, every end is second order.

    minimise  sum_i w_i s_i huber_delta(ln L(N_i, D_i) - ln L_i)      (a sum, natural logs, float64)

Sums of powers go to the compiled solver of :mod:`planner.fit._kernel`, which is imported when the
first of them is solved; every other form goes to :mod:`planner.fit.general`. A fit says of itself
whether it converged, at which bounds it rests, and :func:`undetermined` which parameters the points
say nothing about. The lowest end of all starts wins, so a start in a worse basin never does.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from planner.arrays import Floats
from planner.fit.general import refit_general, solve_general
from planner.fit.laws import Law, PowerSum
from planner.fit.points import Points
from planner.fit.solution import Solution

Truths = npt.NDArray[np.bool_]

UNBOUNDED = 1e100
"""The delta of least squares, in a solver that multiplies with it."""
PILOT = 64
"""Refits that check, from all starts, that the full-data solution is start enough for the rest."""
NOTICED = 1e-9
"""The share of the objective by which a better basin is told from rounding."""
BLIND = 1e-7
"""Singular value of the slopes, columns scaled to one, below which a direction is not seen."""


def residuals(points: Points, law: Law, phi: Floats) -> Floats:
    """Return ln L_law - ln L, shape (B, n), for phi (B, n_free)."""
    return law.evaluate(points, phi)[0] - points.y


def solve(points: Points, law: Law, delta: float) -> Solution:
    """Return the best end of all the law's starts (delta = inf: least squares)."""
    if not isinstance(law, PowerSum):
        return solve_general(points, law, delta)
    return polish(points, law, delta, law.starts(points))


def polish(points: Points, law: PowerSum, delta: float, starts: Floats) -> Solution:
    """Return the best end of the given starts (S, n_free)."""
    ends, _, converged = _descend(points, law, delta, points.weights[None], starts)
    low, high = law.box(points)
    touching = np.flatnonzero((ends[0] <= low) | (ends[0] >= high))
    return Solution(
        ends[0],
        law.theta_of(points, ends[0]),
        float(points.cost(residuals(points, law, ends)[0], delta)),
        bool(converged[0]),
        tuple(law.names[p] for p in touching),
        delta,
    )


def refit(
    points: Points, law: Law, delta: float, weights: Floats, start: Floats
) -> tuple[Floats, Truths]:
    """Return the ends (B, n_free) for other weights (B, n) of the rows, and which converged (B,).

    Every refit begins at ``start`` (n_free,), the solution with the points' own weights. The first
    PILOT of them, and those that do not converge from there, are solved from all of the law's
    starts too; where that lowers any of the pilot, it is done for every refit.
    """
    if not isinstance(law, PowerSum):
        free, ended = refit_general(points, law, delta, weights, start)
        return free, np.asarray(ended, dtype=bool)
    ends, value, converged = _descend(points, law, delta, weights, start[None])
    starts = np.concatenate([start[None], law.starts(points)])
    doubted = (np.arange(len(weights)) < PILOT) | ~converged
    for rows in (np.flatnonzero(doubted), np.flatnonzero(~doubted)):
        better = _descend(points, law, delta, weights[rows], starts)
        lost = bool((better[1] < value[rows] * (1.0 - NOTICED))[converged[rows]].any())
        ends[rows], value[rows], converged[rows] = better
        if not lost:
            break
    return ends, converged


def undetermined(points: Points, law: Law, solution: Solution) -> tuple[str, ...]:
    """Return the parameters that can move, away from their bounds, without moving the law.

    They share a direction in which the law's slopes at the points, columns scaled to one, vanish:
    one size only, as many sizes as horizons and no others, fewer rows than parameters.
    """
    low, high = law.box(points)
    inside = np.flatnonzero((solution.free > low) & (solution.free < high))
    slopes = law.evaluate(points, solution.free[None])[1][0][:, inside]
    slopes = slopes * np.sqrt(points.weights)[:, None]
    scaled = slopes / np.maximum(np.linalg.norm(slopes, axis=0), 1e-300)
    _, sizes, directions = np.linalg.svd(np.linalg.qr(scaled, mode="r"))
    seen = int((sizes > BLIND).sum())
    moved = (np.abs(directions[seen:]) > 0.1).any(axis=0)
    return tuple(law.names[p] for p in inside[moved])


def _descend(
    points: Points, law: PowerSum, delta: float, weights: Floats, starts: Floats
) -> tuple[Floats, Floats, Truths]:
    """Return the best end (B, n_free) over the starts for every weighting (B, n).

    Beside it the objectives (B,) and which ends converged (B,).
    """
    from planner.fit._kernel import Rules, descend

    low, high = law.box(points)
    rows = np.stack([points.x, points.z, np.exp(-points.y), points.weights, points.slack])
    rules = Rules(float(min(delta, UNBOUNDED)), _plain(low), _plain(high))
    return descend(_plain(rows), rules, _plain(weights), _plain(np.clip(starts, low, high)))


def _plain(array: Floats) -> Floats:
    """Return one kind of array: for another the kernel would be compiled anew, to other bits."""
    return np.require(array, np.float64, ["C", "A", "W"])
