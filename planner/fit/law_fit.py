"""One law meets the points: solved to the residual scale, with its draws and its status.

Huber's delta follows the data unless given: 1.345 robust sd of the residuals, found by iterating
from least squares. Where the data do not identify the law the draws' mode stands for the solve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.laws import Law
from planner.fit.points import Points
from planner.fit.solution import Solution
from planner.fit.solve import residuals, solve, undetermined
from planner.fit.tangent import noise_scale
from planner.fit.uncertainty import Draws, draw

DRAWS = 1000
EFFICIENT = 1.345
"""Huber's delta in robust sd: 95 % efficient under Gaussian noise (Huber 1981)."""
LEAST_DELTA = 1e-6
UNIDENTIFIED = 0.75
"""Share of the prior's sd left in ln alpha or ln beta beyond which the prior decides."""


@dataclass(frozen=True)
class LawFit:
    """A law with the end of its solve; ``sigma`` is the robust residual sd, ``delta`` Huber's."""

    law: Law
    solution: Solution
    draws: Draws
    sigma: float
    delta: float
    points: Points

    @property
    def status(self) -> str:
        """Say "converged", "at bound: ..." or "not identified: ..."."""
        if self.solution.at_bound:
            return f"at bound: {', '.join(self.solution.at_bound)}"
        if not self.solution.converged:
            return "not identified: the solver found no end"
        weak = undetermined(self.points, self.law, self.solution) or tuple(
            name for name, told in self.draws.told.items() if told > UNIDENTIFIED
        )
        return f"not identified: {', '.join(weak)}" if weak else "converged"

    @property
    def theta(self) -> Floats:
        """Return the statistical draws, shape (S, P)."""
        return self.draws.theta

    @property
    def params(self) -> dict[str, float]:
        """Return the parameters by name."""
        theta = self.solution.theta if self.status == "converged" else self.draws.mode
        return dict(zip(self.law.names, theta.tolist(), strict=True))


def fit_law(
    points: Points, law: Law, delta: float | None, group: tuple[str, ...], seed: int
) -> LawFit:
    """Fit one law (``delta`` None: from the residuals; inf: least squares)."""
    solution, used = _solve_to_scale(points, law, delta)
    r = residuals(points, law, solution.free[None])
    draws = draw(points, law, solution, group, DRAWS, seed)
    return LawFit(law, solution, draws, noise_scale(r[0], law.n_free), used, points)


def _solve_to_scale(points: Points, law: Law, delta: float | None) -> tuple[Solution, float]:
    """Solve with a given delta, or with one that follows the robust residual scale."""
    if delta is not None:
        return solve(points, law, delta), delta
    width = np.inf
    for _ in range(3):
        solution = solve(points, law, width)
        r = residuals(points, law, solution.free[None])
        width = max(EFFICIENT * noise_scale(r[0], law.n_free), LEAST_DELTA)
    return solve(points, law, width), width
