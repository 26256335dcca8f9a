"""The surface of a study's own runs, and the laws of learning rate and batch it implies.

Where runs were placed by a design they form no basins: the laws' posterior is then the marginal of
the joint surface (:mod:`planner.fit.surface`) in their parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.fit.batch_law import KEPT, BatchLaw
from planner.fit.lr_forms import SATURATING
from planner.fit.lr_law import LrLaw
from planner.fit.priors import Priors
from planner.fit.surface import Surface
from planner.run import Run, Trial

LR, BATCH = slice(0, 5), slice(5, 7)
"""Where the laws' parameters stand in theta: a p q s g, and c r."""


@dataclass(frozen=True)
class Columns:
    """Runs or candidates as the surface reads them, arrays (n,)."""

    params: Floats
    tokens: Floats
    batch_tokens: Floats
    lr: Floats

    @classmethod
    def of(cls, trials: Sequence[Trial], params: Sequence[float]) -> Columns:
        """Take the columns of trials whose sizes are known."""
        rows = [(t.tokens, t.batch_tokens, t.lr) for t in trials]
        tokens, batch, lr = np.array(rows, dtype=np.float64).reshape(-1, 3).T
        return cls(np.array(params, dtype=np.float64), tokens, batch, lr)


def surface_of(
    runs: Sequence[Run], prior: Priors, sigma: float, cells: Sequence[tuple[float, float]] = ()
) -> Surface:
    """Return the posterior given usable runs; it also holds other ``cells`` of (N, D)."""
    seen = Columns.of([run.trial for run in runs], [run.size.params_matmul for run in runs])
    own = np.stack([seen.params, seen.tokens], axis=1)
    places = np.unique(np.concatenate([own, np.array(cells).reshape(-1, 2)]), axis=0)
    loss = np.array([run.loss if run.done else np.nan for run in runs])
    return Surface.believed(prior, places, sigma).given(seen, loss)


def joint_laws(runs: Sequence[Run], prior: Priors, sigma: float) -> tuple[LrLaw, BatchLaw]:
    """Return the laws of lr and batch, from all usable runs at once."""
    surface = surface_of(runs, prior, sigma)
    anchor = (prior.params, prior.tokens, 1.0)
    covariance = surface.covariance[LR, LR]
    lr = LrLaw(SATURATING, anchor, surface.mean[LR], covariance, prior.lr_scatter)
    draws = surface.draws(KEPT, np.random.default_rng(0))[:, BATCH]
    level, slope = draws[np.argsort(draws[:, 0])].T
    return lr, BatchLaw(prior.tokens, level, slope, prior.batch_scatter)
