"""Doubts about the data of a loss law, and about the law fitted to them.

Every finding says what is doubtful with its figures, what would remove the doubt and what that
costs. One file per family: :mod:`.design` (range, sizes, sides), :mod:`.units` (what a column
counts), :mod:`.rows` (copies, seeds, checkpoints), :mod:`.recipe` (how the runs were trained),
:mod:`.residuals` (what the law leaves), :mod:`.identification` (what the data leave open).
Evidence: fitting.md section 5 (pitfalls of public fits) and science I3 (short horizons); caught and
false alarms are measured by tests/benchmarks/bench_faults.py.
"""

from __future__ import annotations

from planner.arrays import Floats
from planner.finding import Finding
from planner.fit.check.design import check_design, check_sides, too_thin
from planner.fit.check.identification import (
    check_blind_spots,
    check_identified,
    check_sensitive,
)
from planner.fit.check.linear import Linear
from planner.fit.check.recipe import check_recipe
from planner.fit.check.residuals import check_residuals, check_scatter
from planner.fit.check.rows import check_rows
from planner.fit.check.units import check_units
from planner.fit.laws import CHINCHILLA, Law
from planner.observations import Observations

__all__ = ["check_fit", "check_points", "too_thin"]


def check_points(observations: Observations) -> tuple[Finding, ...]:
    """Return doubts that need no fit: units, rows, recipe, range."""
    return (
        *check_units(observations),
        *check_rows(observations),
        *check_recipe(observations),
        *check_design(observations),
    )


def check_fit(
    observations: Observations,
    theta: Floats,
    status: str,
    sigma: float,
    draws: Floats,
    law: Law = CHINCHILLA,
) -> tuple[Finding, ...]:
    """Return doubts about a fit: ``theta`` (P,) and ``draws`` (S, P) in the law's parameters.

    ``sigma`` is the robust residual sd of ln loss. Censored rows are bounds, not losses: the
    residuals are judged without them.
    """
    whole = observations.take(~observations.censored)
    linear = Linear.of(whole, law, theta)
    return (
        *check_identified(whole, law, status, draws),
        *check_sides(whole, law, theta),
        *check_scatter(whole, sigma),
        *check_residuals(whole, linear),
        *check_sensitive(whole, law, theta, linear),
        *check_blind_spots(whole, law, theta, linear),
    )
