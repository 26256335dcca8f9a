"""A design for laws in N and D: which row shrinks the spread of an aim over posterior draws most.

    gain(row) = sum_q cov(aim_q, ln L_row)^2 / (var ln L_row + sigma_row^2) / FLOPs
    sigma_row^2 = NOISE^2 + (drift * log10(C_target / C_row))^2

over draws of the law given what was bought. No law is right over decades: a cheap row tells less
about the target than its noise says (drift 0: believe the law). The aim is the decision (ln N* at
C) or the loss where it will be judged (V-optimal). Inside a round the draws are corrected for the
rows already chosen, as a Kalman filter would. The first rows are a random choice among the
cheapest quarter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.sweep.replay.pool import Offer, Positions, Seen, Target

NOISE = 0.004
"""sd of ln loss of one run round its law."""
DRIFT = 0.012
"""sd of ln loss per decade of compute by which a law is wrong: 4 % of L - E (science F4.4), for the
usual L - E of .3 L."""
CHEAP = 0.25
"""Share of the offer, cheapest first, that the first rows come from."""

Draws = Callable[[Seen], Floats]
"""Posterior draws (S, P) of the law's parameters given what was bought."""
LogLoss = Callable[[Floats, Seen | Offer], Floats]
"""Draws and runs to ln L (S, n)."""


@dataclass(frozen=True)
class DrawsDesign:
    """Buys ``step`` rows a round after ``first`` rows of the random start."""

    name: str
    draws: Draws
    log_loss: LogLoss
    aim: Callable[[Floats], Floats]
    """Draws to what must become certain, shape (S, q)."""
    drift: float = 0.0
    first: int = 4
    step: int = 1

    def propose(
        self, offer: Offer, seen: Seen, target: Target, left: float, rng: np.random.Generator
    ) -> Positions:
        """Return the start, or the rows of most gain per FLOP, one after the other."""
        if len(seen) < self.first:
            cheap = np.argsort(offer.flops)[: max(self.first, int(CHEAP * len(offer)))]
            return rng.permutation(cheap)[: self.first - len(seen)]
        theta = self.draws(seen)
        told, wanted = centred(self.log_loss(theta, offer)), centred(self.aim(theta))
        decades = np.maximum(np.log10(target.flops / offer.flops), 0.0)
        noise = wrong_by(decades, self.drift)
        chosen: list[int] = []
        for _ in range(min(self.step, len(offer))):
            spread = (told**2).mean(axis=0) + noise**2
            gain = ((wanted.T @ told / len(told)) ** 2).sum(axis=0) / spread / offer.flops
            gain[chosen] = -1.0
            pick = int(gain.argmax())
            chosen.append(pick)
            # The square-root update of an ensemble: covariances fall as after measuring the row.
            own, root = told[:, pick].copy(), np.sqrt(spread[pick])
            share = own / (root * (root + noise[pick])) / len(own)
            told = told - np.outer(share, own @ told)
            wanted = wanted - np.outer(share, own @ wanted)
        return np.array(chosen, dtype=np.intp)


def wrong_by(decades: Floats, drift: float) -> Floats:
    """Return the sd of ln L round the law of runs so many decades of compute below the target."""
    return np.asarray(np.hypot(NOISE, drift * decades))


def centred(values: Floats) -> Floats:
    """Return columns without their means."""
    return np.asarray(values - values.mean(axis=0), dtype=np.float64)
