"""The fitted law as curves need it: loss over size at a fixed compute, and the frontier.

At compute C a model of N parameters sees D = C / f(N) tokens; f, the FLOPs per token, is read off
the runs and the target (attention makes it more than 6 N for small models) and interpolated
between them as f / N over ln N.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from planner.arrays import Floats
from planner.fit.loss_fit import LossFit
from planner.fit.registry import law_named
from planner.observations import Observations
from planner.plan.plan import Plan

GRID = 400
"""Sizes tried per compute: steps of about 2 % over four decades."""
STEP = 1.1
"""Ratio of computes the slope of the frontier is taken over, to either side."""
SPAN = 100.0
"""How far sizes are searched on either side of what was seen and planned."""


@dataclass(frozen=True)
class Surface:
    """The law of a fit on the compute axis. ``knots`` hold ln N and f / N, both of shape (k,)."""

    fit: LossFit
    knots: tuple[Floats, Floats]

    @classmethod
    def of(cls, fit: LossFit, plan: Plan, seen: Observations | None) -> Self:
        """Read FLOPs per token off the runs and the plan."""
        target = plan.decision("params").estimate.value
        ratios = {target: plan.flops / (plan.decision("tokens").estimate.value * target)}
        if seen is not None:
            ratios |= dict(zip(seen.params, seen.flops / (seen.tokens * seen.params), strict=True))
        params = np.array(sorted(ratios))
        return cls(fit, (np.log(params), np.array([ratios[p] for p in params])))

    def tokens(self, params: Floats, flops: Floats | float) -> Floats:
        """Return the tokens a model of ``params`` sees at ``flops``."""
        ratio = np.interp(np.log(params), *self.knots)
        return np.asarray(flops / (ratio * params))

    def loss(self, params: Floats, tokens: Floats) -> Floats:
        """Return the law's loss at its fitted parameters, shape of ``params``."""
        at = np.ravel(params), np.ravel(tokens)
        return self._predicted(*at, self.fit.unique_at(at[0])).reshape(np.shape(params))

    def loss_of(self, seen: Observations) -> Floats:
        """Return the law's loss of every run, shape (n,), on the data the run itself saw."""
        known = self.fit.unique_tokens is not None
        return self._predicted(seen.params, seen.tokens, seen.unique_tokens if known else None)

    def _predicted(self, params: Floats, tokens: Floats, unique: Floats | None) -> Floats:
        law = law_named(self.fit.law)
        theta = np.array([self.fit.params[name] for name in law.names])
        return law.predict(theta, params, tokens, unique)

    def frontier(self, flops: Floats) -> Floats:
        """Return the best size at each compute, shape (n,)."""
        low, high = self.knots[0][0] - np.log(SPAN), self.knots[0][-1] + np.log(SPAN)
        sizes = np.exp(np.linspace(low, high, GRID))
        grid = np.broadcast_to(sizes, (len(flops), GRID))
        losses = self.loss(grid, self.tokens(grid, flops[:, None]))
        return np.asarray(sizes[np.argmin(losses, axis=1)])

    def slope(self, flops: float) -> float:
        """Return -dL/dlnC along the frontier at a compute (nats)."""
        around = flops * np.array([1 / STEP, STEP])
        sizes = self.frontier(around)
        losses = self.loss(sizes, self.tokens(sizes, around))
        return float((losses[0] - losses[1]) / (2 * np.log(STEP)))
