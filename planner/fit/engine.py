"""From runs to a loss fit: every form the rows can tell apart, judged by runs larger than it saw.

points -> each candidate law solved and drawn -> rolling origins -> weights, discrepancy
-> the law to report, the average to predict with, and every doubt about both
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.arrays import Floats
from planner.errors import EvidenceError, UsageError
from planner.estimate import LEVEL
from planner.finding import Finding
from planner.fit.check import check_fit, check_points, too_thin
from planner.fit.cross_check import cross_check
from planner.fit.discrepancy import learned
from planner.fit.law_fit import LawFit, fit_law
from planner.fit.laws import Law
from planner.fit.loss_fit import FitRange, LossFit, Member
from planner.fit.points import Points
from planner.fit.registry import law_named
from planner.fit.select import (
    Rolling,
    candidates,
    choose,
    fresh_weights,
    rolling_origin,
    stacking_weights,
)
from planner.observations import Observations


def fit_loss(  # noqa: PLR0913 - the public call: every choice has a name and a default
    observations: Observations,
    *,
    law: str = "auto",
    loss: str = "huber",
    delta: float | None = None,
    weights: Floats | None = None,
    slack: Floats | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> LossFit:
    """Fit a loss law: ``auto`` averages every form the rows can tell apart, a name fits that one.

    ``loss`` is ``huber`` (``delta`` in ln loss; None: 1.345 robust sd) or ``ls``; ``weights`` (n,)
    are relative precisions, for instance to let long horizons weigh more. ``slack`` (n,) is what a
    run may lie above the law for, relative to below: less than 1 where it may be under-tuned, whose
    losses are only ever too high. Repeated data fade for the laws that take them for fresh.
    Censored rows are upper bounds. Raises EvidenceError with the reasons when no law can be fitted.
    """
    if reasons := too_thin(observations):
        raise EvidenceError("no loss law can be fitted: " + "; ".join(reasons))
    if loss not in ("huber", "ls"):
        raise UsageError(f"there is no loss named {loss!r}; known: huber, ls")
    laws = candidates(observations) if law == "auto" else (_able(law, observations),)
    one = np.ones(len(observations))
    plain = one if weights is None else weights
    faded = plain * fresh_weights(observations)
    slack = np.where(observations.censored, 0.0, one if slack is None else slack)
    width = np.inf if loss == "ls" else delta
    fits = [
        fit_law(_points(observations, each, own, slack), each, width, observations.group, seed)
        for each in laws
        for own in (plain if each.extra == "unique_tokens" else faded,)
    ]
    rolling = rolling_origin(fits, observations.flops, observations.group)
    shares, best = stacking_weights(rolling), choose(rolling)
    fit = _assemble(observations, rolling, shares, best, level)
    return replace(fit, findings=_doubts(observations, fits[best], fit))


def _able(name: str, observations: Observations) -> Law:
    """Return the law of a name; EvidenceError where the rows cannot carry it."""
    law = law_named(name)
    rows = max(law.least_rows, law.n_free)
    if len(observations) < rows:
        raise EvidenceError(
            f"the law {name} has {law.n_free} parameters and needs {rows} runs, the table has "
            f"{len(observations)}; add runs, or use --law auto"
        )
    if law.extra and not np.isfinite(getattr(observations, law.extra)).all():
        raise EvidenceError(
            f"the law {name} needs a {law.extra} in every row; name the column with --map, or use "
            "--law auto"
        )
    return law


def _points(observations: Observations, law: Law, weights: Floats, slack: Floats) -> Points:
    extra = getattr(observations, law.extra) if law.extra else None
    columns = observations.params, observations.tokens, observations.loss
    points = Points.of(*columns, weights, slack, extra)
    return replace(points, least=observations.least_loss)


def _assemble(
    observations: Observations, rolling: Rolling, shares: Floats, best: int, level: float
) -> LossFit:
    """Put the chosen law and the members of the average together, the heaviest first."""
    chosen = rolling.fits[best]
    how = "least squares" if np.isinf(chosen.delta) else f"huber, delta {chosen.delta:.3g}"
    order = sorted(range(len(shares)), key=lambda k: (-shares[k], k != best))
    return LossFit(
        law=chosen.law.name,
        params=chosen.params,
        draws=chosen.theta,
        names=chosen.law.names,
        sigma=chosen.sigma,
        status=chosen.status,
        range=_range(observations),
        method=f"{how}; {chosen.draws.method}",
        members=tuple(
            Member(f.law.name, float(shares[k]), f.params, f.theta, float(rolling.errors[k]))
            for k, f in ((k, rolling.fits[k]) for k in order)
            if shares[k] > 0
        ),
        n_convention=observations.n_convention,
        flops_convention=observations.flops_convention,
        level=level,
        discrepancy=learned(rolling, shares),
    )


def _doubts(observations: Observations, chosen: LawFit, fit: LossFit) -> tuple[Finding, ...]:
    theta = np.array(list(fit.params.values()))
    doubts = check_fit(observations, theta, fit.status, fit.sigma, fit.draws, chosen.law)
    checked = cross_check(observations, chosen.law, theta, fit.draws)
    bias = (checked.finding,) if checked is not None and checked.finding else ()
    points = check_points(observations)
    if chosen.law.extra == "unique_tokens":
        points = tuple(doubt for doubt in points if doubt.code != "repeated-tokens")
    return (*points, *doubts, *bias)


def _range(observations: Observations) -> FitRange:
    def span(values: Floats) -> tuple[float, float]:
        return float(values.min()), float(values.max())

    return FitRange(
        span(observations.params),
        span(observations.tokens),
        span(observations.flops),
        len(observations),
        len(np.unique(observations.params)),
    )
