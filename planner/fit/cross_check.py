"""The full law against IsoFLOP profiles of the same runs, each profile with its own bias shown.

    bias = ln N*(profile of the law's own losses at these runs) - ln N*(law)

is what a profile would be wrong by in a noise-free world that follows the law exactly, on exactly
this design. What a profile finds less its bias must agree with the law; if it does not, the runs
contradict the law somewhere along C. Both saw the same runs, so their errors are mostly shared and
their difference is no larger than the less exact one's own error (Hausman 1978): the wider interval
of the two is the yardstick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.arrays import Floats
from planner.errors import EvidenceError
from planner.estimate import LEVEL, Estimate
from planner.finding import Finding, Severity
from planner.fit.isoflop import METHODS, IsoflopFit, isoflop
from planner.fit.laws import Law
from planner.observations import Observations

REACH = 100.0
"""The comparison is made at this many times the largest compute, where plans are made."""
CLEARLY = 0.995
"""Profiles are compared at this level: fewer than one false alarm in 100 clean sets."""


@dataclass(frozen=True)
class Compared:
    """One profile at the C of the comparison: what it finds and its bias (of ln N).

    ``agrees`` says whether, its bias removed, one of the two lies within the other's interval.
    """

    profile: IsoflopFit
    found: Estimate
    bias: float
    agrees: bool

    @property
    def corrected(self) -> Estimate:
        """Return what the profile finds, its bias under the law removed; said in ``method``."""
        factor = float(np.exp(-self.bias))
        found = self.found.scaled(factor)
        how = f"{found.method}, bias under the law removed"
        return Estimate(found.value, found.low, found.high, found.level, how)


@dataclass(frozen=True)
class CrossCheck:
    """The law's N* at ``flops`` beside every profile that the runs allow, and the verdict."""

    flops: float
    law: Estimate
    compared: tuple[Compared, ...]
    finding: Finding


def cross_check(
    observations: Observations,
    law: Law,
    theta: Floats,
    draws: Floats,
    *,
    flops: float | None = None,
) -> CrossCheck | None:
    """Compare a fitted law, theta (P,) with draws (S, P), with the profiles of its own runs.

    ``flops`` defaults to 100 times the largest run. None when the runs hold no two levels of
    compute with their best size inside.
    """
    at = REACH * float(observations.flops.max()) if flops is None else flops
    best = float(law.optimal_params(theta[None], at)[0])
    stated = Estimate.from_draws(
        law.optimal_params(draws, at), method=f"statistical: {law.name}", value=best
    )
    extra = getattr(observations, law.extra) if law.extra else None
    exact = law.predict(theta, observations.params, observations.tokens, extra)
    clearly = Estimate.from_draws(
        law.optimal_params(draws, at), level=CLEARLY, method=law.name, value=best
    )
    compared = [_compare(observations, method, exact, at, clearly) for method in METHODS]
    kept = tuple(c for c in compared if c is not None)
    if not kept:
        return None
    return CrossCheck(at, stated, kept, _finding(observations, at, stated, kept))


def _compare(
    observations: Observations, method: str, exact: Floats, flops: float, law: Estimate
) -> Compared | None:
    """Fit one profile and compare it with the law's N*; None where it cannot be fitted."""
    try:
        fit = isoflop(observations, method)
    except EvidenceError:
        return None
    bias = fit.without_noise(exact, flops) - float(np.log(law.value))
    if not np.isfinite(bias):
        return None
    wide = fit.optimal_params(flops, level=law.level).scaled(float(np.exp(-bias)))
    agrees = wide.contains(law.value) or law.contains(wide.value)
    return Compared(fit, fit.optimal_params(flops), bias, agrees)


def _finding(
    o: Observations, flops: float, law: Estimate, compared: tuple[Compared, ...]
) -> Finding:
    told = "; ".join(
        f"the {c.profile.method} finds {c.found.value:.3g} [{c.found.low:.3g}, "
        f"{c.found.high:.3g}] and would be {np.expm1(c.bias):+.1%} off without noise"
        for c in compared
    )
    head = (
        f"IsoFLOP profiles at {flops:.2g} FLOPs, where the law has N* = {law.value:.3g} "
        f"[{law.low:.3g}, {law.high:.3g}] ({LEVEL:.0%}): {told}."
    )
    apart = [c.profile.method for c in compared if not c.agrees]
    if not apart:
        return Finding(
            "isoflop-agrees", Severity.INFO, f"{head} Less these biases they agree with the law."
        )
    return Finding(
        "isoflop-disagrees",
        Severity.WARNING,
        f"{head} Less its bias the {' and the '.join(apart)} still disagrees with the law "
        f"(beyond {CLEARLY:.1%}), so the runs do not follow it along C.",
        "Look at the levels' bottoms beside N*(C): an under-tuned level stands out. Then add a "
        "level of three sizes at twice the largest compute.",
        6.0 * float(o.flops.max()),
    )
