"""Doubts about the data of a loss law, and about the law fitted to them.

Every finding says what is doubtful with its figures, what would remove the doubt and what that
costs. Evidence: fitting.md section 5 (pitfalls of public fits) and science I3 (short horizons).
"""

from __future__ import annotations

import numpy as np
from scipy.stats import t as student_t

from planner.arrays import Floats
from planner.finding import Finding, Severity
from planner.fit.laws import CHINCHILLA, optimal_params
from planner.observations import Observations

LEAST_ROWS, LEAST_SIZES, LEAST_HORIZONS = 5, 2, 2
DECADES, SIZES, HORIZONS, LEVELS = 1.5, 4, 3, 2
"""Range of log10 C, distinct sizes, distinct horizons, C levels with sizes on both sides of N*."""
SAME_LEVEL = 0.35
"""Runs within this of ln C (a third of an e-fold) belong to one level of compute."""
COLLINEAR = 0.97
TREND_P = 0.005
"""A trend this unlikely by chance is reported: two tests, one false alarm in 100 clean fits."""
OUTLIER_SD = 6.0


def too_thin(observations: Observations) -> list[str]:
    """Return the reasons why no law can be fitted at all; empty when one can."""
    reasons = []
    o = observations
    values = np.stack([o.params, o.tokens, o.flops, o.loss])
    if len(observations) < LEAST_ROWS:
        reasons.append(
            f"{len(observations)} finished runs, at least {LEAST_ROWS} are needed for a law"
        )
    elif not (np.isfinite(values) & (values > 0)).all():
        reasons.append(
            "params, tokens, flops and losses must be positive and finite in every row (6*N*D "
            "overflows 64-bit integers from N = 1e9, D = 2e9 on)"
        )
    elif len(np.unique(observations.params)) < LEAST_SIZES:
        reasons.append("all runs have one size, so nothing is known about size; train another size")
    elif len(np.unique(observations.tokens)) < LEAST_HORIZONS:
        reasons.append(
            "all runs have one horizon, so E and the data term cannot be told apart; "
            "train the same sizes for twice the tokens"
        )
    return reasons


def check_points(observations: Observations) -> tuple[Finding, ...]:
    """Return doubts that need no fit: range, design, duplicates, conventions."""
    found = (
        _narrow(observations),
        _few_sizes(observations),
        _few_horizons(observations),
        _collinear(observations),
        _duplicates(observations),
        _convention(observations),
    )
    return tuple(finding for finding in found if finding)


def check_fit(
    observations: Observations, theta: Floats, status: str, sigma: float, draws: Floats
) -> tuple[Finding, ...]:
    """Return doubts about a fit: ``theta`` (5,) its parameters, ``draws`` (S, 5), ``sigma``."""
    r = np.log(
        observations.loss / CHINCHILLA.predict(theta, observations.params, observations.tokens)
    )
    found = (
        _identified(observations, status, draws),
        _one_sided(observations, theta),
        _trend(r, observations.tokens, "tokens", observations),
        _trend(r, observations.params, "params", observations),
        _outliers(observations, r, sigma),
    )
    return tuple(finding for finding in found if finding)


def _narrow(o: Observations) -> Finding | None:
    decades = float(np.log10(o.flops.max() / o.flops.min()))
    if decades >= DECADES:
        return None
    need = float(o.flops.min() * 10**DECADES)
    return Finding(
        "narrow-range",
        Severity.WARNING,
        f"The runs span {decades:.2f} decades of compute; below {DECADES} the exponents and E "
        "cannot be told apart.",
        f"Add a run of about {need:.2g} FLOPs.",
        need,
    )


def _few_sizes(o: Observations) -> Finding | None:
    sizes = len(np.unique(o.params))
    if sizes >= SIZES:
        return None
    largest = float(o.flops.max())
    return Finding(
        "few-sizes",
        Severity.WARNING,
        f"Only {sizes} distinct model sizes; alpha needs at least {SIZES}.",
        f"Train {SIZES - sizes} more sizes between and beyond those there are.",
        (SIZES - sizes) * largest,
    )


def _few_horizons(o: Observations) -> Finding | None:
    horizons = len(np.unique(o.tokens))
    if horizons >= HORIZONS:
        return None
    return Finding(
        "few-horizons",
        Severity.WARNING,
        f"Only {horizons} distinct token horizons; beta needs at least {HORIZONS}.",
        "Train one size for twice and four times the tokens.",
        6.0 * float(o.flops.max()),
    )


def _collinear(o: Observations) -> Finding | None:
    x, z = np.log(o.params), np.log(o.tokens)
    if min(np.ptp(x), np.ptp(z)) == 0.0:
        return None
    correlation = float(np.corrcoef(x, z)[0, 1])
    if abs(correlation) < COLLINEAR:
        return None
    return Finding(
        "collinear",
        Severity.WARNING,
        f"Sizes and horizons rise together (correlation {correlation:.3f} of ln N and ln D), so "
        "the size term and the data term cannot be told apart.",
        "Train the smallest size for the longest horizon and the largest for the shortest.",
        6.0 * float(o.params.min() * o.tokens.max() + o.params.max() * o.tokens.min()),
    )


def _duplicates(o: Observations) -> Finding | None:
    rows = np.column_stack([o.params, o.tokens, o.loss])
    extra = len(rows) - len(np.unique(rows, axis=0))
    if not extra:
        return None
    return Finding(
        "duplicate-rows",
        Severity.WARNING,
        f"{extra} rows repeat another row to the last digit of its loss; they count as evidence "
        "twice.",
        "Remove the copies, or check that the seeds of replicates differ.",
    )


def _convention(o: Observations) -> Finding | None:
    if o.n_convention != "unspecified":
        return None
    return Finding(
        "n-convention",
        Severity.INFO,
        "The table says `params` without saying which parameters count; the law holds for this "
        "table's convention only.",
        "Name the column params_matmul, params_non_embedding or params_total.",
    )


def _identified(o: Observations, status: str, draws: Floats) -> Finding | None:
    if status == "converged":
        return None
    low, high = np.quantile(draws[:, 3:], [0.05, 0.95], axis=0)
    return Finding(
        "not-identified",
        Severity.WARNING,
        f"The data do not determine the law ({status}); weak priors fill the gap: alpha "
        f"{low[0]:.2f}-{high[0]:.2f}, beta {low[1]:.2f}-{high[1]:.2f}.",
        "Widen the ladder: a size and a horizon four times beyond those there are.",
        16.0 * float(o.flops.max()),
    )


def _one_sided(o: Observations, theta: Floats) -> Finding | None:
    levels = _levels_on_both_sides(o, theta)
    if levels >= LEVELS:
        return None
    best = optimal_params(theta, float(o.flops.max()))
    ratio = np.log(o.params.max() / best)
    where = "below" if ratio < 0 else "above" if np.log(o.params.min() / best) > 0 else "around"
    return Finding(
        "one-sided",
        Severity.WARNING if levels else Severity.BLOCKING,
        f"Sizes lie on both sides of the compute-optimal N*(C) at {levels} levels of compute, "
        f"{LEVELS} are needed: the sizes lie {where} N* = {best:.3g} at the largest compute, so "
        "N* is extrapolated, not bracketed.",
        "At two levels of compute train sizes at half and at twice N*.",
        2.0 * float(np.sort(o.flops)[-2:].sum()),
    )


def _levels_on_both_sides(o: Observations, theta: Floats) -> int:
    """Count the levels of C at which a run is smaller than N*(C) and another is larger."""
    order = np.argsort(o.flops)
    log_c = np.log(o.flops[order])
    side = np.log(o.params[order] / optimal_params(theta, o.flops[order]))
    count, last = 0, -np.inf
    for i, c in enumerate(log_c):
        near = side[(log_c >= c) & (log_c <= c + SAME_LEVEL)]
        if c > last and i < len(log_c) - 1 and near.min() < 0.0 < near.max():
            count, last = count + 1, c + SAME_LEVEL
    return count


def _trend(r: Floats, axis: Floats, name: str, o: Observations) -> Finding | None:
    """Test for curvature of the residuals along one axis: a law that fits leaves none."""
    p, bend = _curvature(r, np.log(axis), np.asarray(o.group))
    if p >= TREND_P:
        return None
    where = "both ends lie above" if bend > 0 else "both ends lie below"
    return Finding(
        f"trend-in-{name}",
        Severity.WARNING,
        f"Residuals bend along {name} (p = {p:.1g}; {where} the law): the law is not yet the one "
        "the large runs will follow.",
        "Drop or weigh down the shortest horizons and add one twice the longest."
        if name == "tokens"
        else "Check that small and large sizes are tuned alike; add a size.",
        2.0 * float(o.flops.max()),
    )


def _curvature(r: Floats, axis: Floats, group: np.ndarray) -> tuple[float, float]:
    """Return the p value and slope of a quadratic in ``axis`` left in the levels' means."""
    levels = np.unique(axis)
    if len(levels) < 4:
        return 1.0, 0.0
    means = np.array([r[axis == level].mean() for level in levels])
    counts = np.array([(axis == level).sum() for level in levels])
    basis = (
        np.polynomial.legendre.legvander(2 * (levels - levels[0]) / np.ptp(levels) - 1.0, 2)
        * np.sqrt(counts)[:, None]
    )
    coefficient, *_ = np.linalg.lstsq(basis, means * np.sqrt(counts), rcond=None)
    left = means * np.sqrt(counts) - basis @ coefficient
    within = r - means[np.searchsorted(levels, axis)]
    freedom = len(r) - 3
    variance = (left @ left + within @ within) / max(freedom, 1)
    error = np.sqrt(max(variance, 1e-300) * np.linalg.inv(basis.T @ basis)[2, 2])
    effective = max(min(freedom, len(np.unique(group)) + len(levels) - 4), 1)
    return float(2 * student_t.sf(abs(coefficient[2] / error), effective)), float(coefficient[2])


def _outliers(o: Observations, r: Floats, sigma: float) -> Finding | None:
    far = np.flatnonzero(np.abs(r) > OUTLIER_SD * max(sigma, 1e-6))
    if not len(far):
        return None
    names = ", ".join(o.key[i] for i in far[:5])
    return Finding(
        "outliers",
        Severity.WARNING,
        f"{len(far)} of {len(o)} runs lie more than {OUTLIER_SD:.0f} robust sd from the law "
        f"({names}); the worst by {100 * np.abs(r[far]).max():.1f} % of the loss.",
        "Look at their curves; repeat them, or remove them if they did not end well.",
        float(o.flops[far].sum()),
    )
