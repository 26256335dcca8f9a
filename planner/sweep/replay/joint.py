"""The joint surface under the replay: its recommendation, our design, and V-optimal on it.

The designs spend a share of the budget a round on what :func:`planner.sweep.design.design` ranks
first, and differ in their aim: ours is the regret of the recommendation, V-optimal's the loss of
the target cell over a grid of lr and batch round its expected optimum, but for its floor. The third
aims at losses themselves, with the floors tied by a law that drifts (:mod:`planner.fit.floors`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.decide import recommend as decide
from planner.fit.floors import tied
from planner.fit.priors import Priors
from planner.fit.surface import Surface
from planner.fit.unknowns import Unknowns
from planner.sweep.design import Candidates, design
from planner.sweep.replay.pool import Offer, Positions, Seen, Target
from planner.sweep.replay.recommend import LEVELS, Recommended

ROUND = 0.125
"""Share of the whole budget a round spends: eight looks at the losses."""
SPAN, STEPS = 1.4, 5
"""V-optimal's grid: a factor of four either way of the optimum, in lr and in batch."""

Aim = Callable[[Surface, Target], Floats]


def recommend(seen: Seen, target: Target, without: str) -> Recommended:
    """Return the pair of least expected regret: a Recommender."""
    # Only cells that were seen: beyond the dearest of them the intervals grow.
    surface = posterior(seen, cells_of(seen) if len(seen) else _cell(target), target, without)
    found = decide.recommend(surface, target.params, target.tokens)
    lr, batch = {}, {}
    for level in LEVELS:
        of_lr, of_batch = found.interval(level / 100)
        lr[level], batch[level] = (of_lr.low, of_lr.high), (of_batch.low, of_batch.high)
    return Recommended(found.lr, found.batch_tokens, lr, batch)


def posterior(seen: Seen, cells: Floats, target: Target, without: str) -> Surface:
    """Return the surface over ``cells`` (K, 2), those seen among them, given what was seen.

    The beliefs stand at the target: published levels hold there, and what cheap runs say of them
    is carried over by exponents that are uncertain. Anchored at the runs it was the other way.
    """
    families = (without,) if without else ()
    prior = Priors.published(target.params, target.tokens, without=families)
    return Surface.believed(prior, cells).given(seen, seen.loss)


def cells_of(*rows: Seen | Offer) -> Floats:
    """Return the different (N, D) of rows, shape (K, 2)."""
    places = [np.stack([r.params, r.tokens], axis=1) for r in rows]
    return np.unique(np.concatenate(places), axis=0)


def _cell(target: Target) -> Floats:
    return np.array([[target.params, target.tokens]])


def regret(surface: Surface, target: Target) -> Floats:
    """Return the root of the regret's curvature (2, P)."""
    return decide.aim(surface, target.params, target.tokens)


def target_losses(surface: Surface, target: Target) -> Floats:
    """Return the derivative (STEPS^2, P) of the target's losses, but for its own floor."""
    found = decide.recommend(surface, target.params, target.tokens)
    off = np.exp(np.linspace(-SPAN, SPAN, STEPS))
    lr, batch = (g.ravel() for g in np.meshgrid(found.lr * off, found.batch_tokens * off))
    here = np.full_like(lr, target.params), np.full_like(lr, target.tokens)
    rows = Offer(*here, batch, lr, lr, np.arange(len(lr)))
    gradient, _ = surface.gradient(rows, surface.mean)
    gradient[:, Unknowns(len(surface.cells)).floor(np.arange(len(surface.cells)))] = 0.0
    return gradient


def losses_at(rows: Seen | Offer) -> Aim:
    """Return the aim whose trace is the mean variance of the losses of ``rows``, floors and all."""

    def aim(surface: Surface, target: Target) -> Floats:
        return np.asarray(surface.gradient(rows, surface.mean)[0] / np.sqrt(len(rows)))

    return aim


@dataclass(frozen=True)
class JointDesign:
    """Buys what saves most of its aim per FLOP under the joint surface.

    ``law`` says that a law ties the floors: it is needed where the aim holds losses themselves.
    """

    name: str
    aim: Aim
    without: str = ""
    law: bool = False

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return the runs of one round, the best first."""
        cells = np.concatenate([cells_of(seen, offer), _cell(target)])
        surface = posterior(seen, cells, target, self.without)
        candidates = Candidates.of(surface, offer, offer.flops, rng)
        share = min(left, ROUND * (left + float(seen.flops.sum())))
        aim = self.aim(surface, target)
        known = tied(surface, target.params, target.tokens) if self.law else surface.covariance
        chosen = design(candidates, known, aim, budget=left, at_least=share)
        return np.array([row for choice in chosen for row in choice.rows], dtype=np.intp)
