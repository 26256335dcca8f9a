"""Doubts that the residuals show: outliers, high rungs, trends, shared noise, uneven noise.

Every test is a score test of :mod:`planner.fit.check.linear`: the part of a fault's pattern that
the law cannot absorb is measured against the noise. Shares of the false-alarm budget: see
:mod:`planner.fit.check.budget`; a test of K patterns tests each at share / K.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from planner.arrays import Flags, Floats
from planner.finding import Finding, Severity
from planner.fit.check.budget import SHARES
from planner.fit.check.groups import MOST_LEVELS, binned, indicators
from planner.fit.check.linear import Linear
from planner.fit.check.outlying import outliers
from planner.fit.check.populations import split
from planner.fit.check.rows import clustered
from planner.observations import Observations

LEAST_LEFT = 8
"""Rows below which the residuals of five parameters say nothing; the law can run through them."""
UNEVEN = (3.05, 31.0)
"""1 in 250 normal tables of n runs exceed t = 3.05 + 31 / n on one of three axes (simulated)."""
EXACT = 1e-24
"""Squared residuals this small are rounding."""
SAME_LEVEL = 0.05
LARGE_SCATTER = 0.04
"""Seeds differ by .002 to .01 of ln loss, whole published tables by up to .02."""
RUN_PATTERN = 3.0
"""How much readier shared noise is believed where seed, lr and warmup already look like one run."""


def check_scatter(o: Observations, sigma: float) -> Iterator[Finding]:
    """Yield a doubt where the runs scatter far more than runs of one recipe do."""
    if sigma > LARGE_SCATTER:
        yield Finding(
            "large-scatter",
            Severity.WARNING,
            f"The runs scatter {100 * sigma:.1f} % about the law; runs of one recipe scatter .2 to "
            "2 %: another column decides the loss, or the law does not hold.",
            "Look for what differs between the rows; repeat the cheapest run with two seeds.",
            2.0 * float(o.flops.min()),
        )


def check_residuals(o: Observations, linear: Linear) -> Iterator[Finding]:
    """Yield what the residuals about a linearised law show."""
    if len(o) < LEAST_LEFT:
        return
    far, t = outliers(linear)
    if far.any():
        yield _outlier_finding(o, linear, far, t)
    yield from _tuning(o, linear)
    yield from _uneven(o, linear)
    yield from _two_populations(o, linear)
    kept = ~far | _whole_rungs(o, far)
    o, linear = o.take(kept), linear.take(kept)
    if len(o) < LEAST_LEFT:
        return
    yield from _high_rungs(o, linear)
    yield from _trends(o, linear)
    yield from _shared_noise(o, linear)


def _outlier_finding(o: Observations, linear: Linear, far: Flags, t: Floats) -> Finding:
    order = np.flatnonzero(far)[np.argsort(-np.abs(t[far]))]
    names = ", ".join(o.key[i] for i in order[:5])
    high = int((t[far] > 0).sum())
    worst = float(np.abs(linear.r[far]).max())
    return Finding(
        "outliers",
        Severity.WARNING,
        f"{int(far.sum())} of {len(o)} runs lie off the law by more than noise explains ({names}): "
        f"{high} too high, {int(far.sum()) - high} too low, the worst by {100 * worst:.1f} % of "
        "the loss.",
        "Look at their curves; repeat them, or remove them if they did not end well.",
        float(o.flops[far].sum()),
    )


def rungs(o: Observations) -> Mapping[str, Floats]:
    """Return the 0/1 columns of every size, horizon and level of C (or bins of them)."""
    found = {}
    axes = (
        ("{:.3g} parameters", o.params),
        ("{:.3g} tokens", o.tokens),
        ("{:.3g} FLOPs", np.exp(np.round(np.log(o.flops) / SAME_LEVEL) * SAME_LEVEL)),
    )
    for text, axis in axes:
        labels, columns = indicators(binned(axis))
        if len(labels) >= 3:
            for label, column in zip(labels, columns.T, strict=True):
                if column.sum() >= 2:
                    found[text.format(label)] = column
    return found


def _whole_rungs(o: Observations, far: Flags) -> Flags:
    """Say which rows belong to a rung all of whose rows are outliers: its own tests name it."""
    whole = [column > 0 for column in rungs(o).values() if far[column > 0].all()]
    return np.asarray(np.any([np.zeros(len(o), dtype=np.bool_), *whole], axis=0))


def _high_rungs(o: Observations, linear: Linear) -> Iterator[Finding]:
    """Under-tuned runs only ever lie above the law."""
    found = rungs(o)
    if not found:
        return
    columns = np.column_stack(list(found.values()))
    score = linear.score(columns)
    p = score.p(one_sided=True)
    worst = int(np.argmin(p))
    if p[worst] < SHARES["rung-high"] / len(found):
        rows = columns[:, worst] > 0
        yield Finding(
            "rung-high",
            Severity.WARNING,
            f"The {int(rows.sum())} runs of {list(found)[worst]} lie {100 * score.size[worst]:.2f} "
            f"% above the law of the others (p = {p[worst]:.1g}): under-tuned, or trained in "
            "another way.",
            "Retune this rung (three learning rates at its cheapest run), or let high values count "
            "less (`slack` of planner.fit_loss).",
            3.0 * float(o.flops[rows].min()),
        )


def _trends(o: Observations, linear: Linear) -> Iterator[Finding]:
    size = "Check that small and large sizes are tuned alike; add a size."
    data = "Drop or weigh down the shortest horizons and add one twice the longest."
    cost = 2.0 * float(o.flops.max())
    for name, axis, remedy in (("params", o.params, size), ("tokens", o.tokens, data)):
        yield from _trend(linear, name, _bends(np.log(axis)), remedy, cost)


def _tuning(o: Observations, linear: Linear) -> Iterator[Finding]:
    """Test whether runs off the common lr or batch lie off the law; outliers may be just those."""
    remedy = "Repeat the runs farthest from the others' setting at theirs, or drop them."
    x, z = (np.log(axis) - np.log(axis).mean() for axis in (o.params, o.tokens))
    trend = np.column_stack([np.ones(len(o)), x, z])
    for name, axis in (("lr", o.lr), ("batch", o.batch_tokens)):
        if np.isfinite(axis).all() and np.ptp(np.log(axis)) > 1e-9:
            log = np.log(axis)
            away = log - trend @ np.linalg.lstsq(trend, log, rcond=None)[0]
            ratio, p = linear.together(np.column_stack([away, away**2, away * x, away * z]))
            if p < SHARES[f"trend-in-{name}"]:
                yield Finding(
                    f"trend-in-{name}",
                    Severity.WARNING,
                    f"The loss follows how far a run's {name} lies off the others' trend in size "
                    f"and tokens (F = {ratio:.1f}, p = {p:.1g}): the runs are not tuned alike.",
                    remedy,
                    2.0 * float(o.flops.max()),
                )


def _bends(axis: Floats) -> Floats:
    """Return a bow and a bend at the low third, shape (n, 2); a slope the law would absorb."""
    if len(np.unique(axis)) < 4:
        return np.zeros((len(axis), 0))
    at = (axis - axis.mean()) / axis.std()
    return np.column_stack([at**2, np.maximum(0.0, np.quantile(at, 0.4) - at)])


def _trend(
    linear: Linear, name: str, directions: Floats, remedy: str, cost: float
) -> Iterator[Finding]:
    if not directions.shape[1]:
        return
    score = linear.score(directions)
    p = score.p()
    worst = int(np.argmin(p))
    if p[worst] < SHARES[f"trend-in-{name}"] / directions.shape[1]:
        where = "both ends lie above" if score.size[worst] > 0 else "both ends lie below"
        yield Finding(
            f"trend-in-{name}",
            Severity.WARNING,
            f"Residuals bend along {name} (p = {p[worst]:.1g}; {where} the law): the law is not "
            "yet the one the large runs will follow.",
            remedy,
            cost,
        )


def _shared_noise(o: Observations, linear: Linear) -> Iterator[Finding]:
    """Test whether rows of one size share noise although each counts as independent."""
    if len(set(o.group)) < len(o):
        return
    if not 3 <= len(np.unique(o.params)) <= min(len(o) // 2, MOST_LEVELS):
        return
    _, columns = indicators(o.params)
    ratio, p = linear.together(columns)
    readier = RUN_PATTERN if _looks_like_runs(o) else 1.0
    if p < SHARES["clustered-rows"] * readier:
        yield clustered(
            f"Runs of one size share their deviations from the law (F = {ratio:.1f}, p = {p:.1g}) "
            "yet count as independent: they are checkpoints of one run, or the sizes were not "
            "tuned alike"
        )


def _looks_like_runs(o: Observations) -> bool:
    """Say whether seed, lr, batch and warmup are known and one per size."""
    columns = np.column_stack([o.params, o.seed, o.lr, o.batch_tokens, o.warmup_tokens])
    return bool(
        np.isfinite(columns).all()
        and len(np.unique(columns, axis=0)) == len(np.unique(o.params)) < len(o)
    )


def _uneven(o: Observations, linear: Linear) -> Iterator[Finding]:
    """Compare the scatter of the lower and the upper half of N, D and C (Layard 1973).

    Heavy tails widen the test: the variance of a log variance is (kurtosis - 1) / n.
    """
    axes = {"params": o.params, "tokens": o.tokens, "compute": o.flops}
    halves = {name: axis <= np.median(axis) for name, axis in axes.items()}
    found = {
        name: _apart(linear, low)
        for name, low in halves.items()
        if min(low.sum(), (~low).sum()) >= LEAST_LEFT
    }
    if not found:
        return
    name = max(found, key=lambda each: abs(found[each][1]))
    ratio, t = found[name]
    low = halves[name]
    own = len(o) - (len(set(o.group)) if len(set(o.group)) < len(o) else 0)
    if abs(t) > UNEVEN[0] + UNEVEN[1] / own:
        yield Finding(
            "uneven-noise",
            Severity.WARNING,
            f"Runs with little {name} scatter {ratio:.1f} times as much as those with much (t = "
            f"{t:.1f}); equal weights trust the noisy ones too much.",
            "Fit with weights of one over the noise variance (`weights` of planner.fit_loss), or "
            "repeat the noisy runs with two more seeds.",
            2.0 * float(o.flops[low if ratio > 1 else ~low].sum()),
        )


def _apart(linear: Linear, low: Flags) -> tuple[float, float]:
    """Return the ratio of the two halves' scatter, and the t of its logarithm.

    The fit is repeated with the halves' own weights, lest the noisy half lend its errors.
    """
    mean = np.ones(len(low))
    for _ in range(3):
        squares = linear.standard(np.sqrt(mean)) ** 2
        mean = np.where(low, squares[low].mean(), squares[~low].mean()) + EXACT
    kurtosis = max(float(((squares / mean) ** 2).mean()), 3.0)
    log_ratio = float(np.log((squares[low].mean() + EXACT) / (squares[~low].mean() + EXACT)))
    error = np.sqrt((kurtosis - 1.0) * (1.0 / low.sum() + 1.0 / (~low).sum()))
    return float(np.exp(log_ratio / 2.0)), log_ratio / float(error)


def _two_populations(o: Observations, linear: Linear) -> Iterator[Finding]:
    if len(o) < 2 * LEAST_LEFT:
        return
    found = split(linear.slopes, linear.r)
    if found.real:
        rows = np.flatnonzero(found.high)
        yield Finding(
            "two-populations",
            Severity.WARNING,
            f"{len(rows)} of {len(o)} rows lie {100 * found.shift:.2f} % above the others, and "
            f"this explains {100 * (1 - found.left):.0f} % of the scatter "
            f"({', '.join(o.key[i] for i in rows[:4])}, ...): another evaluation set, tokenizer, "
            "schedule or parameter count.",
            "Find what these rows have in common; fit one kind alone.",
            float(o.flops[rows].sum()),
        )
