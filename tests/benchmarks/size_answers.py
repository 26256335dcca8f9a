"""From the runs that were bought to a size: whose analysis answers.

``posterior``: the median of N*(C) under a law that drifts on the way to the target
(:mod:`planner.fit.drifting`). ``plain law``: the same under Chinchilla's law held for true of all
rows alike, what V-optimal designs are usually run with. ``parabolas``: what an IsoFLOP grid is for
(:func:`planner.fit.isoflop.isoflop`): a parabola a level and a line through the bottoms. Before two
levels have a bottom inside, the one there is goes on as C^.5; before that, the size of least loss
on the dearest level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from planner.arrays import Floats
from planner.errors import EvidenceError
from planner.fit.drifting import Drifting, drifting
from planner.fit.isoflop import isoflop, levels_of
from planner.fit.laws import CHINCHILLA
from planner.fit.points import Points
from planner.fit.posterior import sample
from planner.sweep.replay.pool import Seen
from tests.benchmarks.bench_extrapolation import observations
from tests.benchmarks.size_question import Question

COARSE = 5
"""Every so many of the sizes is looked at in a draw: .01 to .02 apart in ln N."""
DRAWS = 400

Belief = Callable[[Question, Seen], Drifting]


def believed(asked: Question, seen: Seen) -> Drifting:
    """Return what runs say of the law near the target, when it drifts."""
    return drifting(seen, seen.loss, asked.pool.target.flops)


def plainly(asked: Question, seen: Seen) -> Drifting:
    """Return what runs say of Chinchilla's law when it holds everywhere."""
    points = Points.of(seen.params, seen.tokens, seen.loss)
    phi, _, _ = sample(points, CHINCHILLA, np.eye(len(seen)), DRAWS, np.random.default_rng(0))
    return Drifting(asked.pool.target.flops, CHINCHILLA.theta_of(points, phi))


def optimum(asked: Question, belief: Drifting) -> Floats:
    """Return draws of ln N* (S,) at the target's C."""
    sizes = asked.log_sizes[::COARSE]
    d = asked.tokens(sizes, asked.pool.target.flops)
    losses = CHINCHILLA.predict(belief.theta, np.exp(sizes), d)
    return np.asarray(sizes[losses.argmin(axis=-1)])


def posterior(asked: Question, seen: Seen) -> float:
    """Return ln N*, the median under the drifting law."""
    return float(np.median(optimum(asked, believed(asked, seen))))


def plain_law(asked: Question, seen: Seen) -> float:
    """Return ln N*, the median under Chinchilla's law."""
    return float(np.median(optimum(asked, plainly(asked, seen))))


def parabolas(asked: Question, seen: Seen) -> float:
    """Return ln N*, inside the sizes of the table, on the line through the profiles' bottoms."""
    flops = asked.pool.target.flops
    try:
        runs = observations(seen.params, seen.tokens, seen.flops, seen.loss)
        found = float(np.log(isoflop(runs, "parabola").optimal_params(flops).value))
    except EvidenceError:
        found = _one_level(seen, flops)
    return float(np.clip(found, asked.log_sizes[0], asked.log_sizes[-1]))


def _one_level(seen: Seen, flops: float) -> float:
    """Return ln N at the bottom of the dearest level that has one, moved to C as C^.5."""
    level, log_n = levels_of(seen.flops), np.log(seen.params)
    found = np.nan
    for rows in (level == k for k in range(level.max(), -1, -1)):
        v, least = log_n[rows], log_n[rows][seen.loss[rows].argmin()]
        moved = 0.5 * (np.log(flops) - np.log(seen.flops[rows]).mean())
        found = least + moved if np.isnan(found) else found
        if len(np.unique(v)) < 3:
            continue
        bend, tilt, _ = np.polyfit(v - least, seen.loss[rows], 2)
        low = least - tilt / (2 * bend) if bend > 0 else np.inf
        if v.min() < low < v.max():
            return float(low + moved)
    return float(found)


ANSWERS: Mapping[str, Callable[[Question, Seen], float]] = {
    "posterior": posterior,
    "plain law": plain_law,
    "parabolas": parabolas,
}
