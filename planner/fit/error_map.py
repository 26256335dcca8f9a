"""From a classifier's cross-entropy to its error rate, monotonically.

    Err = eps - k e^(-gamma L),   0 <= k <= eps <= 1, gamma > 0        (Gadre et al. 2024)

Laws are fitted to cross-entropy, which has a floor and scales smoothly; accuracy is never
extrapolated itself. Among the classifiers seen the map is this exponential or, where that predicts
left-out classifiers clearly worse, a monotone interpolation (isotonic means). Beyond them it is the
exponential, joined on at the end. Draws of the map meet draws of the cross-entropy one by one, so
that an interval of one becomes an interval of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import isotonic_regression, least_squares

from planner.arrays import Floats
from planner.errors import EvidenceError, UsageError
from planner.estimate import LEVEL, Estimate
from planner.fit.ensemble import WALKERS, ensemble

LEAST_POINTS = 4
LEAST_ORDER = 0.5
"""Rank correlation of error and cross-entropy below which no map is made."""
CLEARLY_WORSE = 1.25
"""The exponential goes when its error on left-out classifiers is this much the isotonic's."""
FOLDS = 6
DRAWS, GRID = 1000, 65
STEEPNESS = (0.02, 50.0)
"""gamma times the range of cross-entropy: less is a line, more is a step."""
QUIET = 1e-9


@dataclass(frozen=True)
class ErrorMap:
    """A monotone map with its statistical draws.

    ``params`` are eps, k and gamma, ``draws`` (S, 3) theirs; ``between`` is None where the
    exponential holds throughout, else the isotonic map on an even grid over ``span``, shape
    (1 + S, 65), first row the estimate. ``sigma`` is the sd of the error rate about the map.
    """

    params: dict[str, float]
    draws: Floats
    between: Floats | None
    span: tuple[float, float]
    sigma: float
    why: str

    def error(self, loss: Floats) -> Floats:
        """Return the error rates (n,) at cross-entropies (n,)."""
        theta = np.array(list(self.params.values()))[None]
        grid = None if self.between is None else self.between[:1]
        return np.asarray(self._at(theta, grid, _positive(loss)[None])[0], dtype=np.float64)

    def error_draws(self, loss: Floats) -> Floats:
        """Return error rates (S, n) for draws of cross-entropies (S', n), met one by one."""
        loss = np.atleast_2d(_positive(loss))
        rows = np.resize(np.arange(len(loss)), len(self.draws))
        grid = None if self.between is None else self.between[1:]
        return self._at(self.draws, grid, loss[rows])

    def predict(self, loss: Floats, *, level: float = LEVEL) -> tuple[Estimate, ...]:
        """Return one Estimate of the error rate per column of cross-entropy draws (S', n)."""
        loss = np.atleast_2d(_positive(loss))
        middle = np.median(loss, axis=0)
        where = np.where((middle >= self.span[0]) & (middle <= self.span[1]), "among", "beyond")
        return tuple(
            Estimate.from_draws(
                column, level=level, method=f"cross-entropy mapped, {place} the classifiers seen"
            )
            for column, place in zip(self.error_draws(loss).T, where, strict=True)
        )

    def _at(self, theta: Floats, grid: Floats | None, loss: Floats) -> Floats:
        """Return error rates (B, n) of maps (B, 3), with grids (B, 65) or none, at (B, n)."""
        error = _exponential(theta, loss)
        if grid is not None:
            low, high = self.span
            inside = np.clip(loss, low, high)
            place = (inside - low) / (high - low) * (GRID - 1)
            cell = np.minimum(place.astype(int), GRID - 2)
            left = np.take_along_axis(grid, cell, axis=1)
            right = np.take_along_axis(grid, cell + 1, axis=1)
            error = error - _exponential(theta, inside) + left + (right - left) * (place - cell)
        return np.asarray(np.clip(error, 0.0, 1.0))


def fit_error_map(cross_entropy: Floats, error: Floats, *, seed: int = 0) -> ErrorMap:
    """Fit the map to classifiers' cross-entropies (nats) and error rates, arrays (n,).

    Raises UsageError for what are no error rates and EvidenceError where no monotone map exists.
    """
    loss, error = _clean(cross_entropy, error)
    rng = np.random.default_rng(seed)
    free = _solve(loss, error)
    worse = _left_out(loss, error, _fitted) / max(_left_out(loss, error, _isotonic), QUIET)
    smooth = len(loss) <= LEAST_POINTS + 1 or worse < CLEARLY_WORSE
    theta = _theta(free[None], loss)[0]
    r = error - _exponential(theta, loss)
    sigma = float(np.sqrt((r**2).sum() / max(len(r) - 3, 1)))
    return ErrorMap(
        dict(zip(("eps", "k", "gamma"), theta.tolist(), strict=True)),
        _theta(_posterior(loss, error, free, rng), loss),
        None if smooth else _between(loss, error, rng),
        (float(loss[0]), float(loss[-1])),
        sigma if smooth else float(np.std(error - _isotonic(loss, error, loss))),
        "the exponential predicts left-out classifiers as well as isotonic means"
        if smooth
        else f"the exponential is {worse:.1f} times as wrong as isotonic means on those left out",
    )


def _clean(loss: Floats, error: Floats) -> tuple[Floats, Floats]:
    """Check and sort by cross-entropy."""
    loss, error = _positive(loss), np.atleast_1d(np.asarray(error, dtype=np.float64))
    if loss.shape != error.shape or loss.ndim != 1:
        raise UsageError(
            f"cross-entropies and error rates must be two columns of one length, not {loss.shape} "
            f"and {error.shape}"
        )
    if not ((error >= 0) & (error <= 1)).all():
        raise UsageError(
            "error rates must lie between 0 and 1 in every row; divide per cent by 100"
        )
    if len(np.unique(loss)) < LEAST_POINTS:
        raise EvidenceError(
            f"{len(np.unique(loss))} classifiers with different cross-entropies, at least "
            f"{LEAST_POINTS} are needed to map them to error rates"
        )
    together = 0.0 if np.ptp(error) == 0 else _rank_correlation(loss, error)
    if together < LEAST_ORDER:
        hint = "; are these accuracies?" if together < -LEAST_ORDER else ""
        raise EvidenceError(
            f"error rates do not rise with cross-entropy (rank correlation {together:.2f}), so "
            f"one cannot be read from the other{hint}"
        )
    order = np.argsort(loss, kind="stable")
    return loss[order], error[order]


def _positive(loss: Floats) -> Floats:
    loss = np.atleast_1d(np.asarray(loss, dtype=np.float64))
    if not (np.isfinite(loss) & (loss > 0)).all():
        raise UsageError("cross-entropies must be positive and finite in every row")
    return loss


def _rank_correlation(a: Floats, b: Floats) -> float:
    """Return Spearman's coefficient; equal values share their mean rank."""
    ranks = []
    for values in (a, b):
        _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
        ranks.append((np.cumsum(counts) - (counts - 1) / 2)[place])
    return float(np.asarray(np.corrcoef(ranks))[0, 1])


def _exponential(theta: Floats, loss: Floats) -> Floats:
    eps, k, gamma = (theta[..., i, None] for i in range(3))
    return np.asarray(eps - k * np.exp(-gamma * loss))


def _theta(free: Floats, loss: Floats) -> Floats:
    """Turn (error at the lowest, rise to the highest, ln steepness), (B, 3), into (eps, k, gamma).

    The two levels are what the data show, so that they are well scaled however flat the curve.
    """
    low, rise, steep = (free[:, i] for i in range(3))
    span = loss[-1] - loss[0]
    gamma = np.exp(steep) / span
    reach = rise / -np.expm1(-np.exp(steep))
    return np.column_stack([low + reach, reach * np.exp(gamma * loss[0]), gamma])


def _allowed(theta: Floats) -> np.ndarray:
    """Say for which theta (B, 3) no cross-entropy has an error outside 0 to 1."""
    return np.asarray((theta[:, 0] <= 1) & (theta[:, 1] >= 0) & (theta[:, 1] <= theta[:, 0]))


def _solve(loss: Floats, error: Floats) -> Floats:
    """Return the best free parameters (3,), begun at the best of a grid of steepness."""

    def cost(free: Floats) -> Floats:
        theta = _theta(free[None], loss)
        outside = np.maximum(0.0, [theta[0, 0] - 1.0, theta[0, 1] - theta[0, 0]])
        return np.concatenate([_exponential(theta, loss)[0] - error, 10.0 * outside])

    rise = max(float(error[-1] - error[0]), 1e-3)
    starts = [np.array([error[0], rise, s]) for s in np.log((0.3, 1.5, 7.0))]
    low, high = np.array([-0.1, 0.0, np.log(STEEPNESS[0])]), np.array([1, 1, np.log(STEEPNESS[1])])
    ends = [
        least_squares(
            cost,
            start,
            bounds=(low, high),
            x_scale=np.array([0.1, 0.1, 1.0]),
            xtol=1e-14,
            ftol=1e-14,
            gtol=1e-14,
            max_nfev=200,
        )
        for start in starts
    ]
    return np.asarray(min(ends, key=lambda end: float(end.cost)).x, dtype=np.float64)


def _posterior(loss: Floats, error: Floats, free: Floats, rng: np.random.Generator) -> Floats:
    """Draw the free parameters (S, 3): flat where allowed, the noise's sd integrated out."""
    low, high = np.log(STEEPNESS)

    def log_density(at: Floats) -> Floats:
        steep = np.clip(at[:, 2], low, high)
        theta = _theta(np.column_stack([at[:, :2], steep]), loss)
        left = ((_exponential(theta, loss) - error) ** 2).sum(axis=1)
        inside = _allowed(theta) & (at[:, 2] == steep) & (at[:, 1] > 0)
        density = -len(loss) / 2 * np.log(left + len(loss) * QUIET**2)
        return np.where(inside, density, -np.inf)

    spread = np.geomspace(1e-4, 1.0, 40 * WALKERS)[:, None]
    begin = free + spread * rng.standard_normal((len(spread), 3))
    good = begin[np.isfinite(log_density(begin))][:WALKERS]
    return ensemble(log_density, np.resize(good, (WALKERS, 3)), DRAWS, rng)


def _fitted(loss: Floats, error: Floats, at: Floats) -> Floats:
    theta = _theta(_solve(loss, error)[None], loss)[0]
    return _exponential(theta, at)


def _isotonic(loss: Floats, error: Floats, at: Floats) -> Floats:
    """Interpolate between the middles of the blocks that a rising fit joins."""
    found = isotonic_regression(error)
    edges = found.blocks
    middles = [loss[a:b].mean() for a, b in pairwise(edges)]
    return np.asarray(np.interp(at, middles, found.x[edges[:-1]]), dtype=np.float64)


def _left_out(
    loss: Floats, error: Floats, fitted: Callable[[Floats, Floats, Floats], Floats]
) -> float:
    """Return the RMS error on inner classifiers left out in turn."""
    fold = np.arange(len(loss)) % min(FOLDS, len(loss))
    fold[[0, -1]] = -1
    wrong = [
        fitted(loss[fold != k], error[fold != k], loss[fold == k]) - error[fold == k]
        for k in np.unique(fold[fold >= 0])
    ]
    return float(np.sqrt(np.mean(np.concatenate(wrong) ** 2)))


def _between(loss: Floats, error: Floats, rng: np.random.Generator) -> Floats:
    """Return the isotonic map on the even grid, and 1000 refits to resampled residuals."""
    at = np.linspace(loss[0], loss[-1], GRID)
    fitted = isotonic_regression(error)
    spare = max(len(loss) - len(fitted.blocks) + 1, 1)
    r = (error - fitted.x) * np.sqrt(len(loss) / spare)
    again = [_isotonic(loss, fitted.x + rng.choice(r, len(r)), at) for _ in range(DRAWS)]
    return np.vstack([_isotonic(loss, error, at), *again])
