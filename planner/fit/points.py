"""The data of a loss law as the solvers see them: centred logs, weights, one-sidedness.

minimise  sum_i w_i s_i huber_delta(ln L(N_i, D_i) - ln L_i),   s_i = slack_i where the law lies
                                                                below the observation, else 1
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats


@dataclass(frozen=True)
class Points:
    """Centred log data: x = ln N - x0, z = ln D - z0, y = ln L; all of shape (n,).

    ``weights`` have a mean of one. ``slack`` is what a residual costs where the law lies below the
    observation, relative to one above: 1 for a plain run, less for one that may be under-tuned
    (its loss is only ever too high), 0 for a censored run, whose loss is an upper bound. ``extra``
    is a third column some laws need, as it stands (nan where unknown). E is known to be at least
    ``least`` (0: nothing known).
    """

    x: Floats
    z: Floats
    y: Floats
    weights: Floats
    slack: Floats
    extra: Floats
    x0: float
    z0: float
    least: float = 0.0

    def __len__(self) -> int:
        return len(self.y)

    @classmethod
    def of(
        cls,
        params: Floats,
        tokens: Floats,
        loss: Floats,
        weights: Floats | None = None,
        slack: Floats | None = None,
        extra: Floats | None = None,
    ) -> Points:
        """Take logs and centre; weights are scaled to a mean of one."""
        x, z = np.log(params), np.log(tokens)
        one = np.ones_like(x)
        return cls(
            x - x.mean(),
            z - z.mean(),
            np.log(loss),
            one if weights is None else weights / np.mean(weights),
            one if slack is None else np.asarray(slack, dtype=np.float64),
            np.full_like(x, np.nan) if extra is None else np.asarray(extra, dtype=np.float64),
            float(x.mean()),
            float(z.mean()),
        )

    @property
    def log_least(self) -> float:
        """Return the log of what E is at least; -inf: not known, or a run fell below."""
        known = 0.0 < self.least < np.exp(self.y.min())
        return float(np.log(self.least)) if known else -np.inf

    @property
    def params(self) -> Floats:
        """Return N, shape (n,)."""
        return np.asarray(np.exp(self.x + self.x0))

    @property
    def tokens(self) -> Floats:
        """Return D, shape (n,)."""
        return np.asarray(np.exp(self.z + self.z0))

    def cost(self, r: Floats, delta: float) -> Floats:
        """Return the objective, shape (...,), of residuals r (..., n) = ln L_law - ln L."""
        return np.asarray((self.one_sided(r) * huber(r, delta)).sum(axis=-1))

    def one_sided(self, r: Floats) -> Floats:
        """Return the weight of every residual (..., n), its slack included."""
        return self.weights * np.where(r < 0.0, self.slack, 1.0)


def huber(r: Floats, delta: float) -> Floats:
    """Return the Huber loss: r^2/2 within delta, linear beyond (delta = inf: a square)."""
    size = np.abs(r)
    if np.isinf(delta):
        return r * r / 2
    return np.where(size <= delta, r * r / 2, delta * (size - delta / 2))
