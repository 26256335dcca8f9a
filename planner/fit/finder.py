"""What an LR range test brackets: the learning rates worth sweeping, never the best one.

    low = lr_steep / 8,    high = min(lr_div / 2, 8 lr_steep)

Debiased exponential averages run forwards and backwards over the loss. Their mean is the smoothed
loss without lag; ``lr_steep`` is where what lies ahead is lowest against what lies behind, per ln
lr; ``lr_div`` is the first rate at which the smoothed loss has risen above its best by max(half of
what was gained, .5 nat) for five points. (The usual stop at four times the best loss never fires on
cross-entropy.) The test sees the stability edge at initialisation; warmup, batch and horizon move a
full run's optimum away from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from planner.arrays import Floats
from planner.errors import EvidenceError

WINDOW_SHARE = 1 / 20
"""Length of each one-sided average as a share of the test: beta = .93 at 300 points (the usual .98
would span four decades of 100)."""

RISE_SHARE, RISE_NATS, RISE_POINTS = 0.5, 0.5, 5
"""Divergence: risen by max(share of the gain, nats) for so many points in a row."""

LOW_FACTOR, DIV_FACTOR, HIGH_FACTOR = 8.0, 2.0, 8.0
"""The bracket round ``lr_steep``, and its distance from divergence."""

MIN_POINTS = 30


@dataclass(frozen=True, slots=True)
class RangeTest:
    """The bracket of one range test."""

    lr_steep: float
    lr_div: float
    """First divergent rate; the last rate tested when ``diverged`` is False."""
    low: float
    high: float
    diverged: bool


def range_test(lr: Floats, loss: Floats, tokens: Floats | None = None) -> RangeTest:
    """Read a bracket off a range test: rising lr and the train loss at it, both (n,).

    Losses may end in nan or inf; with ``tokens`` given the points are first put in its order.
    Raises EvidenceError when there are fewer than 30 finite points or the loss never falls.
    """
    if tokens is not None:
        order = np.argsort(tokens, kind="stable")
        lr, loss = lr[order], loss[order]
    broken = np.flatnonzero(~np.isfinite(loss))
    stop = int(broken[0]) if broken.size else len(loss)
    if stop < MIN_POINTS:
        raise EvidenceError(
            f"the LR range test has {stop} finite losses, {MIN_POINTS} are needed; "
            "start it at a lower learning rate, or report more often"
        )
    window = max(3, round(WINDOW_SHARE * len(loss)))
    behind, ahead = _averages(loss[:stop], window)
    smooth = (behind + ahead) / 2
    edge = _divergence(smooth)
    end = stop if edge is None else edge
    spacing = np.gradient(np.log(lr[:stop]))
    bottom = int(np.argmin(smooth[:end]))
    slope = ((ahead - behind) / spacing)[window : max(bottom, window) + 1]
    if slope.min() >= 0:
        raise EvidenceError(
            "the loss never falls in the LR range test; start it at a lower learning rate, "
            "or make it longer"
        )
    steep = float(lr[window + np.argmin(slope)])
    diverged = end < len(lr)
    return _bracket(steep, float(lr[end if diverged else -1]), diverged)


def _bracket(steep: float, edge: float, diverged: bool) -> RangeTest:
    low = steep / LOW_FACTOR
    high = min(edge / DIV_FACTOR if diverged else edge, HIGH_FACTOR * steep)
    return RangeTest(steep, edge, low, max(high, 2 * low), diverged)


def _averages(loss: Floats, window: int) -> tuple[Floats, Floats]:
    """Average up to each point and from it on; a loss counts as twice the initial one at most."""
    capped = np.minimum(loss, 2 * float(np.median(loss[:5])))
    return _debiased(capped, window), _debiased(capped[::-1], window)[::-1]


def _debiased(values: Floats, window: int) -> Floats:
    beta = 1 - 1 / window
    total = lfilter([1 - beta], [1, -beta], values)
    return np.asarray(total / (1 - beta ** np.arange(1, len(values) + 1)), dtype=np.float64)


def _divergence(smooth: Floats) -> int | None:
    """Return the first point of the first lasting rise, or None."""
    best = np.minimum.accumulate(smooth)
    limit = best + np.maximum(RISE_SHARE * (smooth[0] - best), RISE_NATS)
    risen = np.convolve(smooth > limit, np.ones(RISE_POINTS), "valid") == RISE_POINTS
    return int(np.argmax(risen)) if risen.any() else None
