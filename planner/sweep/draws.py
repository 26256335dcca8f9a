"""Which runs make a wanted quantity certain, told by draws of what is believed.

    gain(row) = sum_q cov(wanted_q, ln L_row)^2 / (var ln L_row + noise_row^2)

is the variance of the wanted quantities that a row takes away; the next row is the one of most gain
per FLOP. Draws after it follow as in a Kalman filter (the square-root update of an ensemble), so
no law has to be linear.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats


@dataclass(frozen=True)
class Outlook:
    """What is believed of rows on offer: draws of ln L (S, n), what is wanted (S, q), noise (n,).

    ``noise`` is the sd of one run's ln loss round its law.
    """

    told: Floats
    wanted: Floats
    noise: Floats


@dataclass(frozen=True)
class Gain:
    """A row, and the variance of the wanted quantities it takes away, given those before it."""

    row: int
    variance: float


def most_telling(outlook: Outlook, flops: Floats, count: int) -> list[Gain]:
    """Return ``count`` rows or all, best first."""
    told, wanted = _centred(outlook.told), _centred(outlook.wanted)
    chosen: list[Gain] = []
    free = np.ones(len(flops), dtype=bool)
    for _ in range(min(count, len(flops))):
        spread = (told**2).mean(axis=0) + outlook.noise**2
        gain = ((wanted.T @ told / len(told)) ** 2).sum(axis=0) / spread
        pick = int(np.where(free, gain / flops, -1.0).argmax())
        chosen.append(Gain(pick, float(gain[pick])))
        free[pick] = False
        own, root = told[:, pick].copy(), np.sqrt(spread[pick])
        share = own / (root * (root + outlook.noise[pick])) / len(own)
        told = told - np.outer(share, own @ told)
        wanted = wanted - np.outer(share, own @ wanted)
    return chosen


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(axis=0), dtype=np.float64)
