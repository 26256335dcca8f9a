"""A design for laws in N and D: the rows that make an aim certain soonest, told by draws of a law.

The aim is the decision (ln N* at C) or the loss where it will be judged (V-optimal);
:mod:`planner.sweep.draws` picks. No law is right over decades: a cheap row tells less about the
target than its noise says, by what an outlook puts into the noise (:mod:`planner.fit.drifting`).
The first rows are a random choice among the cheapest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.sweep.draws import Outlook, most_telling
from planner.sweep.replay.pool import Offer, Positions, Seen, Target


@dataclass(frozen=True)
class DrawsDesign:
    """Buys ``step`` rows a round after ``first`` rows of the random start.

    Those come from the ``cheap`` share of the offer, cheapest first.
    """

    name: str
    outlook: Callable[[Seen, Offer], Outlook]
    first: int = 4
    step: int = 1
    cheap: float = 0.25

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return the start, or the rows of most gain per FLOP, one after the other."""
        if len(seen) < self.first:
            cheap = np.argsort(offer.flops)[: max(self.first, int(self.cheap * len(offer)))]
            return rng.permutation(cheap)[: self.first - len(seen)]
        chosen = most_telling(self.outlook(seen, offer), offer.flops, self.step)
        return np.array([gain.row for gain in chosen], dtype=np.intp)
