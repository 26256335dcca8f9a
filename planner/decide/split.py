"""Compute split between parameters and tokens on a grid of sizes: the numbers behind `allocate`.

Every size N takes the tokens its compute pays for, D = min(C / F(N), max_tokens); the best size is
the lowest point of L(N, D(N)) along ln N, refined by the parabola through the lowest three points.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.decide.sizes import Ladder
from planner.fit.loss_fit import LossFit
from planner.fit.registry import law_named

GRID = 801
"""Points of the grid in ln N: about 1.7 % apart over six decades."""

FLAT = 1.05
"""Compute factor of the flat region."""


@dataclass(frozen=True)
class Split:
    """One budget, split over the sizes between ``span`` (parameters, the law's convention)."""

    fit: LossFit
    rungs: Ladder
    flops: float
    max_tokens: float
    span: tuple[float, float]

    @property
    def grid(self) -> Floats:
        """Sizes looked at, shape (GRID,)."""
        return np.geomspace(*self.span, GRID)

    def tokens(self, params: Floats, factor: float = 1.0) -> Floats:
        """Return the tokens ``factor`` times the budget pays for at each size."""
        return np.minimum(factor * self.flops / self.rungs.price(params), self.max_tokens)

    def losses(self, params: Floats, factor: float = 1.0) -> Floats:
        """Return the fitted law's loss at each size for ``factor`` times the budget."""
        return point_loss(self.fit, params, self.tokens(params, factor))

    def optimum_draws(self) -> Floats:
        """Return the best size of every predictive draw of the fit, shape (S,).

        Losses of one draw move together over the sizes, and its discrepancy shifts ln N*; a
        widening after a failed held-out rung belongs to ln N*, not to the losses compared here.
        """
        grid = self.grid
        factor = self.fit.discrepancy.factor
        spent = np.full(GRID, self.flops)
        losses = self.fit.widened(1 / factor).loss_draws(grid, self.tokens(grid), spent)
        best = _lowest(np.log(grid), losses)
        middle = np.median(best)
        return np.asarray(np.exp(np.clip(middle + factor * (best - middle), *np.log(self.span))))

    def flat(self) -> tuple[float, float]:
        """Return the sizes that reach the best loss with FLAT times the compute."""
        grid = self.grid
        inside = grid[self.losses(grid, FLAT) <= self.losses(grid).min()]
        return float(inside[0]), float(inside[-1])

    def optimum(self) -> tuple[float, bool]:
        """Return the fitted law's best size, and whether it lies at the upper end of the span."""
        grid = self.grid
        losses = self.losses(grid)
        best = float(np.exp(_lowest(np.log(grid), losses[None])[0]))
        return best, bool(losses.argmin() == GRID - 1)


def point_loss(fit: LossFit, params: Floats, tokens: Floats) -> Floats:
    """Return the loss of the fitted laws themselves, averaged by weight, in nats per token.

    The best size drifts beyond the data as the middle of the predictive draws does.
    """
    total, shift = np.zeros(len(params)), np.exp(fit.drift(6.0 * params * tokens))
    for member in fit.members:
        law = law_named(member.law)
        theta = np.array([member.params[name] for name in law.names])
        at = params / shift, tokens * shift
        total += member.weight * law.predict(theta, *at, fit.unique_at(params))
    return total


def _lowest(x: Floats, losses: Floats) -> Floats:
    """Return where each row of ``losses`` (S, n) on the even grid ``x`` is lowest, refined."""
    at = losses.argmin(axis=1)
    middle = np.clip(at, 1, len(x) - 2)
    rows = np.arange(len(losses))
    left, centre, right = (losses[rows, middle + d] for d in (-1, 0, 1))
    bend = left - 2 * centre + right
    shift = np.where(bend > 0, 0.5 * (left - right) / np.where(bend > 0, bend, 1.0), 0.0)
    refined = x[middle] + np.clip(shift, -1, 1) * (x[1] - x[0])
    return np.asarray(np.where(at == middle, refined, x[at]))
