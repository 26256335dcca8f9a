"""What a parametrisation promises of the best learning rate, and what it leaves open.

Under muP and CompleteP lr* does not depend on the size, p ~ N(0, .1^2) in

    ln lr*(N, D, B) = a + p ln(N/N0) + ...                       (planner/fit/transfer.py)

instead of the published p of sp. Nothing is promised of tokens and batch: there muP's lr* moves as
sp's does (Bjorck et al. 2024), so the exponents of D and B keep their beliefs. The name is the
recipe's ``parametrization``; the learning rate spoken of is the base one, that of embedding and
head, and hidden matrices train at base_width / width of it.
"""

from __future__ import annotations

from dataclasses import replace

from planner.finding import Finding, Severity
from planner.fit.priors import Normal, Priors

SIZE_SLOPE = Normal(0.0, 0.1)
"""p of a parametrisation that transfers over size."""

LEVEL_SD = 1.5
"""Least sd of the level: published levels are sp's at the anchor's size, and where muP's lr* lies
depends on base_width too."""

COVERS = {"mup": "width", "completep": "width and depth"}
LEAVES = {
    "mup": "depth, tokens, batch and weight decay",
    "completep": "tokens, batch and weight decay",
}


def transfer_prior(prior: Priors, parametrization: str) -> Priors:
    """Return the beliefs that hold under a parametrisation; sp and unknown names change nothing."""
    if parametrization not in COVERS:
        return prior
    level = replace(prior.level, sd=max(prior.level.sd, LEVEL_SD))
    return replace(
        prior,
        size_slope=SIZE_SLOPE,
        level=level,
        source=f"{prior.source}; {parametrization}: no change with size",
    )


def uncovered(parametrization: str) -> tuple[Finding, ...]:
    """Return the finding that says what a parametrisation does not cover; none for sp."""
    if parametrization not in COVERS:
        return ()
    what = (
        f"The learning rate is carried over {COVERS[parametrization]} by {parametrization}; not "
        f"covered are {LEAVES[parametrization]}, which the fitted laws and rules answer for. The "
        "target must train with the same multipliers and base sizes."
    )
    remedy = "check the claim before relying on it: `planner check SPACE`"
    return (Finding("parametrization-covers", Severity.INFO, what, remedy),)
