"""Doubts about which runs were made: range, sizes, horizons, sides of the optimum.

These are properties of the plan of the experiment, not of its noise: no test, no false alarm.
Thresholds: science F4.5 (four sizes, 1.5 decades), section H (sizes on both sides of N* at two
levels of compute, or no N* is reported).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from planner.arrays import Floats
from planner.finding import Finding, Severity
from planner.fit.forms.common import best_size
from planner.fit.laws import Law
from planner.observations import Observations

LEAST_ROWS, LEAST_SIZES, LEAST_HORIZONS, LEAST_CELLS = 5, 2, 2, 4
DECADES, SIZES, HORIZONS, LEVELS = 1.5, 4, 3, 2
"""Range of log10 C, distinct sizes, distinct horizons, C levels with sizes on both sides of N*."""
SAME_LEVEL = 0.35
"""Runs within this of ln C (a third of an e-fold) belong to one level of compute."""
COLLINEAR = 0.97


def too_thin(observations: Observations) -> list[str]:
    """Return every reason why no law can be fitted at all; empty when one can."""
    o = observations.take(~observations.censored)
    values = np.stack([o.params, o.tokens, o.flops, o.loss])
    reasons = []
    if len(o) < LEAST_ROWS:
        reasons.append(f"{len(o)} finished runs, at least {LEAST_ROWS} are needed for a law")
    if not (np.isfinite(values) & (values > 0)).all():
        reasons.append(
            "params, tokens, flops and losses must be positive and finite in every row (6*N*D "
            "overflows 64-bit integers from N = 1e9, D = 2e9 on)"
        )
    if len(o) < LEAST_ROWS or reasons:
        return reasons
    if len(np.unique(o.params)) < LEAST_SIZES:
        reasons.append("all runs have one size, so nothing is known about size; train another size")
    if len(np.unique(o.tokens)) < LEAST_HORIZONS:
        reasons.append(
            "all runs have one horizon, so E and the data term cannot be told apart; "
            "train the same sizes for twice the tokens"
        )
    cells = len(np.unique(np.column_stack([o.params, o.tokens]), axis=0))
    if not reasons and cells < LEAST_CELLS:
        reasons.append(
            f"{cells} distinct pairs of size and horizon, at least {LEAST_CELLS} are needed: "
            "replicates say nothing about size or data"
        )
    return reasons


def check_design(o: Observations) -> Iterator[Finding]:
    """Yield doubts about the range and the spread of the runs."""
    yield from _narrow(o)
    yield from _few_sizes(o)
    yield from _few_horizons(o)
    yield from _collinear(o)


def _narrow(o: Observations) -> Iterator[Finding]:
    decades = float(np.log10(o.flops.max() / o.flops.min()))
    if decades < DECADES:
        need = float(o.flops.min() * 10**DECADES)
        yield Finding(
            "narrow-range",
            Severity.WARNING,
            f"The runs span {decades:.2f} decades of compute; below {DECADES} the exponents and E "
            "cannot be told apart.",
            f"Add a run of about {need:.2g} FLOPs.",
            need,
        )


def _few_sizes(o: Observations) -> Iterator[Finding]:
    sizes = len(np.unique(o.params))
    if sizes < SIZES:
        yield Finding(
            "few-sizes",
            Severity.WARNING,
            f"Only {sizes} distinct model sizes; alpha needs at least {SIZES}.",
            f"Train {SIZES - sizes} more sizes between and beyond those there are.",
            (SIZES - sizes) * float(o.flops.max()),
        )


def _few_horizons(o: Observations) -> Iterator[Finding]:
    horizons = len(np.unique(o.tokens))
    if horizons < HORIZONS:
        yield Finding(
            "few-horizons",
            Severity.WARNING,
            f"Only {horizons} distinct token horizons; beta needs at least {HORIZONS}.",
            "Train one size for twice and four times the tokens.",
            6.0 * float(o.flops.max()),
        )


def _collinear(o: Observations) -> Iterator[Finding]:
    x, z = np.log(o.params), np.log(o.tokens)
    if min(np.ptp(x), np.ptp(z)) == 0.0:
        return
    correlation = float(np.corrcoef(x, z)[0, 1])
    if abs(correlation) >= COLLINEAR:
        yield Finding(
            "collinear",
            Severity.WARNING,
            f"Sizes and horizons rise together (correlation {correlation:.3f} of ln N and ln D), "
            "so the size term and the data term cannot be told apart.",
            "Train the smallest size for the longest horizon and the largest for the shortest.",
            6.0 * float(o.params.min() * o.tokens.max() + o.params.max() * o.tokens.min()),
        )


def check_sides(o: Observations, law: Law, theta: Floats) -> Iterator[Finding]:
    """Yield a doubt where N*(C) lies at the edge of the sizes tried, or beyond it."""
    side = np.log(o.params / _optimal(o, law, theta))
    levels = _levels_on_both_sides(o, side)
    if levels >= LEVELS:
        return
    top = float(o.flops.max())
    best = _best(o, law, theta, top)
    ends = np.log(np.array([o.params.min(), o.params.max()]) / best)
    where = "below" if ends[1] < 0 else "above" if ends[0] > 0 else "around"
    yield Finding(
        "one-sided",
        Severity.WARNING if levels else Severity.BLOCKING,
        f"Sizes lie on both sides of the compute-optimal N*(C) at {levels} levels of compute, "
        f"{LEVELS} are needed: the sizes lie {where} N* = {best:.3g} at the largest compute, so "
        "N* is extrapolated, not bracketed.",
        "At two levels of compute train sizes at half and at twice N*.",
        2.0 * float(np.sort(o.flops)[-2:].sum()),
    )


def _best(o: Observations, law: Law, theta: Floats, flops: float) -> float:
    """Return N*(C) for the data there are, if the law knows what a repeat is worth."""
    known = o.unique_tokens[np.isfinite(o.unique_tokens)]
    if law.extra != "unique_tokens" or not len(known):
        return float(law.optimal_params(theta[None], flops)[0])

    def loss(params: Floats, tokens: Floats) -> Floats:
        return law.predict(theta[None], params, tokens, np.full_like(params, known.max()))

    return float(best_size(loss, 1, flops)[0])


def _optimal(o: Observations, law: Law, theta: Floats) -> Floats:
    """Return N*(C) at every run's C (n,), through a curve in ln C where these are many."""
    flops = o.params * o.tokens * 6.0
    levels = np.unique(flops)
    if len(levels) > 24:
        levels = np.geomspace(levels[0], levels[-1], 24)
    best = np.array([_best(o, law, theta, float(c)) for c in levels])
    return np.asarray(np.exp(np.interp(np.log(flops), np.log(levels), np.log(best))))


def _levels_on_both_sides(o: Observations, side: Floats) -> int:
    """Count the levels of C at which a run is smaller than N*(C) and another is larger."""
    order = np.argsort(o.flops)
    log_c, side = np.log(o.flops[order]), side[order]
    first = np.searchsorted(log_c, log_c, side="left")
    end = np.searchsorted(log_c, log_c + SAME_LEVEL, side="right")
    smaller, larger = (np.r_[0, np.cumsum(which)] for which in (side < 0.0, side > 0.0))
    both = (smaller[end] > smaller[first]) & (larger[end] > larger[first])
    count, last = 0, -np.inf
    for c in log_c[both]:
        if c > last:
            count, last = count + 1, c + SAME_LEVEL
    return count
