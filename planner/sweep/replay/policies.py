"""The plain ways to spend a budget that any design has to beat: chance, cheap chance, full grids.

None of them looks at a loss, so each proposes everything it will ever buy in one round.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.sweep.replay.pool import Offer, Positions, Seen, Target, cell_labels


@dataclass(frozen=True)
class RandomPolicy:
    """Rows in a random order, each as likely as any other."""

    name: str = "random"

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return all rows in a random order."""
        return rng.permutation(len(offer))


@dataclass(frozen=True)
class CostRandomPolicy:
    """Rows drawn one after the other with probability 1/FLOPs."""

    name: str = "cost-random"

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return all rows; the order of exponential waits with rate 1/FLOPs is such a draw."""
        return np.argsort(rng.exponential(size=len(offer)) * offer.flops)


@dataclass(frozen=True)
class GridPolicy:
    """Whole lr x batch grids, the cheapest (N, D) first; the last one as far as it can be paid."""

    name: str = "grid"

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return all rows cell by cell, in a random order within a cell."""
        cells = cell_labels(offer.params, offer.tokens)
        price = np.array([offer.flops[cells == cell].mean() for cell in range(cells.max() + 1)])
        return np.lexsort([rng.random(len(offer)), price[cells]])
