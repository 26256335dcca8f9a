"""Where a solve ended, and what that end is worth."""

from __future__ import annotations

from dataclasses import dataclass

from planner.arrays import Floats


@dataclass(frozen=True)
class Solution:
    """The end of a solve: the free coordinates (n_free,), the parameters theta (P,), and how.

    ``at_bound`` names the parameters that rest on a bound; ``delta`` is Huber's in the objective.
    """

    free: Floats
    theta: Floats
    objective: float
    converged: bool
    at_bound: tuple[str, ...]
    delta: float
