"""What the checks of one law say of a table, as sets of codes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from planner.finding import Finding, Severity
from planner.fit.check import check_fit
from planner.fit.laws import CHINCHILLA
from planner.fit.points import Points
from planner.fit.solve import solve
from planner.observations import Observations


def codes(findings: Iterable[Finding]) -> set[str]:
    """Return the codes above INFO."""
    return {finding.code for finding in findings if finding.severity is not Severity.INFO}


def solved(data: Observations) -> tuple[Finding, ...]:
    """Return the findings about a least-squares Chinchilla law."""
    theta = solve(Points.of(data.params, data.tokens, data.loss), CHINCHILLA, np.inf).theta
    return check_fit(data, theta, "converged", 0.005, np.tile(theta, (10, 1)))


def one(findings: Iterable[Finding], code: str) -> Finding:
    """Return the one finding of this code."""
    (found,) = [finding for finding in findings if finding.code == code]
    return found
