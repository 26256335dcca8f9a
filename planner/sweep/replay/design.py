"""Greedy designs on an exact posterior: which row saves most variance of an aim per FLOP.

    gain(row) = |A Sigma phi|^2 / (sigma^2 + phi' Sigma phi) / FLOPs

V-optimal aims at the loss surface of the target (A: its terms on a grid round the optimum), the
decision design at the regret of the recommendation (A'A = H-weighted derivative of the optimum).
A cell's level is unknown, so the first run of a cell says nothing by itself: every candidate cell
gets a level of its own in Sigma.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.sweep.replay.pool import Offer, Positions, Seen, Target, cell_labels
from planner.sweep.replay.quadratic import (
    SHARED,
    Posterior,
    expected_excess,
    hessian,
    noise,
    posterior,
    prior,
    terms,
)

ROUND = 4
"""Runs a round: a design that looks at the losses after every few of them."""
FIRST = 12
"""Runs of the first round, before there is anything to look at."""
LEVEL_SD = 1.0
"""sd of a cell's level, nats: as good as free."""
SPAN = 1.4
"""Half-width of the target grid in ln lr and ln B: a factor of four either way."""

Aim = Callable[[Posterior], Floats]


def loss_surface(found: Posterior) -> Floats:
    """Return the target's terms on a grid round its optimum, shape (25, SHARED)."""
    (u0, v0), _ = found.optimum()
    u, v = (g.ravel() for g in np.meshgrid(*[np.linspace(-SPAN, SPAN, 5)] * 2))
    u, v = u + u0, v + v0
    zero = np.zeros_like(u)
    return np.stack([u, v, zero, zero, zero, zero, u * u, u * v, v * v], axis=1)


def decision(found: Posterior) -> Floats:
    """Return the root of the regret's curvature times the optimum's derivative, (2, SHARED)."""
    _, slope = found.optimum()
    root = np.linalg.cholesky(hessian(found.mean) / 2).T
    return np.asarray(root @ slope)


@dataclass(frozen=True)
class GreedyDesign:
    """Buys, round by round, the rows that shrink the aim's variance most per FLOP."""

    name: str
    aim: Aim
    without: str = ""

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return the greedy best rows, one after the other, while they can be paid."""
        found = posterior(seen, target, self.without)
        shared = terms(offer, target, found.beliefs)
        rows, covariance = _with_levels(found, offer, seen)
        aim = np.zeros((len(self.aim(found)), len(covariance)))
        aim[:, :SHARED] = self.aim(found)
        variance = noise(expected_excess(found.mean, shared, offer, target)) ** 2
        worth = (1.0 + 1e-9 * rng.random(len(offer))) / offer.flops
        chosen: list[int] = []
        free = np.ones(len(offer), dtype=bool)
        while len(chosen) < (ROUND if len(seen) else FIRST):
            free &= offer.flops <= left
            if not free.any():
                break
            towards = rows @ covariance
            spread = variance + (towards * rows).sum(axis=1)
            gain = ((towards @ aim.T) ** 2).sum(axis=1) / spread * worth
            pick = int(np.where(free, gain, -1.0).argmax())
            covariance = covariance - np.outer(towards[pick], towards[pick]) / spread[pick]
            left -= float(offer.flops[pick])
            free[pick] = False
            chosen.append(pick)
        return np.array(chosen, dtype=np.intp)


def _with_levels(found: Posterior, offer: Offer, seen: Seen) -> tuple[Floats, Floats]:
    """Return rows (n, SHARED + cells) of the offer and the covariance given what was seen."""
    sound = np.isfinite(seen.loss)
    labels = cell_labels(
        np.concatenate([offer.params, seen.params[sound]]),
        np.concatenate([offer.tokens, seen.tokens[sound]]),
    )
    shared = [terms(offer, found.target, found.beliefs), terms(seen, found.target, found.beliefs)]
    level = np.eye(labels.max() + 1)[labels]
    rows = np.concatenate([np.concatenate([shared[0], shared[1][sound]]), level], axis=1)
    own, cells, loss = rows[len(offer) :], labels[len(offer) :], seen.loss[sound]
    best = np.array([loss[cells == cell].min() for cell in cells])
    weight = noise(loss - best) ** -2
    widths = np.concatenate([prior(found.beliefs)[1], np.full(level.shape[1], LEVEL_SD)])
    precision = np.diag(widths**-2) + own.T @ (weight[:, None] * own)
    return rows[: len(offer)], np.linalg.inv(precision)
